//! A named person acts. Verbs that assert a fact SEAL first: if it did happen, the participant's word counts; a fence is
//! not withdrawn, only cancel and compensate supersede it.

use super::{Context, Refused, cancel, course, deadline};
use crate::{
    flight,
    input::{Act, Operator, Payload, Resolve, Skip},
    planted,
    state::{Pending, Phase, Seal, State, Step, StepStatus, Verdict},
};

/// The reason of a saga that an operator had undone.
const OPERATOR: &str = "OPERATOR";

pub(super) fn fold(cx: Context<'_>, saga: &mut State, operator: &Operator) -> Result<(), Refused> {
    is_seen(saga, operator)?;
    match operator.act.as_ref() {
        None => Err(Refused::Malformed("it says not what to do".into())),
        Some(Act::Retry(retry)) => again(cx, saga, &retry.step),
        Some(Act::Skip(what)) => skip(cx, saga, what),
        Some(Act::Resolve(what)) => resolve(cx, saga, what),
        Some(Act::Compensate(_)) => compensate(cx, saga),
        Some(Act::Cancel(_)) => cancel::fold(cx, saga),
        Some(Act::Pause(_)) => pause(cx, saga),
        Some(Act::Resume(_)) => resume(cx, saga),
        // It is folded under what it moves to.
        Some(Act::Migrate(_)) => Err(Refused::Malformed("a move has no target".into())),
    }
}

/// The person saw the saga as it is.
pub(super) fn is_seen(saga: &State, operator: &Operator) -> Result<(), Refused> {
    let (expected, found) = (operator.expected_version, saga.version);
    if expected == found { Ok(()) } else { Err(Refused::Moved { expected, found }) }
}

fn no(why: impl Into<String>) -> Refused {
    Refused::NotAllowed(why.into())
}

/// The step that is meant.
fn index(cx: Context<'_>, name: &str) -> Result<usize, Refused> {
    let unknown = || Refused::Malformed(format!("{} has no step {name:?}", cx.definition.name));
    cx.definition.index(name).ok_or_else(unknown)
}

/// One step, or without a name every one that can be tried again.
fn again(cx: Context<'_>, saga: &mut State, name: &str) -> Result<(), Refused> {
    if !name.is_empty() {
        return try_again(cx, saga, index(cx, name)?);
    }
    let tried = (0..saga.steps.len()).filter(|&i| try_again(cx, saga, i).is_ok()).count();
    if tried == 0 { Err(no("none of its steps waits to be tried again")) } else { Ok(()) }
}

fn try_again(cx: Context<'_>, saga: &mut State, i: usize) -> Result<(), Refused> {
    let forward = saga.phase() == Phase::Forward;
    let (step, definition) = (&mut saga.steps[i], &cx.definition.steps[i]);
    match (step.status(), step.pending()) {
        (StepStatus::Rejected, _) if forward && !step.parked.is_empty() => {
            step.begin(StepStatus::Running);
            step.epoch += 1;
            step.set_run(Verdict::Unknown);
            step.contradicted = 0;
            step.give_up_at = give_up_at(cx, definition.give_up_ms);
        }
        // A signal after the pivot that did not come in time: it is waited for as long again.
        (StepStatus::AwaitingSignal, _) if !step.parked.is_empty() => {
            step.parked.clear();
            step.give_up_at = give_up_at(cx, definition.give_up_ms);
        }
        (_, Pending::Answer) => {
            return Err(no("its command is in flight, and is sent again by itself until it is answered"));
        }
        (StepStatus::Undoing, Pending::Nothing) if step.vouched => return Err(no(course::VOUCHED)),
        _ if flight::verb(step).is_some() => {
            step.again();
            step.parked.clear();
            // What was not believed may be said again, and is weighed again.
            step.contradicted = 0;
        }
        (status, _) => {
            return Err(no(format!("the step is {status:?}, nothing of it waits to be tried again")));
        }
    }
    Ok(())
}

fn give_up_at(cx: Context<'_>, after_ms: u64) -> i64 {
    if after_ms == 0 { 0 } else { cx.now + after_ms as i64 }
}

fn skip(cx: Context<'_>, saga: &mut State, what: &Skip) -> Result<(), Refused> {
    let i = index(cx, &what.step)?;
    if saga.phase() != Phase::Forward {
        return Err(no(format!("the saga is {:?}: nothing is left to skip", saga.phase())));
    }
    let steps = cx.definition.steps.iter();
    let needed: Vec<&str> =
        steps.filter(|step| step.needs.contains(&(i as u32))).map(|step| step.name.as_str()).collect();
    if what.result.is_none() && !needed.is_empty() {
        return Err(no(format!("{} needs the result of {:?}: give one along", needed.join(", "), what.step)));
    }
    let result = what.result.clone().filter(|_| !needed.is_empty());
    let step = &mut saga.steps[i];
    match step.status() {
        // Nobody is asked about a signal, and what was answered with a no never happens.
        StepStatus::AwaitingSignal | StepStatus::Rejected => vouch(cx, saga, i, result),
        StepStatus::Running | StepStatus::Sealing if what.unfenced || planted::is("skip_needs_no_fence") => {
            vouch(cx, saga, i, result)
        }
        StepStatus::Running => {
            step.begin(StepStatus::Sealing);
            step.set_seal(Seal::Skip);
            step.contradicted = 0;
            step.result = result;
        }
        StepStatus::Sealing => {
            return Err(no("its action is being sealed already; the answer decides what follows"));
        }
        StepStatus::Waiting => return Err(no("the saga has not come to it")),
        status => return Err(no(format!("the step is {status:?}"))),
    }
    Ok(())
}

/// A step counts as done because a person says so, and the saga goes on.
pub(super) fn vouch(cx: Context<'_>, saga: &mut State, i: usize, result: Option<Payload>) {
    let step = &mut saga.steps[i];
    step.end(StepStatus::Succeeded);
    step.vouched = true;
    step.result = result;
    course::forward(cx, saga);
}

fn resolve(cx: Context<'_>, saga: &mut State, what: &Resolve) -> Result<(), Refused> {
    if what.step.is_empty() {
        return settle_contradiction(saga);
    }
    let i = index(cx, &what.step)?;
    let step = &mut saga.steps[i];
    match step.status() {
        StepStatus::Undoing | StepStatus::Fencing if what.unfenced => {
            undone_by_hand(step);
            course::backward(cx, saga);
        }
        StepStatus::Undoing => {
            step.begin(StepStatus::Fencing);
            step.contradicted = 0;
        }
        StepStatus::Fencing => {
            return Err(no("its undo is being sealed already; the answer decides what follows"));
        }
        status => return Err(no(format!("the step is {status:?}, no undo of it is open"))),
    }
    Ok(())
}

/// A step counts as undone because a person says so.
pub(super) fn undone_by_hand(step: &mut Step) {
    step.end(StepStatus::Undone);
    step.vouched = true;
}

fn settle_contradiction(saga: &mut State) -> Result<(), Refused> {
    if saga.parked.is_empty() {
        return Err(no("the saga itself is not parked: name a step"));
    }
    if saga.parked == deadline::MAX_AGE {
        return Err(no("it is older than its definition allows: act on its steps"));
    }
    saga.parked.clear();
    Ok(())
}

/// As long as the pivot did not succeed; while it is in flight it is sealed first.
fn compensate(cx: Context<'_>, saga: &mut State) -> Result<(), Refused> {
    match saga.phase() {
        Phase::Forward => {}
        Phase::Compensating => return Err(no(format!("it is being undone already: {}", saga.reason))),
        Phase::Compensated => return Err(no(format!("it was undone: {}", saga.reason))),
        Phase::Completed => return Err(no("it is complete: a return is a new saga")),
    }
    let pivot = cx.definition.pivot();
    match pivot.map(|p| (p, saga.steps[p].status(), saga.steps[p].seal())) {
        Some((_, StepStatus::Succeeded, _)) => {
            return Err(no("the point of no return is behind it: a return is a new saga"));
        }
        Some((_, StepStatus::Sealing, Seal::Compensate)) => {
            return Err(no("it is being asked already whether the step of no return happened"));
        }
        Some((p, StepStatus::Running | StepStatus::Sealing, _)) => {
            let step = &mut saga.steps[p];
            if step.status() == StepStatus::Running {
                step.begin(StepStatus::Sealing);
                step.contradicted = 0;
            } else if step.pending() == Pending::Nothing {
                step.again();
                step.parked.clear();
            }
            step.result = None;
            step.set_seal(Seal::Compensate);
        }
        _ => course::turn(cx, saga, OPERATOR, None),
    }
    Ok(())
}

/// Why a saga turns round whose pivot was sealed.
pub(super) fn sealed_reason(seal: Seal, gave_up: &str) -> &str {
    if seal == Seal::Compensate { OPERATOR } else { gave_up }
}

fn pause(cx: Context<'_>, saga: &mut State) -> Result<(), Refused> {
    if saga.paused_at != 0 {
        return Err(no("it is paused already"));
    }
    if saga.is_final() {
        return Err(no(format!("it is {:?}: nothing is left to pause", saga.phase())));
    }
    saga.paused_at = cx.now;
    Ok(())
}

/// What was open when the pause began, or was opened in it, gets the time that it did not have.
fn resume(cx: Context<'_>, saga: &mut State) -> Result<(), Refused> {
    if saga.paused_at == 0 {
        return Err(no("it is not paused"));
    }
    for step in &mut saga.steps {
        if step.give_up_at != 0 {
            step.give_up_at += cx.now - saga.paused_at.max(step.entered_at);
        }
        if step.retry_at != 0 {
            step.retry_at += cx.now - saga.paused_at;
        }
    }
    if !planted::is("resume_resumes_nothing") {
        saga.paused_at = 0;
    }
    Ok(())
}
