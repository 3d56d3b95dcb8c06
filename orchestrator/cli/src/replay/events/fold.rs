//! The events of a recorded saga, made again from its history: with the ids, bytes and headers that they had. Pure.

use std::collections::BTreeMap;

use skald_core::{
    Definition, Event,
    archive::Recorded,
    history::{self, Lineage},
};
use skald_kit::outbox;
use skald_server::events::{self, About};

/// Which times, Unix milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) since: i64,
    /// Not included.
    pub(super) until: i64,
}

/// A saga's events of these times, in order.
///
/// # Errors
/// Why nothing is said of it: its history does not lead, row by row, where it is recorded to lead, so this binary would
/// tell something else than what was told.
pub(super) fn events(
    topic: &str,
    range: Range,
    (definition, lineage): (&Definition, Lineage<'_>),
    saga: &Recorded,
    (customer_id, traceparent): (&str, Option<&str>),
) -> Result<Vec<outbox::Row>, String> {
    let (mut told, mut times): (Vec<(u32, Event)>, _) = (Vec::new(), BTreeMap::new());
    let show = |row: &history::Row, effects: skald_core::Effects| {
        times.insert(row.seq, row.at);
        told.extend(effects.events.into_iter().filter_map(|e| Some((row.seq, e.event?))));
    };
    let state = history::replay_with(lineage, saga.id, &saga.request, &saga.rows, show)
        .map_err(|mismatch| mismatch.to_string())?;
    if state.version != saga.version {
        return Err(format!("the history ends at row {}, the saga is at {}", state.version, saga.version));
    }
    let about = About { customer_id, request: &saga.request, traceparent, definition };
    let mut rows = events::rows(topic, saga.id, &told, |version| times[&version], &about);
    rows.retain(|row| (range.since..range.until).contains(&row.time_ms));
    Ok(rows)
}
