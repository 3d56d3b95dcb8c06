//! What participants say at their own desks, as people see it. Pure.

use skald_proto::participant::v1::{
    BarrierRow, BarrierVerdict, BreakerState, GetStatusResponse, OpenIntent, Verb,
};

use crate::output::{
    json,
    style::Tone,
    table::{Cell, Table, pairs},
    text::{ago, and_more, when},
};

fn verb(verb: Verb) -> &'static str {
    verb.as_str_name().trim_start_matches("VERB_")
}

/// How a participant's instance fares; `now` in seconds.
pub fn status(status: &GetStatusResponse, now: i64, colours: bool) -> String {
    let breaker = status.breaker.as_ref().map(|breaker| {
        let name = breaker.state().as_str_name().trim_start_matches("BREAKER_STATE_");
        let tone = if breaker.state() == BreakerState::Closed { Tone::Good } else { Tone::Bad };
        Cell::new(format!("{name}, since {}", when(breaker.since.as_ref(), now)), tone)
    });
    let intents = status.intents.as_ref().map(|intents| {
        let oldest = intents.oldest.as_ref().map(|oldest| {
            format!(
                ", the oldest since {}: {} {}",
                when(oldest.since.as_ref(), now),
                oldest.saga_id,
                oldest.step
            )
        });
        format!(
            "{} open, {} of them wait for a person{}",
            intents.open,
            intents.unresolved,
            oldest.unwrap_or_default()
        )
    });
    let lag: i64 = status.lag.iter().map(|lag| lag.messages).sum();
    let lag = match status.lag.len() {
        0 => "it reads no partition".to_owned(),
        partitions => format!("{lag} commands over {partitions} partitions"),
    };
    let head = pairs(
        &[
            ("participant", Cell::from(&status.participant)),
            ("version", Cell::from(&status.version)),
            ("lag", lag.into()),
            ("breaker", breaker.unwrap_or_default()),
            ("outside calls", intents.unwrap_or_default().into()),
        ],
        colours,
    );
    let unknown = status.unknown.iter().map(|line| Tone::Warn.paint(&format!("? {line}"), colours));
    std::iter::once(head).chain(unknown).collect::<Vec<_>>().join("\n")
}

/// What a row's answer says beyond its verdict: a code and a message, and what came along.
pub(crate) fn told(row: &BarrierRow) -> String {
    let content = row.content.as_ref().map(json::brief);
    let (name, text) = content.unwrap_or_default();
    let said = row.summary.strip_suffix(&format!(", with {name}")).unwrap_or(&row.summary);
    let verdict = row.verdict().as_str_name().trim_start_matches("BARRIER_VERDICT_");
    let said = if said.to_uppercase().replace(' ', "_") == verdict { "" } else { said };
    let parts = [said, &name, &text].into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(" ")
}

/// What a participant remembers of an order; `now` in seconds.
pub fn barrier(rows: &[BarrierRow], now: i64, colours: bool) -> String {
    if rows.is_empty() {
        return "it remembers nothing of that order".to_owned();
    }
    let mut table = Table::new(&["STEP", "VERB", ">EPOCH", "VERDICT", "AT (UTC)", "WHAT WAS ANSWERED"]);
    for row in rows {
        let tone = match row.verdict() {
            BarrierVerdict::Succeeded | BarrierVerdict::Undone => Tone::Good,
            BarrierVerdict::Intent => Tone::Busy,
            _ => Tone::Warn,
        };
        table.row([
            Cell::from(&row.step),
            verb(row.verb()).into(),
            row.epoch.to_string().into(),
            Cell::new(row.verdict().as_str_name().trim_start_matches("BARRIER_VERDICT_"), tone),
            when(row.at.as_ref(), now).into(),
            told(row).into(),
        ]);
    }
    table.render(colours)
}

/// Calls that have not settled; `more`: there are others behind them; `now` in seconds.
pub fn intents(intents: &[OpenIntent], more: bool, now: i64, colours: bool) -> String {
    if intents.is_empty() {
        return Tone::Good.paint("no call is open", colours);
    }
    let columns =
        ["ORDER", "STEP", "VERB", ">EPOCH", ">ATTEMPT", ">CALLS", "SINCE (UTC)", "NEXT", "ANSWERED"];
    let mut table = Table::new(&columns);
    for intent in intents {
        let next = match &intent.next_call_after {
            Some(at) => ago(Some(at), now),
            None => "asleep".to_owned(),
        };
        table.row([
            Cell::from(&intent.saga_id),
            Cell::from(&intent.step),
            verb(intent.verb()).into(),
            intent.epoch.to_string().into(),
            intent.attempt.to_string().into(),
            intent.calls.to_string().into(),
            when(intent.since.as_ref(), now).into(),
            next.into(),
            Cell::new(&intent.answered, Tone::Bad),
        ]);
    }
    and_more(table.render(colours), more)
}
