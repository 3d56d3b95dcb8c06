//! Sagas as people see them. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use skald_proto::{
    admin::v1::StatusCount,
    saga::v1::{Phase, Saga, SagaStatus, Step, StepStatus},
};

use crate::output::{
    json,
    style::Tone,
    table::{Cell, Table, pairs},
    text::{precise, time, when},
};

fn status_name(status: SagaStatus) -> &'static str {
    status.as_str_name().trim_start_matches("SAGA_STATUS_")
}

fn tone(status: SagaStatus) -> Tone {
    match status {
        SagaStatus::Completed => Tone::Good,
        SagaStatus::Compensating | SagaStatus::Compensated => Tone::Warn,
        SagaStatus::Parked | SagaStatus::Paused => Tone::Bad,
        SagaStatus::Running | SagaStatus::Unspecified => Tone::Busy,
    }
}

/// All of one saga; `now` in seconds.
pub fn one(saga: &Saga, now: i64, colours: bool) -> String {
    // At the end the status says the same.
    let phase = match saga.phase() {
        Phase::Forward | Phase::Compensating => saga.phase().as_str_name().trim_start_matches("PHASE_"),
        Phase::Completed | Phase::Compensated | Phase::Unspecified => "",
    };
    let because = saga.reason_detail.as_ref().map(|any| json::any(any).to_string()).unwrap_or_default();
    let head = pairs(
        &[
            ("saga", Cell::from(&saga.saga_id)),
            ("definition", format!("{} ({:.12})", saga.definition, saga.definition_hash).into()),
            ("status", Cell::new(status_name(saga.status()), tone(saga.status()))),
            ("phase", phase.into()),
            ("stage", Cell::from(&saga.stage)),
            ("reason", Cell::from(&saga.reason)),
            ("because", because.into()),
            ("parked", Cell::new(&saga.parked, Tone::Bad)),
            ("quarantine", Cell::new(&saga.quarantine, Tone::Bad)),
            ("customer", Cell::from(&saga.customer_id)),
            ("version", saga.version.to_string().into()),
            ("created", when(saga.created_at.as_ref(), now).into()),
            ("updated", when(saga.updated_at.as_ref(), now).into()),
            ("next wake", when(saga.next_wake_at.as_ref(), now).into()),
        ],
        colours,
    );
    format!("{head}\n\n{}", steps(&saga.steps, colours))
}

/// The steps of one.
pub(crate) fn steps(steps: &[Step], colours: bool) -> String {
    let mut table = Table::new(&["STEP", "PARTICIPANT", "STATUS", ">EPOCH", ">ATTEMPT", "DEADLINE", "NOTES"]);
    for step in steps {
        let some = |number: u32| if number == 0 { String::new() } else { number.to_string() };
        table.row([
            Cell::from(&step.name),
            Cell::from(&step.participant),
            step_cell(step.status()),
            some(step.epoch).into(),
            some(step.attempt).into(),
            time(step.deadline.as_ref()).into(),
            Cell::new(notes(step), if step.parked.is_empty() { Tone::Plain } else { Tone::Bad }),
        ]);
    }
    table.render(colours)
}

/// Where a step stands.
pub(crate) fn step_cell(status: StepStatus) -> Cell {
    let tone = match status {
        StepStatus::Succeeded => Tone::Good,
        StepStatus::Rejected | StepStatus::Undoing | StepStatus::Undone => Tone::Warn,
        StepStatus::Running | StepStatus::AwaitingSignal | StepStatus::Sealing | StepStatus::Fencing => {
            Tone::Busy
        }
        _ => Tone::Dim,
    };
    Cell::new(status.as_str_name().trim_start_matches("STEP_STATUS_"), tone)
}

fn notes(step: &Step) -> String {
    let mut notes = Vec::new();
    if !step.parked.is_empty() {
        notes.push(format!("parked: {}", step.parked));
    }
    if step.vouched {
        notes.push("vouched for by a person".to_owned());
    }
    if let Some(error) = &step.last_error {
        notes.push(format!("{}: {} (at {})", error.code, error.message, time(error.at.as_ref())));
    }
    if let Some(at) = &step.next_retry_at {
        notes.push(format!("next try at {}", precise(Some(at))));
    }
    if let Some(result) = &step.result {
        notes.push(json::any(result).to_string());
    }
    notes.join("; ")
}

/// Many sagas; `now` in seconds.
pub fn list(sagas: &[Saga], now: i64, colours: bool) -> String {
    if sagas.is_empty() {
        return "no such saga".to_owned();
    }
    let mut table = Table::new(&["SAGA", "DEFINITION", "STATUS", "STAGE", "CUSTOMER", "BEGAN (UTC)", "WHY"]);
    for saga in sagas {
        table.row([
            Cell::from(&saga.saga_id),
            Cell::from(&saga.definition),
            Cell::new(status_name(saga.status()), tone(saga.status())),
            Cell::from(&saga.stage),
            Cell::from(&saga.customer_id),
            when(saga.created_at.as_ref(), now).into(),
            why(saga).into(),
        ]);
    }
    table.render(colours)
}

/// What a person wants to know first: what is wrong, else why it turned round.
fn why(saga: &Saga) -> String {
    let itself = [&saga.quarantine, &saga.parked].into_iter().find(|why| !why.is_empty()).cloned();
    let step = || {
        let parked = saga.steps.iter().find(|step| !step.parked.is_empty());
        parked.map(|step| format!("{}: {}", step.name, step.parked))
    };
    itself.or_else(step).unwrap_or_else(|| saga.reason.clone())
}

/// How many sagas fit, by status.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    by_status: BTreeMap<i32, StatusCount>,
    /// Nobody knows whether these fit.
    pub unreadable: i64,
}

impl Counts {
    /// Adds what a page counted.
    pub fn add(&mut self, page: &[StatusCount]) {
        for more in page {
            let known =
                self.by_status.entry(more.status).or_insert_with(|| StatusCount { count: 0, ..*more });
            known.count += more.count;
            let seconds = |count: &StatusCount| count.oldest.map(|at| (at.seconds, at.nanos));
            if seconds(more) < seconds(known) {
                known.oldest = more.oldest;
            }
        }
    }

    /// All of them.
    pub fn total(&self) -> i64 {
        self.by_status.values().map(|count| count.count).sum()
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let counts: Vec<Value> = self.by_status.values().map(json::message).collect();
        json!({ "count": self.total(), "counts": counts, "unreadable": self.unreadable })
    }

    /// For eyes; `now` in seconds.
    pub fn text(&self, now: i64, colours: bool) -> String {
        let mut out = vec![Tone::Strong.paint(&format!("{} sagas", self.total()), colours)];
        if !self.by_status.is_empty() {
            let counts: Vec<StatusCount> = self.by_status.values().copied().collect();
            out.push(by_status(&counts, now, colours));
        }
        if self.unreadable > 0 {
            let unknown = format!("{} can't be read: whether they fit is not known", self.unreadable);
            out.push(Tone::Warn.paint(&unknown, colours));
        }
        out.join("\n")
    }
}

/// So many of each status, and since when the oldest.
pub(crate) fn by_status(counts: &[StatusCount], now: i64, colours: bool) -> String {
    let mut table = Table::new(&["STATUS", ">COUNT", "OLDEST BEGAN (UTC)"]);
    for count in counts {
        table.row([
            Cell::new(status_name(count.status()), tone(count.status())),
            count.count.to_string().into(),
            when(count.oldest.as_ref(), now).into(),
        ]);
    }
    table.render(colours)
}
