//! Verbs on one saga. A dry run folds the action into a copy; executing hands the same action to the worker, which takes
//! it only on the version that the dry run was for, so that exactly this happens or nothing.

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use skald_core::{
    CommandRef, Definition, Effects, Input, Refused, State, advance,
    input::{self, Act, Operator, Unit},
    machine::Context,
    state,
};
use skald_proto::admin::v1 as wire;
use tonic::Status;
use uuid::Uuid;

use super::Signed;
use crate::{
    bus::wire::payload,
    intake::{
        Desk,
        errors::{self, BadFields},
        validate, view,
    },
    job::{Ask, Operation, Reply},
    store::{action, read::Shown},
};

/// Of what happened since, so much is told.
const SINCE: i64 = 5;

/// What would follow from an action.
pub(super) struct Foreseen {
    pub(super) before: State,
    pub(super) after: State,
    pub(super) effects: Effects,
}

pub(super) async fn act(desk: &Desk, request: wire::ActRequest) -> Result<wire::ActResponse, Status> {
    let (saga, operator) = checked(&request)?;
    let digest =
        Sha256::digest(wire::ActRequest { dry_run: false, ..request.clone() }.encode_to_vec()).to_vec();
    if !request.dry_run
        && let Some(first) = first_answer(desk, &request.request_id, &digest).await?
    {
        return Ok(first);
    }
    let row = desk.read("saga", saga).await?;
    if row.version != request.expected_version {
        return Err(moved_on(desk, saga, request.expected_version, row.version).await);
    }
    if row.quarantine.is_some() {
        return Err(errors::refused(Reply::Quarantined, "saga", &request.saga_id));
    }
    let definition = desk.definition(row.definition_id).await?;
    let now = desk.shared.clock.now_ms();
    let foreseen = foresee(&definition, &row, now, Input::Operator(operator.clone()))?;
    let foreseen = foreseen.map_err(|why| refused(&row, &definition, why))?;
    let mut answer = told(&definition, &foreseen);
    if request.dry_run {
        answer.version = row.version;
        return Ok(answer);
    }
    let signed = signed(&request);
    let operation =
        Operation { operator, actor: request.actor.clone(), digest, answer: answer.encode_to_vec() };
    match desk.ask(saga, signed.name(), Ask::Operate(Box::new(operation))).await? {
        Reply::Accepted => Ok(answer),
        Reply::Answered(first) => again(&first),
        Reply::Refused(Refused::Moved { expected, found }) => {
            Err(moved_on(desk, saga, expected as i32, found as i32).await)
        }
        Reply::Refused(why) => Err(refused(&row, &definition, why)),
        other => Err(errors::refused(other, "saga", &request.saga_id)),
    }
}

fn signed(request: &wire::ActRequest) -> Signed<'_> {
    Signed { request_id: &request.request_id, actor: &request.actor, reason: &request.reason }
}

fn checked(request: &wire::ActRequest) -> Result<(Uuid, Operator), Status> {
    let mut bad = BadFields::default();
    let saga = validate::id(&mut bad, "saga_id", &request.saga_id);
    signed(request).check(&mut bad);
    bad.check(request.expected_version >= 1, "expected_version", "must be the version that you saw");
    check_action(&mut bad, request.action.as_ref());
    bad.into_result()?;
    let operator = Operator {
        request_id: request.request_id.clone(),
        expected_version: request.expected_version as u32,
        reason: request.reason.clone(),
        act: request.action.clone().and_then(core),
    };
    Ok((saga, operator))
}

/// Every bad field of an action.
pub(super) fn check_action(bad: &mut BadFields, action: Option<&wire::Action>) {
    use wire::action::Verb;
    let verb = action.and_then(|action| action.verb.as_ref());
    bad.check(
        verb.is_some(),
        "action",
        "must have a verb: retry, skip, resolve, compensate, cancel, pause, resume",
    );
    match verb {
        Some(Verb::Skip(skip)) => {
            validate::text(bad, "action.skip.step", &skip.step, 1, 64);
            validate::text(bad, "action.skip.evidence", &skip.evidence, 1, 1024);
            let size = skip.result.as_ref().map_or(0, |result| result.value.len());
            bad.check(size <= 64 * 1024, "action.skip.result", "must be at most 64 KiB");
        }
        Some(Verb::Resolve(resolve)) => {
            validate::text(bad, "action.resolve.step", &resolve.step, 0, 64);
            validate::text(bad, "action.resolve.evidence", &resolve.evidence, 1, 1024);
        }
        Some(Verb::Retry(retry)) => validate::text(bad, "action.retry.step", &retry.step, 0, 64),
        _ => {}
    }
}

/// An action as core has it.
fn core(action: wire::Action) -> Option<Act> {
    use wire::action::Verb;
    Some(match action.verb? {
        Verb::Retry(r) => Act::Retry(input::Retry { step: r.step }),
        Verb::Skip(s) => Act::Skip(input::Skip {
            step: s.step,
            evidence: s.evidence,
            unfenced: s.unfenced,
            result: s.result.map(payload),
        }),
        Verb::Resolve(r) => {
            Act::Resolve(input::Resolve { step: r.step, evidence: r.evidence, unfenced: r.unfenced })
        }
        Verb::Compensate(_) => Act::Compensate(Unit {}),
        Verb::Cancel(_) => Act::Cancel(Unit {}),
        Verb::Pause(_) => Act::Pause(Unit {}),
        Verb::Resume(_) => Act::Resume(Unit {}),
    })
}

/// Folds an input into a copy of what is stored.
///
/// # Errors
/// INTERNAL: the stored state can't be read.
pub(super) fn foresee(
    definition: &Definition,
    row: &Shown,
    now: i64,
    input: Input,
) -> Result<Result<Foreseen, Refused>, Status> {
    let unreadable = |e| Status::internal(format!("table saga, column state, id {}: {e}", row.id));
    let before = state::decode(row.format as u32, &row.state).map_err(unreadable)?;
    let mut after = before.clone();
    let cx = Context { saga: row.id, definition, now };
    let folded = advance(cx, &mut after, &input);
    Ok(folded.map(|effects| Foreseen { before, after, effects }))
}

/// What follows, for the caller.
pub(super) fn told(definition: &Definition, foreseen: &Foreseen) -> wire::ActResponse {
    let Foreseen { before, after, effects } = foreseen;
    // A resumed saga sends what was in flight as well.
    let commands = effects.commands.iter().map(|command| planned(definition, command)).collect();
    let changed = before.steps.iter().zip(&after.steps).filter(|(was, is)| was.status != is.status);
    let steps = changed.map(|(was, is)| wire::StepChange {
        step: is.name.clone(),
        from: was.status,
        to: is.status,
        vouched: is.vouched,
    });
    wire::ActResponse {
        version: after.version as i32,
        commands,
        status: after.shown() as i32,
        steps: steps.collect(),
        repeated: false,
    }
}

pub(super) fn planned(definition: &Definition, command: &CommandRef) -> wire::PlannedCommand {
    let step = definition.index(&command.step).map(|i| &definition.steps[i]);
    let undo = matches!(command.verb(), input::Verb::Undo | input::Verb::SealUndo);
    wire::PlannedCommand {
        participant: step.map(|s| s.participant.clone()).unwrap_or_default(),
        step: command.step.clone(),
        verb: command.verb().name().to_owned(),
        action: step.map(|s| if undo { s.undo.clone() } else { s.action.clone() }).unwrap_or_default(),
        epoch: command.epoch,
        attempt: command.attempt,
    }
}

/// The answer that this request id got before.
async fn first_answer(desk: &Desk, id: &str, digest: &[u8]) -> Result<Option<wire::ActResponse>, Status> {
    let mut conn = desk.pool.acquire().await.map_err(|e| errors::unreadable(&e))?;
    let known = action::answered(&mut conn, &[id.to_owned()]).await.map_err(|e| errors::unreadable(&e))?;
    match known.first() {
        None => Ok(None),
        Some(first) if first.request == digest => again(&first.answer).map(Some),
        Some(_) => Err(errors::refused(Reply::RequestTaken, "action", id)),
    }
}

fn again(first: &[u8]) -> Result<wire::ActResponse, Status> {
    let answer = wire::ActResponse::decode(first).map_err(|e| Status::internal(e.to_string()))?;
    Ok(wire::ActResponse { repeated: true, ..answer })
}

/// ABORTED, with what happened since.
async fn moved_on(desk: &Desk, saga: Uuid, expected: i32, found: i32) -> Status {
    let since = match desk.history_page(saga, expected).await {
        Ok(rows) => {
            let lines = rows.iter().take(SINCE as usize).map(view::entry);
            lines.map(|e| format!("{} {} by {}: {}", e.seq, e.kind, e.actor, e.summary)).collect::<Vec<_>>()
        }
        Err(_) => Vec::new(),
    };
    let since = if since.is_empty() { String::new() } else { format!("; since then: {}", since.join("; ")) };
    Status::aborted(format!(
        "nothing was changed: saga {saga} is at version {found}, not at {expected}{since}. Look again, then act on version {found}"
    ))
}

fn refused(row: &Shown, definition: &Definition, why: Refused) -> Status {
    let (id, stands) = (row.id.to_string(), view::stands("saga", row, definition));
    match why {
        Refused::Malformed(why) => Status::invalid_argument(format!("nothing was changed: {why}")),
        Refused::NotAllowed(why) => errors::not_allowed("saga", &id, &why, Some(&stands)),
        other => errors::not_allowed("saga", &id, &other.to_string(), Some(&stands)),
    }
}
