//! What a new definition changes and who could follow it, as people and programs see it. Pure.

use serde_json::{Value, json};
use skald_core::{Definition, transfer::Change};
use skald_proto::admin::v1 as admin;
use uuid::Uuid;

use crate::output::{
    style::Tone,
    table::{Cell, Table, pairs},
    text::time,
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

/// What is stored, who follows it, and what is frozen.
pub fn definitions(all: &[admin::Definition], colours: bool) -> String {
    let mut table = Table::new(&[
        "DEFINITION",
        ">VERSION",
        "HASH",
        ">RUNNING",
        "NEW SAGAS",
        "FROZEN SINCE (UTC)",
        "BY",
        "WHY",
    ]);
    for one in all {
        for version in &one.versions {
            let (new, tone) = match (version.offered, one.frozen_at.is_some()) {
                (false, _) => ("", Tone::Plain),
                (true, true) => ("refused", Tone::Bad),
                (true, false) => ("taken", Tone::Good),
            };
            // Of its name, so once.
            let frozen = version.offered || one.versions.iter().all(|version| !version.offered);
            let of = |text: &str| if frozen { text.to_owned() } else { String::new() };
            table.row([
                Cell::from(&one.name),
                version.version.to_string().into(),
                format!("{:.12}", version.hash).into(),
                version.running.to_string().into(),
                Cell::new(new, tone),
                of(&time(one.frozen_at.as_ref())).into(),
                of(&one.frozen_by).into(),
                of(&one.reason).into(),
            ]);
        }
    }
    table.render(colours)
}

/// Which running sagas would move, and why the others would not.
pub fn migration(name: &str, foreseen: &admin::MigrateDefinitionResponse, colours: bool) -> String {
    let to = foreseen.to.clone().unwrap_or_default();
    let mut parts = vec![format!("{name} → {name} {} ({:.12})", to.version, to.hash)];
    if !foreseen.stay.is_empty() {
        let mut table = Table::new(&[">SAGAS", "WHY NOT", "SUCH AS"]);
        for stay in &foreseen.stay {
            table.row([
                stay.count.to_string().into(),
                Cell::from(&stay.why),
                stay.example_saga_ids.first().cloned().unwrap_or_default().into(),
            ]);
        }
        parts.push(table.render(colours));
    }
    parts.push(pairs(
        &[
            ("could move", foreseen.could_move.to_string().into()),
            ("such as", foreseen.example_saga_ids.join(" ").into()),
            ("could not", foreseen.could_not.to_string().into()),
        ],
        colours,
    ));
    parts.join("\n\n")
}

/// One saga that could not move, for programs.
pub fn saga_json(id: Uuid, at: &str, why: &[String]) -> Value {
    json!({ "saga": id, "status": at, "why": why })
}
