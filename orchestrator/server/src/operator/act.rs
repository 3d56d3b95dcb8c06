//! Verbs on one saga. A dry run folds the action into a copy; executing hands the same action to the worker, which takes
//! it only on the version that the dry run was for, so that exactly this happens or nothing.

use std::sync::Arc;

use prost::Message as _;
use skald_core::{
    CommandRef, Definition, Effects, Input, Refused, State, advance_to,
    input::{self, Act, Operator, Unit},
    machine::Context,
    state,
};
use skald_proto::admin::v1 as wire;
use tonic::Status;
use uuid::Uuid;

use super::{Signed, once};
use crate::{
    bus::wire::payload,
    intake::{
        Desk,
        errors::{self, BadFields},
        validate, view,
    },
    job::{Ask, Operation, Reply},
    store::{action::Action, read::Shown},
};

/// Of what happened since, so much is told.
const SINCE: i64 = 5;

/// What would follow from an action.
pub(super) struct Foreseen {
    pub(super) before: State,
    pub(super) after: State,
    pub(super) effects: Effects,
}

/// An action that would be taken now.
struct Looked {
    row: Shown,
    definition: Arc<Definition>,
    foreseen: Foreseen,
    operator: Operator,
    /// Of a move.
    to: Option<(i32, Arc<Definition>)>,
}

impl Looked {
    fn told(&self, desk: &Desk) -> wire::ActResponse {
        let Some((_, to)) = &self.to else { return told(desk, &self.definition, &self.foreseen) };
        let definition = format!("{}@{}", to.name, to.version);
        wire::ActResponse { definition, ..told(desk, to, &self.foreseen) }
    }
}

pub(super) async fn act(desk: &Desk, request: wire::ActRequest) -> Result<wire::ActResponse, Status> {
    let (saga, operator) = checked(&request)?;
    if request.dry_run {
        let looked = look(desk, &request, saga, operator).await?;
        return Ok(wire::ActResponse { version: looked.row.version, ..looked.told(desk) });
    }
    let verb = operator.act.as_ref().map_or("", Act::name);
    let record = once::record(&signed(&request), verb, Some(saga), &request);
    let mut conn = desk.pool.acquire().await.map_err(|e| errors::unreadable(&e))?;
    let first = once::first(&mut conn, &record).await?;
    drop(conn);
    if let Some(first) = first {
        return Ok(again(first));
    }
    match decide(desk, &request, saga, operator, &record).await {
        Ok(answer) => Ok(answer),
        Err(why) => once::refuse(desk, &record, why).await.map(again),
    }
}

/// The saga as it stands, if that is what the person saw, and what would follow.
async fn look(
    desk: &Desk,
    request: &wire::ActRequest,
    saga: Uuid,
    mut operator: Operator,
) -> Result<Looked, Status> {
    let row = desk.read("saga", saga).await?;
    if row.version != request.expected_version {
        return Err(moved_on(desk, saga, request.expected_version, row.version).await);
    }
    if row.quarantine.is_some() {
        return Err(errors::refused(Reply::Quarantined, "saga", &request.saga_id));
    }
    let definition = desk.definition(row.definition_id).await?;
    let to = target(desk, &mut operator, request, &definition).await?;
    let now = desk.shared.clock.now_ms();
    let next = to.as_ref().map(|(_, to)| to.as_ref());
    let foreseen = foresee(&definition, next, &row, now, Input::Operator(operator.clone()))?;
    let foreseen = foreseen.map_err(|why| refused(&row, &definition, why))?;
    Ok(Looked { row, definition, foreseen, operator, to })
}

/// The definition that a move names, with its id; what the saga follows now becomes part of the move.
async fn target(
    desk: &Desk,
    operator: &mut Operator,
    request: &wire::ActRequest,
    definition: &Definition,
) -> Result<Option<(i32, Arc<Definition>)>, Status> {
    let Some(Act::Migrate(migrate)) = &mut operator.act else { return Ok(None) };
    let to = desk.definition_with(&migrate.to).await?;
    let unknown = || errors::not_found("definition with the hash", asked_hash(request));
    migrate.from = definition.hash().into();
    Ok(Some(to.ok_or_else(unknown)?))
}

fn asked_hash(request: &wire::ActRequest) -> &str {
    match request.action.as_ref().and_then(|action| action.verb.as_ref()) {
        Some(wire::action::Verb::Migrate(migrate)) => &migrate.definition_hash,
        _ => "",
    }
}

async fn decide(
    desk: &Desk,
    request: &wire::ActRequest,
    saga: Uuid,
    operator: Operator,
    record: &Action,
) -> Result<wire::ActResponse, Status> {
    let looked = look(desk, request, saga, operator).await?;
    let answer = looked.told(desk);
    let Looked { row, definition, operator, to, .. } = looked;
    let record = Action { answer: answer.encode_to_vec(), ..record.clone() };
    let operation = Operation { operator, record: record.clone(), to };
    match desk.ask(saga, signed(request).name(), Ask::Operate(Box::new(operation))).await? {
        Reply::Accepted => Ok(answer),
        Reply::Answered(first) => once::told(&record, *first)?.map(again).ok_or_else(errors::unavailable),
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
        "must have a verb: retry, skip, resolve, compensate, cancel, pause, resume, migrate",
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
        Some(Verb::Migrate(migrate)) => {
            let hash = validate::hash(&migrate.definition_hash);
            bad.check(hash.is_some(), "action.migrate.definition_hash", validate::HASH);
        }
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
        Verb::Migrate(m) => {
            let to = validate::hash(&m.definition_hash).unwrap_or_default();
            Act::Migrate(input::Migrate { from: Vec::new(), to })
        }
    })
}

/// Folds an input into a copy of what is stored.
///
/// # Errors
/// INTERNAL: the stored state can't be read.
pub(super) fn foresee(
    definition: &Definition,
    to: Option<&Definition>,
    row: &Shown,
    now: i64,
    input: Input,
) -> Result<Result<Foreseen, Refused>, Status> {
    let unreadable = |e| Status::internal(format!("table saga, column state, id {}: {e}", row.id));
    let before = state::decode(row.format as u32, &row.state).map_err(unreadable)?;
    let mut after = before.clone();
    let cx = Context { saga: row.id, definition, now };
    let folded = advance_to(cx, to, &mut after, &input);
    Ok(folded.map(|effects| Foreseen { before, after, effects }))
}

/// What follows, for the caller.
pub(super) fn told(desk: &Desk, definition: &Definition, foreseen: &Foreseen) -> wire::ActResponse {
    let Foreseen { before, after, effects } = foreseen;
    // A resumed saga sends what was in flight as well.
    let commands = effects.commands.iter().map(|command| planned(desk, definition, command)).collect();
    // A move may bring steps, which waited nowhere before.
    let was = |name: &str| before.steps.iter().find(|step| step.name == *name).map_or(0, |step| step.status);
    let steps = after.steps.iter().map(|is| wire::StepChange {
        step: is.name.clone(),
        from: was(&is.name),
        to: is.status,
        vouched: is.vouched,
    });
    let steps = steps.filter(|step| step.from != step.to);
    wire::ActResponse {
        version: after.version as i32,
        commands,
        status: after.shown() as i32,
        steps: steps.collect(),
        repeated: false,
        definition: String::new(),
    }
}

fn planned(desk: &Desk, definition: &Definition, command: &CommandRef) -> wire::PlannedCommand {
    let step = definition.index(&command.step).map(|i| &definition.steps[i]);
    let undo = matches!(command.verb(), input::Verb::Undo | input::Verb::SealUndo);
    let participant = step.map(|s| s.participant.clone()).unwrap_or_default();
    wire::PlannedCommand {
        frozen: desk.shared.frozen.of(&participant).is_some(),
        participant,
        step: command.step.clone(),
        verb: command.verb().name().to_owned(),
        action: step.map(|s| if undo { s.undo.clone() } else { s.action.clone() }).unwrap_or_default(),
        epoch: command.epoch,
        attempt: command.attempt,
    }
}

fn again(first: wire::ActResponse) -> wire::ActResponse {
    wire::ActResponse { repeated: true, ..first }
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
