//! A saga's history as people see it: each input, when it came, who caused it, and what came along. Pure.

use skald_proto::saga::v1::{HistoryEntry, HistoryPayload};

use crate::output::{
    json,
    style::Tone,
    table::{Cell, Table},
    text::{precise, took, when},
};

/// A payload that is longer is told in several lines.
const WIDE: usize = 120;

/// The timeline; `now` in seconds.
pub fn text(saga_id: &str, entries: &[HistoryEntry], now: i64, colours: bool) -> String {
    let mut table = Table::new(&[">#", "AT (UTC)", ">AFTER", "KIND", "BY", "WHAT"]);
    let mut before = None;
    for entry in entries {
        let at = entry.at.map(|at| at.seconds * 1_000 + i64::from(at.nanos) / 1_000_000);
        let after = before.zip(at).map(|(before, at)| format!("+{}", took(at - before)));
        before = at.or(before);
        table.row([
            entry.seq.to_string().into(),
            precise(entry.at.as_ref()).into(),
            after.unwrap_or_default().into(),
            Cell::new(&entry.kind, tone(entry)),
            Cell::from(&entry.actor),
            Cell::from(&entry.summary),
        ]);
    }
    let began = entries.first().and_then(|first| first.at);
    let mut out =
        vec![format!("{} began {}", Tone::Strong.paint(saga_id, colours), when(began.as_ref(), now))];
    let mut lines = table.lines(colours).into_iter();
    out.extend(lines.next());
    for (line, entry) in lines.zip(entries) {
        out.push(line);
        out.extend(entry.payloads.iter().flat_map(payload).map(|line| Tone::Dim.paint(&line, colours)));
    }
    out.join("\n")
}

fn tone(entry: &HistoryEntry) -> Tone {
    match entry.kind.as_str() {
        "OPERATOR" => Tone::Strong,
        "CANCEL_REQUESTED" | "DEADLINE_FIRED" | "POSTPONED" => Tone::Warn,
        "UNKNOWN" => Tone::Bad,
        _ => Tone::Plain,
    }
}

/// What came along, by its type.
fn payload(payload: &HistoryPayload) -> Vec<String> {
    let Some(any) = &payload.payload else { return Vec::new() };
    let (name, mut text) = json::brief(any);
    if text.chars().count() > WIDE
        && let Ok(value) = serde_json::from_str::<serde_json::Value>(&text)
    {
        text = format!("{value:#}");
    }
    // What customers wrote is no business of the terminal.
    let clean = |line: &str| line.replace(char::is_control, "\u{fffd}");
    let mut lines = text.lines();
    let first = format!("      {}: {name} {}", payload.name, lines.next().unwrap_or_default());
    std::iter::once(clean(first.trim_end()))
        .chain(lines.map(|line| clean(&format!("      {line}"))))
        .collect()
}
