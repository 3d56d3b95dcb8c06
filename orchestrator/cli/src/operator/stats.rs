//! `skald stats`: how many sagas stand where, what went through lately, and what is oldest.

use std::time::Duration;

use skald_proto::admin::v1::{GetStatsRequest, GetStatsResponse, admin_service_client::AdminServiceClient};

use crate::{
    client::{Orchestrator, Peer as _},
    exit::{Exit, Failure},
    output::{
        self, Format, json,
        style::Tone,
        table::{Cell, Table},
        text::{took, when},
    },
    sagas,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  skald stats --window 1h --output json | jq '.completed / .window_seconds'")]
pub(crate) struct Args {
    /// Count what began within this time, a day at most
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "15m")]
    window: Duration,
    #[command(flatten)]
    server: Orchestrator,
}

impl Args {
    pub(crate) fn format(&self) -> Format {
        self.server.format()
    }
}

pub(crate) async fn run(args: Args) -> Result<Exit, Failure> {
    let mut client = AdminServiceClient::new(args.server.connect().await?);
    let window_seconds = i32::try_from(args.window.as_secs().max(1)).unwrap_or(i32::MAX);
    let stats = client.get_stats(GetStatsRequest { window_seconds }).await?.into_inner();
    output::show(args.server.format(), || json::message(&stats), |c| text(&stats, super::now(), c))?;
    Ok(Exit::Ok)
}

/// For eyes; `now` in seconds.
pub fn text(stats: &GetStatsResponse, now: i64, colours: bool) -> String {
    let head = |text: &str| Tone::Strong.paint(text, colours);
    let mut out = vec![head(&format!("{} sagas are under way", stats.active))];
    if !stats.by_status.is_empty() {
        out.push(sagas::view::by_status(&stats.by_status, now, colours));
    }
    if !stats.oldest_in_flight.is_empty() {
        out.push(format!(
            "the oldest that is neither parked nor paused: {} since {}",
            stats.oldest_in_flight,
            when(stats.oldest_in_flight_at.as_ref(), now)
        ));
    }
    if !stats.by_step.is_empty() {
        let estimate =
            if stats.estimated { format!(", estimated from {}", stats.sampled) } else { String::new() };
        out.extend([String::new(), head(&format!("Their steps{estimate}")), by_step(stats, colours)]);
    }
    if stats.unreadable > 0 {
        let unread = format!("{} of {} can't be read and are missing there", stats.unreadable, stats.sampled);
        out.push(Tone::Warn.paint(&unread, colours));
    }
    let window = i64::from(stats.window_seconds);
    out.extend([String::new(), head(&format!("What began in the last {}", took(window * 1_000)))]);
    let mut table = Table::new(&["", ">COUNT", ">PER SECOND"]);
    let open = stats.started - stats.completed - stats.compensated;
    for (what, count) in [
        ("began", stats.started),
        ("COMPLETED since", stats.completed),
        ("COMPENSATED since", stats.compensated),
        ("under way still", open),
    ] {
        let rate = format!("{:.2}", count as f64 / window.max(1) as f64);
        table.row([Cell::from(what), count.to_string().into(), rate.into()]);
    }
    out.push(table.render(colours));
    out.join("\n")
}

fn by_step(stats: &GetStatsResponse, colours: bool) -> String {
    let mut table = Table::new(&["DEFINITION", "STEP", "STATUS", ">SAGAS"]);
    for step in &stats.by_step {
        table.row([
            Cell::from(&step.definition),
            Cell::from(&step.step),
            sagas::view::step_cell(step.status()),
            step.count.to_string().into(),
        ]);
    }
    table.render(colours)
}
