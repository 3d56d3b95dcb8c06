//! Stored states as the messages that clients see. Shows, decides nothing.

use prost::{Message, Name};
use prost_types::{Any, Timestamp};
use skald_core::{
    Definition, flight, history,
    input::{self, Act, Answer, Input, Operator, Payload, Request},
    state::{self, Phase, State, Status, Step},
};
use skald_kit::ids;
use skald_proto::{
    inventory::v1::OutOfStock,
    order::v1::{MissingItem, Order, OrderInput, OrderStatus},
    saga::v1 as wire,
};

use super::history::about;
use crate::{bus::wire::any, store::read::Shown};

/// Unix milliseconds as a timestamp.
pub fn timestamp(ms: i64) -> Timestamp {
    Timestamp { seconds: ms.div_euclid(1000), nanos: (ms.rem_euclid(1000) * 1_000_000) as i32 }
}

/// A timestamp as Unix milliseconds.
pub fn millis(t: &Timestamp) -> i64 {
    t.seconds.saturating_mul(1000).saturating_add(i64::from(t.nanos) / 1_000_000)
}

fn some(ms: i64) -> Option<Timestamp> {
    (ms != 0).then(|| timestamp(ms))
}

/// A row's state, aligned with its definition; else which table, column and id can't be read, and why.
fn state_of(row: &Shown, definition: &Definition) -> Result<State, String> {
    let broken = |why: String| format!("table saga, column state, id {}: {why}", row.id);
    let mut state = state::decode(row.format as u32, &row.state).map_err(|e| broken(e.to_string()))?;
    state.aligned(definition).ok_or_else(|| broken("it has a step that its definition has not".into()))?;
    Ok(state)
}

/// As [`saga`]; of one whose definition is not there what the columns tell, and why under `quarantine`.
pub fn listed(row: &Shown, definition: Option<&Definition>, with_input: bool) -> wire::Saga {
    if let Some(definition) = definition {
        return saga(row, definition, with_input);
    }
    let unknown = format!("definition {} is not stored or can't be read", row.definition_id);
    let quarantine = format!("table saga, column definition_id, id {}: {unknown}", row.id);
    wire::Saga { quarantine, ..columns(row, with_input) }
}

/// A saga with its steps. Of one whose state can't be read: what the columns tell, and why under `quarantine`.
pub fn saga(row: &Shown, definition: &Definition, with_input: bool) -> wire::Saga {
    let columns = wire::Saga {
        definition: definition.name.clone(),
        definition_hash: definition.hash().iter().map(|b| format!("{b:02x}")).collect(),
        stage: stage(definition, row.stage as usize).unwrap_or_default().to_owned(),
        ..columns(row, with_input)
    };
    let state = match state_of(row, definition) {
        Ok(state) => state,
        Err(why) => return wire::Saga { quarantine: why, ..columns },
    };
    wire::Saga {
        phase: phase(state.phase()).into(),
        reason_detail: state.reason_detail.clone().map(any),
        parked: state.parked.clone(),
        next_wake_at: flight::next_deadline(definition, &state).map(timestamp).or(columns.next_wake_at),
        steps: state.steps.iter().zip(&definition.steps).map(|(s, d)| step(s, &d.participant)).collect(),
        ..columns
    }
}

/// What a row tells without its state and its definition.
fn columns(row: &Shown, with_input: bool) -> wire::Saga {
    wire::Saga {
        saga_id: row.id.to_string(),
        status: Status::try_from(i32::from(row.status)).map_or(0, |s| status(s).into()),
        reason: row.reason.clone().unwrap_or_default(),
        version: row.version,
        created_at: created_at(row),
        updated_at: some(row.updated_at),
        next_wake_at: row.wake_at.map(timestamp),
        customer_id: row.customer_id.clone(),
        input: if with_input { stored_input(row).map(any) } else { None },
        quarantine: row.quarantine.clone().unwrap_or_default(),
        ..Default::default()
    }
}

/// As lists filter by it: the time in the id.
fn created_at(row: &Shown) -> Option<Timestamp> {
    ids::timestamp_ms(row.id).map(timestamp)
}

fn stage(definition: &Definition, number: usize) -> Option<&str> {
    number.checked_sub(1).and_then(|i| definition.stages.get(i)).map(String::as_str)
}

/// The name of the state in which a saga, or an order, stands.
pub fn stands(what: &str, row: &Shown, definition: &Definition) -> String {
    let (name, prefix) = match what {
        "order" => (order(row, definition).status().as_str_name(), "ORDER_STATUS_"),
        _ => (saga(row, definition, false).status().as_str_name(), "SAGA_STATUS_"),
    };
    name.trim_start_matches(prefix).to_owned()
}

fn stored_input(row: &Shown) -> Option<Payload> {
    Request::decode(row.request.as_slice()).ok()?.input
}

fn step(step: &Step, participant: &str) -> wire::Step {
    wire::Step {
        name: step.name.clone(),
        participant: participant.to_owned(),
        // The numbers of core and of the contract are the same; a test holds them together.
        status: step.status,
        epoch: step.epoch,
        attempt: step.attempt,
        next_retry_at: some(step.retry_at),
        deadline: some(step.give_up_at),
        entered_at: some(step.entered_at),
        last_error: step.last_error.as_ref().map(|e| wire::StepError {
            code: e.code.clone(),
            message: e.message.clone(),
            at: some(e.at),
        }),
        parked: step.parked.clone(),
        result: step.result.clone().map(any),
        vouched: step.vouched,
    }
}

fn status(status: Status) -> wire::SagaStatus {
    match status {
        Status::Running => wire::SagaStatus::Running,
        Status::Compensating => wire::SagaStatus::Compensating,
        Status::Completed => wire::SagaStatus::Completed,
        Status::Compensated => wire::SagaStatus::Compensated,
        Status::Parked => wire::SagaStatus::Parked,
        Status::Paused => wire::SagaStatus::Paused,
    }
}

fn phase(phase: Phase) -> wire::Phase {
    match phase {
        Phase::Forward => wire::Phase::Forward,
        Phase::Compensating => wire::Phase::Compensating,
        Phase::Completed => wire::Phase::Completed,
        Phase::Compensated => wire::Phase::Compensated,
    }
}

/// An order as its customer sees it. One of which something can't be read needs attention.
pub fn order(row: &Shown, definition: &Definition) -> Order {
    let input = stored_input(row).and_then(|input| OrderInput::decode(input.value.as_slice()).ok());
    let state = state_of(row, definition);
    let legible = input.is_some() && state.is_ok();
    let (input, state) = (input.unwrap_or_default(), state.unwrap_or_else(|_| as_columns_say(row)));
    Order {
        order_id: row.id.to_string(),
        status: order_status(&state, definition).into(),
        reason: state.reason.clone(),
        missing: state.reason_detail.as_ref().map(missing).unwrap_or_default(),
        customer_id: row.customer_id.clone(),
        lines: input.lines,
        currency: input.currency,
        total_minor: input.total_minor,
        note: input.note,
        needs_fulfilment: input.needs_fulfilment,
        created_at: created_at(row),
        updated_at: some(row.updated_at),
        version: row.version,
        needs_attention: !legible || state.is_parked() || row.quarantine.is_some(),
    }
}

/// What is left of a state that can't be read.
fn as_columns_say(row: &Shown) -> State {
    let phase = match Status::try_from(i32::from(row.status)) {
        Ok(Status::Compensating) => Phase::Compensating,
        Ok(Status::Completed) => Phase::Completed,
        Ok(Status::Compensated) => Phase::Compensated,
        _ => Phase::Forward,
    };
    State {
        phase: phase as i32,
        stage: row.stage as u32,
        reason: row.reason.clone().unwrap_or_default(),
        ..State::default()
    }
}

/// The saga follows a definition of orders.
pub fn is_order(definition: &Definition) -> bool {
    definition.input == OrderInput::full_name()
}

fn order_status(state: &State, definition: &Definition) -> OrderStatus {
    match state.phase() {
        Phase::Compensating => OrderStatus::Cancelling,
        Phase::Compensated => OrderStatus::Cancelled,
        Phase::Completed => OrderStatus::Completed,
        Phase::Forward => match stage(definition, state.stage as usize) {
            Some("RESERVED") => OrderStatus::Reserved,
            Some("PAID") => OrderStatus::Paid,
            Some("FULFILLED") => OrderStatus::Fulfilled,
            Some("COMPLETED") => OrderStatus::Completed,
            _ => OrderStatus::Pending,
        },
    }
}

/// What was out of stock, when that is what a reason's detail says.
pub fn missing(detail: &Payload) -> Vec<MissingItem> {
    if !detail.type_url.ends_with(&OutOfStock::full_name()) {
        return Vec::new();
    }
    let shortages = OutOfStock::decode(detail.value.as_slice()).map(|o| o.missing).unwrap_or_default();
    let item = |s: skald_proto::inventory::v1::Shortage| MissingItem {
        sku: s.sku,
        requested: s.requested,
        available: s.available,
    };
    shortages.into_iter().map(item).collect()
}

/// A history row, with one line for a person.
pub fn entry(row: &history::Row) -> wire::HistoryEntry {
    let input = input::decode(&row.input);
    let about = input.as_ref().map(about).unwrap_or_default();
    wire::HistoryEntry {
        seq: row.seq as i32,
        at: some(row.at),
        kind: Input::kind_name(row.kind).to_owned(),
        actor: row.actor.clone(),
        summary: input.map_or_else(|e| e.to_string(), |i| summary(&i)),
        digest: format!("{:016x}", row.digest),
        rules: row.rules as i32,
        ..about
    }
}

fn summary(input: &Input) -> String {
    match input {
        Input::Started(_) => "the saga began".into(),
        Input::DeadlineFired(_) => "a deadline passed".into(),
        Input::CancelRequested(c) if c.note.is_empty() => "cancel requested".into(),
        Input::CancelRequested(c) => format!("cancel requested: {}", c.note),
        Input::Signal(s) => format!("signal {} ({})", s.name, s.signal_id),
        Input::Postponed(p) => format!("{} is frozen: its deadlines count anew", p.participant),
        Input::Operator(o) => operator(o),
        Input::Outcome(o) => {
            let verb = o.verb().name();
            let said = match &o.answer {
                Some(Answer::Succeeded(_)) => "succeeded".into(),
                Some(Answer::Rejected(no)) => format!("rejected {}: {}", no.code, no.message),
                Some(Answer::Sealed(_)) => "sealed".into(),
                Some(Answer::Undone(_)) => "undone".into(),
                Some(Answer::NothingToUndo(_)) => "nothing to undo".into(),
                Some(Answer::Fenced(_)) => "fenced".into(),
                Some(Answer::Failed(f)) if f.retryable => format!("failed {}: {}", f.code, f.message),
                Some(Answer::Failed(f)) => format!("failed for good {}: {}", f.code, f.message),
                None => "no answer".into(),
            };
            format!("{} {verb} (epoch {}, attempt {}): {said}", o.step, o.epoch, o.attempt)
        }
    }
}

fn operator(operator: &Operator) -> String {
    let what = match &operator.act {
        None => "nothing".into(),
        Some(Act::Retry(r)) if r.step.is_empty() => "retry whatever waits".into(),
        Some(Act::Retry(r)) => format!("retry {}", r.step),
        Some(Act::Skip(s)) if s.unfenced => format!("skip {} unfenced ({})", s.step, s.evidence),
        Some(Act::Skip(s)) => format!("skip {} ({})", s.step, s.evidence),
        Some(Act::Resolve(r)) if r.step.is_empty() => format!("resolve the contradiction ({})", r.evidence),
        Some(Act::Resolve(r)) if r.unfenced => format!("resolve {} unfenced ({})", r.step, r.evidence),
        Some(Act::Resolve(r)) => format!("resolve {} ({})", r.step, r.evidence),
        Some(act @ (Act::Compensate(_) | Act::Cancel(_) | Act::Pause(_) | Act::Resume(_))) => {
            act.name().to_lowercase()
        }
        Some(Act::Migrate(m)) => {
            let hex = |hash: &[u8]| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            format!("migrate from definition {:.12} to {:.12}", hex(&m.from), hex(&m.to))
        }
    };
    format!("{what}: {}", operator.reason)
}

/// An `Any` as core keeps it; empty when it is absent.
pub fn payload(any: Option<Any>) -> Payload {
    any.map(crate::bus::wire::payload).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use skald_core::state::StepStatus;

    use super::*;

    #[test]
    fn step_statuses_have_the_same_numbers_in_core_and_contract() {
        for number in 1..=12 {
            let core = format!("{:?}", StepStatus::try_from(number).unwrap()).to_uppercase();
            let contract = wire::StepStatus::try_from(number).unwrap().as_str_name();
            assert_eq!(contract.trim_start_matches("STEP_STATUS_").replace('_', ""), core);
        }
        assert!(StepStatus::try_from(13).is_err() && wire::StepStatus::try_from(13).is_err());
    }

    #[test]
    fn timestamps_keep_their_milliseconds() {
        for ms in [0, 1, 999, 1_000, 1_763_000_000_123] {
            assert_eq!(millis(&timestamp(ms)), ms);
        }
    }
}
