//! One dead letter, whole: its headers, its payload in words, and where its saga stands. Pure.

use serde_json::Value;
use skald_proto::admin::v1 as admin;

use super::view::standing;
use crate::output::{
    json,
    style::Tone,
    table::{Cell, pairs},
    text::when,
};

/// What stands in a topic of commands or of outcomes.
fn kind(topic: &str) -> Option<&'static str> {
    let is = |end: &str| topic.ends_with(end);
    match () {
        () if is(".commands") => Some("skald.participant.v1.Command"),
        () if is(".outcomes") => Some("skald.participant.v1.Outcome"),
        () => None,
    }
}

/// The payload by the contracts, when it is a command or an outcome.
fn decoded(whole: &admin::GetDeadLetterResponse) -> Option<Value> {
    let topic = &whole.letter.as_ref()?.origin_topic;
    json::named(kind(topic)?, &whole.payload).ok()
}

/// For programs: as in the contract, and the payload decoded when it can be.
pub fn json(whole: &admin::GetDeadLetterResponse) -> Value {
    let mut shown = json::message(whole);
    shown["decoded"] = decoded(whole).unwrap_or(Value::Null);
    shown
}

/// For eyes; `now` in seconds.
pub fn text(whole: &admin::GetDeadLetterResponse, now: i64, colours: bool) -> String {
    let letter = whole.letter.clone().unwrap_or_default();
    let saga = whole.saga.as_ref().map(|s| s.status().as_str_name().trim_start_matches("SAGA_STATUS_"));
    let from = format!("{}/{} at {}", letter.origin_topic, letter.origin_partition, letter.origin_offset);
    let head = pairs(
        &[
            ("dead letter", letter.id.to_string().into()),
            ("state", standing(letter.state()).into()),
            ("reason", Cell::new(&letter.reason, Tone::Bad)),
            ("meant for", from.into()),
            ("since", when(letter.at.as_ref(), now).into()),
            ("saga", Cell::from(&letter.saga_id)),
            ("which is", saga.unwrap_or_default().into()),
        ],
        colours,
    );
    // What is in a message is no business of the terminal.
    let clean = |text: &str| text.replace(|c: char| c.is_control() && c != '\n', "\u{fffd}");
    let mut out = vec![head, String::new()];
    let header =
        |h: &admin::Header| format!("{}: {}", Tone::Dim.paint(&clean(&h.name), colours), clean(&h.value));
    out.extend(whole.headers.iter().map(header));
    out.push(String::new());
    out.push(match decoded(whole) {
        Some(value) => clean(&format!("{value:#}")),
        None if !whole.text.is_empty() => clean(&whole.text),
        None => {
            format!("{} bytes that can't be read here: {}", whole.payload.len(), json::hex(&whole.payload))
        }
    });
    out.join("\n")
}
