//! What replay found, as people and programs see it. Pure.

use serde_json::{Value, json};
use skald_core::{archive::Recorded, input::Input, verify::Finding, what_if::Rerun};
use uuid::Uuid;

use super::source::Known;
use crate::output::{
    style::Tone,
    table::{Cell, Table, pairs},
};

/// What was looked at by `verify`.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Sagas.
    pub sagas: u64,
    /// History rows.
    pub rows: u64,
    /// Active sagas, each probed.
    pub probed: u64,
    /// Sagas with something wrong.
    pub wrong: u64,
    /// Definitions with something wrong.
    pub definitions: u64,
    /// The source is a scrubbed file.
    pub scrubbed: bool,
    /// How long it took.
    pub seconds: f64,
}

impl Tally {
    pub(super) fn count(&mut self, saga: &Recorded, wrong: bool) {
        self.sagas += 1;
        self.rows += saga.rows.len() as u64;
        self.probed += u64::from(saga.active);
        self.wrong += u64::from(wrong);
    }

    /// Nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.wrong == 0 && self.definitions == 0
    }
}

const SCRUBBED: &str = "the file is scrubbed: its digests were computed anew, so this proves only that replay agrees with itself";

/// The end of a run.
pub fn tally(tally: &Tally, colours: bool) -> String {
    let pace = tally.rows as f64 / tally.seconds.max(0.001);
    let wrong = match (tally.wrong, tally.definitions) {
        (0, 0) => Cell::new("nothing", Tone::Good),
        (sagas, 0) => Cell::new(counted(sagas, "saga"), Tone::Bad),
        (sagas, definitions) => {
            let (sagas, definitions) = (counted(sagas, "saga"), counted(definitions, "definition"));
            Cell::new(format!("{sagas}, {definitions}"), Tone::Bad)
        }
    };
    let note = if tally.scrubbed { Cell::new(SCRUBBED, Tone::Warn) } else { Cell::default() };
    pairs(
        &[
            ("sagas", thousands(tally.sagas).into()),
            ("rows", thousands(tally.rows).into()),
            ("probed", counted(tally.probed, "active saga").into()),
            ("differs", wrong),
            ("took", format!("{:.1} s, {} rows/s", tally.seconds, thousands(pace as u64)).into()),
            ("note", note),
        ],
        colours,
    )
}

/// The same for programs.
pub fn tally_json(tally: &Tally) -> Value {
    json!({ "summary": {
        "sagas": tally.sagas,
        "rows": tally.rows,
        "probed": tally.probed,
        "differing_sagas": tally.wrong,
        "differing_definitions": tally.definitions,
        "scrubbed": tally.scrubbed,
        "seconds": tally.seconds,
        "clean": tally.is_clean(),
    }})
}

/// A definition with something wrong.
pub fn definition(known: &Known, colours: bool) -> String {
    let name = Tone::Strong.paint(&known.name(), colours);
    let wrong = known.wrong.iter().map(|wrong| format!("\n  {}", plain(wrong)));
    format!("definition {} {name}{}", known.stored.id, wrong.collect::<String>())
}

/// The same for programs.
pub fn definition_json(known: &Known) -> Value {
    json!({ "definition": known.stored.id, "name": known.name(), "findings": known.wrong })
}

/// A saga with something wrong.
pub fn saga(saga: &Recorded, definition: &str, found: &[Finding], colours: bool) -> String {
    let id = Tone::Strong.paint(&saga.id.to_string(), colours);
    let mut text = format!("saga {id}  {definition}  {}", counted(saga.rows.len() as u64, "row"));
    for finding in found {
        let place = match finding.row {
            Some((seq, kind)) => format!("row {seq} {}", Input::kind_name(kind)),
            None => finding.code.to_lowercase(),
        };
        text.push_str(&format!("\n  {}: {}", Tone::Bad.paint(&place, colours), plain(&finding.what)));
        if !finding.recomputed.is_empty() {
            text.push_str("\n    recomputed:");
        }
        for line in &finding.recomputed {
            text.push_str(&format!("\n      {}", plain(line)));
        }
        if let Some(first) = &finding.difference {
            let whose =
                if first.step.is_empty() { "saga".to_owned() } else { format!("step {}", first.step) };
            let (found, recorded) = (plain(&first.found), plain(&first.recorded));
            let field = first.field;
            text.push_str(&format!(
                "\n    first difference at the end: {whose}, {field}: found {found}, recorded {recorded}"
            ));
        }
    }
    text
}

/// The same for programs.
pub fn saga_json(saga: &Recorded, definition: &str, found: &[Finding]) -> Value {
    let finding = |finding: &Finding| {
        json!({
            "code": finding.code,
            "row": finding.row.map(|(seq, _)| seq),
            "kind": finding.row.map(|(_, kind)| Input::kind_name(kind)),
            "what": finding.what,
            "recomputed": finding.recomputed,
            "first_difference": finding.difference.as_ref().map(|first| json!({
                "step": first.step,
                "field": first.field,
                "found": first.found,
                "recorded": first.recorded,
            })),
        })
    };
    let findings: Vec<Value> = found.iter().map(finding).collect();
    json!({ "saga": saga.id, "definition": definition, "rows": saga.rows.len(), "findings": findings })
}

/// What was looked at by `what-if`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Took the same course.
    pub same: u64,
    /// Took another course to the same end.
    pub course: u64,
    /// Another end.
    pub end: u64,
    /// Follow another definition.
    pub other: u64,
    /// Histories that can't be folded.
    pub broken: u64,
}

/// Sagas that would have gone otherwise, and how many did not.
pub fn what_if(shown: &[(Uuid, Rerun)], counts: &Counts, colours: bool) -> String {
    let mut text = String::new();
    if !shown.is_empty() {
        let columns = ["SAGA", "ENDED AS", "WOULD HAVE ENDED AS", ">ROW", "REASON"];
        let mut table = Table::new(&columns);
        for (id, rerun) in shown {
            let (row, why) = rerun.parts.clone().unwrap_or_default();
            let tone = if rerun.was == rerun.would { Tone::Plain } else { Tone::Warn };
            table.row([
                id.to_string().into(),
                rerun.was.to_string().into(),
                Cell::new(rerun.would.to_string(), tone),
                row.to_string().into(),
                why.into(),
            ]);
        }
        text = table.render(colours);
        let more = counts.course + counts.end - shown.len() as u64;
        if more > 0 {
            text.push_str(&format!("\n… and {} more: --limit N shows them", thousands(more)));
        }
        text.push_str("\n\n");
    }
    let some = |count: u64| if count == 0 { Cell::default() } else { thousands(count).into() };
    text + &pairs(
        &[
            ("another end", thousands(counts.end).into()),
            ("another course, same end", thousands(counts.course).into()),
            ("the same", thousands(counts.same).into()),
            ("follow another definition", some(counts.other)),
            ("can't be folded, see verify", some(counts.broken)),
        ],
        colours,
    )
}

/// One saga that would have gone otherwise, for programs.
pub fn rerun_json(id: Uuid, rerun: &Rerun) -> Value {
    let (row, why) = rerun.parts.clone().unwrap_or_default();
    json!({
        "saga": id,
        "ended_as": rerun.was.to_string(),
        "would_have_ended_as": rerun.would.to_string(),
        "row": row,
        "reason": why,
    })
}

/// How many, for programs.
pub fn counts_json(counts: &Counts) -> Value {
    json!({ "summary": {
        "another_end": counts.end,
        "another_course": counts.course,
        "same": counts.same,
        "other_definition": counts.other,
        "broken": counts.broken,
    }})
}

/// `1 saga`, `1,234 sagas`.
pub fn counted(number: u64, what: &str) -> String {
    format!("{} {what}{}", thousands(number), if number == 1 { "" } else { "s" })
}

/// `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// What was stored may hold control characters, which are no business of the terminal.
fn plain(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}
