//! How the sample orders stand, as a table. Pure: what happened comes in as notes, lines come out.

use std::time::Duration;

use skald_proto::order::v1::OrderStatus;

use super::samples::Sample;
use crate::{
    orders::status_name,
    output::{
        style::Tone,
        table::{Cell, Table},
    },
};

/// What happened to a sample, and when, counted from the start.
#[derive(Clone, Debug)]
pub struct Note {
    /// Which sample.
    pub sample: usize,
    /// When.
    pub at: Duration,
    /// What.
    pub what: What,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It was accepted under this id.
    Accepted(String),
    /// It stands here, with a reason when it is cancelled.
    Stands(OrderStatus, String),
    /// Someone acted.
    Acted(&'static str),
    /// A call did not work; nothing more comes.
    Broken(String),
}

/// One sample's row.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it is.
    pub sample: Sample,
    /// Its order, once it is accepted.
    pub order_id: String,
    /// Where it stands.
    pub status: OrderStatus,
    /// Why it is cancelled.
    pub reason: String,
    began: Option<Duration>,
    /// When it ended.
    pub ended: Option<Duration>,
    broken: Option<String>,
}

/// All rows.
#[derive(Clone, Debug)]
pub struct Board {
    /// In the order of the samples.
    pub rows: Vec<Row>,
}

const SPINNER: [&str; 8] = ["⠋", "⠙", "⠸", "⠴", "⠦", "⠧", "⠇", "⠏"];

impl Row {
    /// It came to its end, whichever.
    pub fn is_over(&self) -> bool {
        self.ended.is_some()
    }

    /// It ended as it should.
    pub fn is_right(&self) -> bool {
        self.broken.is_none() && self.status == self.sample.end && self.reason == self.sample.reason
    }

    /// Why it is not right, in one line.
    pub fn wrong(&self) -> String {
        let should = standing(self.sample.end, self.sample.reason);
        match &self.broken {
            Some(why) => format!("{}: {why}", self.sample.name),
            None if self.is_over() => {
                format!(
                    "{}: ended {}, should be {should}",
                    self.sample.name,
                    standing(self.status, &self.reason)
                )
            }
            None => format!(
                "{}: still {}, should be {should}",
                self.sample.name,
                standing(self.status, &self.reason)
            ),
        }
    }

    fn cells(&self, now: Duration) -> Vec<Cell> {
        let (mark, tone) = match (self.is_over(), self.is_right()) {
            (true, true) => ("✓", Tone::Good),
            (true, false) => ("✗", Tone::Bad),
            (false, _) => (SPINNER[(now.as_millis() / 100) as usize % SPINNER.len()], Tone::Busy),
        };
        let status_tone = match self.status {
            OrderStatus::Completed => Tone::Good,
            OrderStatus::Cancelled | OrderStatus::Cancelling => Tone::Warn,
            _ => Tone::Busy,
        };
        let cue = self.sample.cue.filter(|cue| cue.at == self.status && !self.is_over());
        let detail = match (&self.broken, cue) {
            (Some(why), _) => Cell::new(why.clone(), Tone::Bad),
            (None, Some(cue)) => Cell::new(cue.waits, Tone::Dim),
            (None, None) => Cell::new(self.reason.clone(), status_tone),
        };
        let began = self.began.unwrap_or(now);
        let took = self.ended.unwrap_or(now).saturating_sub(began);
        vec![
            Cell::new(mark, tone),
            self.sample.name.into(),
            Cell::new(dots(self.status), status_tone),
            Cell::new(if self.order_id.is_empty() { "" } else { status_name(self.status) }, status_tone),
            detail,
            format!("{:.1} s", took.as_secs_f64()).into(),
            // Last: a narrow terminal cuts it.
            Cell::new(self.sample.story, Tone::Dim),
        ]
    }
}

impl Board {
    /// Nothing happened yet.
    pub fn new(samples: Vec<Sample>) -> Board {
        let row = |sample| Row {
            sample,
            order_id: String::new(),
            status: OrderStatus::Unspecified,
            reason: String::new(),
            began: None,
            ended: None,
            broken: None,
        };
        Board { rows: samples.into_iter().map(row).collect() }
    }

    /// Takes a note; gives the line that says it, if it is worth one.
    pub fn take(&mut self, note: &Note) -> Option<String> {
        let row = &mut self.rows[note.sample];
        let said = match &note.what {
            What::Accepted(id) => {
                row.order_id.clone_from(id);
                row.status = OrderStatus::Pending;
                row.began = Some(note.at);
                format!("accepted as {id}")
            }
            What::Stands(status, reason) => {
                if *status == row.status && *reason == row.reason {
                    return None;
                }
                row.status = *status;
                row.reason.clone_from(reason);
                if matches!(status, OrderStatus::Completed | OrderStatus::Cancelled) {
                    row.ended = Some(note.at);
                }
                standing(*status, reason)
            }
            What::Acted(what) => (*what).to_owned(),
            What::Broken(why) => {
                row.broken = Some(why.clone());
                row.ended = Some(note.at);
                why.clone()
            }
        };
        Some(format!("{:6.2} s  {:<15} {said}", note.at.as_secs_f64(), row.sample.name))
    }

    /// All came to their end.
    pub fn is_over(&self) -> bool {
        self.rows.iter().all(Row::is_over)
    }

    /// When the first order was completed.
    pub fn first_completed(&self) -> Option<Duration> {
        let completed = self.rows.iter().filter(|row| row.status == OrderStatus::Completed);
        completed.filter_map(|row| row.ended).min()
    }

    /// The table as it looks `now`, in lines of at most `width` characters.
    pub fn lines(&self, now: Duration, width: usize, colours: bool) -> Vec<String> {
        let mut table = Table::new(&["", "ORDER", "STAGES", "STATUS", "", ">TIME", "WHAT IT SHOWS"]);
        for row in &self.rows {
            table.row(row.cells(now));
        }
        table.lines_within(width, colours)
    }
}

/// The five stages on the way to COMPLETED.
fn dots(status: OrderStatus) -> &'static str {
    match status {
        OrderStatus::Unspecified => "○○○○○",
        OrderStatus::Pending => "●○○○○",
        OrderStatus::Reserved => "●●○○○",
        OrderStatus::Paid => "●●●○○",
        OrderStatus::Fulfilled => "●●●●○",
        OrderStatus::Completed => "●●●●●",
        OrderStatus::Cancelling => "◀····",
        OrderStatus::Cancelled => "·····",
    }
}

fn standing(status: OrderStatus, reason: &str) -> String {
    let name = status_name(status);
    if reason.is_empty() { name.to_owned() } else { format!("{name} ({reason})") }
}
