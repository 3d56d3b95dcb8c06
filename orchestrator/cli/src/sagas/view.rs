//! Sagas as people see them. Pure.

use serde_json::Value;
use skald_proto::saga::v1::{HistoryEntry, Phase, Saga, SagaStatus, Step, StepStatus};

use crate::output::{
    json,
    style::Tone,
    table::{Cell, Table, pairs},
    text::{precise, time},
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

/// As JSON; what an `Any` of another definition holds stays unread.
pub fn json(saga: &Saga) -> Value {
    let mut known = saga.clone();
    let unread = |any: &mut Option<prost_types::Any>| any.take_if(|any| !json::is_known(any));
    let (input, detail) = (unread(&mut known.input), unread(&mut known.reason_detail));
    let results: Vec<_> = known.steps.iter_mut().map(|step| unread(&mut step.result)).collect();
    let mut shown = json::message(&known);
    if let Some(input) = input {
        shown["input"] = json::any(&input);
    }
    if let Some(detail) = detail {
        shown["reason_detail"] = json::any(&detail);
    }
    for (i, result) in results.iter().enumerate() {
        if let Some(result) = result {
            shown["steps"][i]["result"] = json::any(result);
        }
    }
    shown
}

/// All of one saga.
pub fn one(saga: &Saga, colours: bool) -> String {
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
            ("created", time(saga.created_at.as_ref()).into()),
            ("updated", precise(saga.updated_at.as_ref()).into()),
            ("next wake", time(saga.next_wake_at.as_ref()).into()),
        ],
        colours,
    );
    format!("{head}\n\n{}", steps(&saga.steps, colours))
}

/// The steps of one.
pub(crate) fn steps(steps: &[Step], colours: bool) -> String {
    let mut table = Table::new(&["STEP", "PARTICIPANT", "STATUS", ">EPOCH", ">ATTEMPT", "DEADLINE", "NOTES"]);
    for step in steps {
        let status = step.status();
        let tone = match status {
            StepStatus::Succeeded => Tone::Good,
            StepStatus::Rejected | StepStatus::Undoing | StepStatus::Undone => Tone::Warn,
            StepStatus::Running | StepStatus::AwaitingSignal | StepStatus::Sealing | StepStatus::Fencing => {
                Tone::Busy
            }
            _ => Tone::Dim,
        };
        let some = |number: u32| if number == 0 { String::new() } else { number.to_string() };
        table.row([
            Cell::from(&step.name),
            Cell::from(&step.participant),
            Cell::new(status.as_str_name().trim_start_matches("STEP_STATUS_"), tone),
            some(step.epoch).into(),
            some(step.attempt).into(),
            time(step.deadline.as_ref()).into(),
            Cell::new(notes(step), if step.parked.is_empty() { Tone::Plain } else { Tone::Bad }),
        ]);
    }
    table.render(colours)
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

/// Every accepted input.
pub fn history(entries: &[HistoryEntry], colours: bool) -> String {
    let mut table = Table::new(&[">#", "AT (UTC)", "KIND", "ACTOR", "DIGEST", "WHAT"]);
    for entry in entries {
        table.row([
            entry.seq.to_string().into(),
            precise(entry.at.as_ref()).into(),
            Cell::from(&entry.kind),
            Cell::from(&entry.actor),
            Cell::new(&entry.digest, Tone::Dim),
            Cell::from(&entry.summary),
        ]);
    }
    table.render(colours)
}

/// Many sagas; `more`: there are others behind them.
pub fn list(sagas: &[Saga], more: bool, colours: bool) -> String {
    if sagas.is_empty() {
        return "no such saga".to_owned();
    }
    let mut table = Table::new(&["SAGA", "DEFINITION", "STATUS", "STAGE", "WHY", "UPDATED (UTC)"]);
    for saga in sagas {
        let why = [&saga.quarantine, &saga.parked, &saga.reason].into_iter().find(|why| !why.is_empty());
        table.row([
            Cell::from(&saga.saga_id),
            Cell::from(&saga.definition),
            Cell::new(status_name(saga.status()), tone(saga.status())),
            Cell::from(&saga.stage),
            Cell::from(why.map(String::as_str).unwrap_or_default()),
            time(saga.updated_at.as_ref()).into(),
        ]);
    }
    let mut text = table.render(colours);
    if more {
        text.push_str("\n… and more: --limit N shows them");
    }
    text
}
