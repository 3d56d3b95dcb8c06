//! What a new definition changes and who could follow it, as people and programs see it. Pure.

use serde_json::{Value, json};
use skald_core::{Definition, transfer::Change};
use uuid::Uuid;

use crate::output::{
    style::Tone,
    table::{Cell, Table, pairs},
};

/// The sagas that run.
#[derive(Clone, Debug, Default)]
pub struct Running {
    /// Could move.
    pub move_on: u64,
    /// Could not.
    pub stay: u64,
    /// Follow another version of the same name.
    pub other: u64,
    /// Some that could not: the id, where it stands, and why.
    pub shown: Vec<(Uuid, String, Vec<String>)>,
}

/// Everything, for people.
pub fn text(
    old: &Definition,
    new: &Definition,
    changes: &[Change],
    running: Option<&Running>,
    colours: bool,
) -> String {
    let of = |d: &Definition| format!("{} {}", d.name, d.version);
    let mut parts = vec![format!("{} → {}", of(old), of(new))];
    if changes.is_empty() {
        parts.push("nothing changes that a saga would notice".into());
    } else {
        let mut table = Table::new(&["STEP", "RUNNING SAGAS", "WHAT CHANGES"]);
        for change in changes {
            let (who, tone) = match (change.binds, change.step.is_empty()) {
                (false, _) => ("all may follow", Tone::Good),
                (true, true) => ("depends", Tone::Warn),
                (true, false) => ("not once entered", Tone::Warn),
            };
            let step = if change.step.is_empty() { "-" } else { &change.step };
            table.row([step.into(), Cell::new(who, tone), Cell::from(&change.what)]);
        }
        parts.push(table.render(colours));
    }
    if let Some(running) = running {
        if !running.shown.is_empty() {
            parts.push(stay(running, colours));
        }
        let other = if running.other == 0 { String::new() } else { running.other.to_string() };
        parts.push(pairs(
            &[
                ("could move", running.move_on.to_string().into()),
                ("could not", running.stay.to_string().into()),
                ("follow another version", other.into()),
            ],
            colours,
        ));
    }
    parts.join("\n\n")
}

fn stay(running: &Running, colours: bool) -> String {
    let mut table = Table::new(&["SAGA", "STATUS", "WHY NOT"]);
    for (id, at, why) in &running.shown {
        table.row([id.to_string().into(), Cell::from(at), Cell::from(why.join("; "))]);
    }
    let mut text = table.render(colours);
    let more = running.stay - running.shown.len() as u64;
    if more > 0 {
        text.push_str(&format!("\n… and {more} more: --limit N shows them"));
    }
    text
}

/// Everything but the sagas, for programs.
pub fn json(old: &Definition, new: &Definition, changes: &[Change], running: Option<&Running>) -> Value {
    let of = |d: &Definition| json!({ "name": d.name, "version": d.version });
    let change = |c: &Change| json!({ "step": c.step, "what": c.what, "binds": c.binds });
    json!({ "summary": {
        "old": of(old),
        "new": of(new),
        "changes": changes.iter().map(change).collect::<Vec<_>>(),
        "running": running.map(|r| json!({
            "could_move": r.move_on,
            "could_not": r.stay,
            "other_version": r.other,
        })),
    }})
}

/// One saga that could not move, for programs.
pub fn saga_json(id: Uuid, at: &str, why: &[String]) -> Value {
    json!({ "saga": id, "status": at, "why": why })
}
