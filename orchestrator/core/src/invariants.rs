//! What must hold after every transition. Runs in tests, simulation and debug builds.

use crate::{
    definition::Definition,
    flight,
    input::Verb,
    state::{Pending, Phase, Seal, State, Step, StepStatus, Verdict},
};

/// A state that must not be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invariant broken: {0}")]
pub struct Violation(String);

/// Checks the whole state against its definition.
pub fn check(definition: &Definition, saga: &State) -> Result<(), Violation> {
    let say = |what: String| Err(Violation(what));
    if saga.steps.len() != definition.steps.len() {
        return say("the steps are not the definition's".into());
    }
    for (i, step) in saga.steps.iter().enumerate() {
        if step.name != definition.steps[i].name {
            return say(format!("step {i} is {}, not {}", step.name, definition.steps[i].name));
        }
        if let Some(what) = step_violation(definition, saga, i) {
            return say(format!("{}: {what} ({:?})", step.name, step));
        }
    }
    if let Some(what) = phase_violation(definition, saga) {
        return say(format!("{what} ({:?})", saga.phase()));
    }
    for early in &saga.early {
        let waits = |i: usize| saga.steps[i].status() == StepStatus::Waiting;
        if saga.phase() != Phase::Forward || !definition.index(&early.name).is_some_and(waits) {
            return say(format!("a signal {:?} is kept for a step that waits for none", early.name));
        }
    }
    if !saga.is_final() && saga.paused_at == 0 && !moves(definition, saga) {
        return say("it is not final, nothing is in flight, no deadline is open and nobody is called: it would hang in silence".into());
    }
    Ok(())
}

/// Something will happen by itself, or a person was called.
fn moves(definition: &Definition, saga: &State) -> bool {
    saga.is_parked()
        || !flight::commands(saga).is_empty()
        || flight::next_deadline(definition, saga).is_some()
}

fn step_violation(definition: &Definition, saga: &State, i: usize) -> Option<&'static str> {
    let (step, graph) = (&saga.steps[i], &definition.steps[i]);
    let status = step.status();
    let has_verb = flight::verb(step).is_some();
    let entered = status != StepStatus::Waiting;
    let done_before = graph.after.iter().all(|&p| was_done(&saga.steps[p as usize]));
    let rules = [
        (has_verb && graph.is_signal(), "a signal step has a verb"),
        (!has_verb && step.pending() != Pending::Nothing, "something is pending without a verb"),
        (
            has_verb && step.pending() == Pending::Nothing && step.parked.is_empty(),
            "a verb waits for nothing and nobody",
        ),
        ((step.pending() == Pending::Retry) != (step.retry_at != 0), "retry_at and pending disagree"),
        (has_verb && step.attempt == 0, "a verb without an attempt"),
        (entered && step.epoch == 0, "entered without an epoch"),
        (entered && !done_before, "entered before its predecessors were done"),
        (
            status == StepStatus::Sealing && !graph.pivot && step.seal() != Seal::Skip,
            "only the pivot is sealed by itself",
        ),
        (status != StepStatus::Sealing && step.seal() != Seal::GiveUp, "a SEAL's purpose without a SEAL"),
        (
            step.vouched
                && flight::verb(step).is_some_and(|verb| verb == Verb::Undo)
                && step.pending() != Pending::Nothing,
            "a vouched step is undone by command",
        ),
        (
            matches!(status, StepStatus::Undoing | StepStatus::Fencing) && !graph.has_undo(),
            "undoing without an undo",
        ),
        (
            status == StepStatus::Undone
                && !step.vouched
                && !matches!(step.run(), Verdict::Unknown | Verdict::Succeeded),
            "undone although it never ran",
        ),
        (
            status == StepStatus::NothingToUndo && !step.vouched && step.run() == Verdict::Succeeded,
            "nothing to undo although it ran",
        ),
        (
            status == StepStatus::Succeeded
                && !graph.is_signal()
                && !step.vouched
                && step.run() != Verdict::Succeeded,
            "succeeded without the verdict",
        ),
    ];
    rules.into_iter().find(|(broken, _)| *broken).map(|(_, what)| what)
}

/// It was done at some time, whatever became of it since.
fn was_done(step: &Step) -> bool {
    match step.status() {
        StepStatus::Succeeded => true,
        StepStatus::Undoing | StepStatus::Fencing | StepStatus::Undone | StepStatus::NothingToUndo => true,
        // A signal or an effect-free step that was dropped has no successors that were entered.
        _ => false,
    }
}

fn phase_violation(definition: &Definition, saga: &State) -> Option<&'static str> {
    let all = |allowed: &[StepStatus]| saga.steps.iter().all(|s| allowed.contains(&s.status()));
    let none = |barred: &[StepStatus]| !saga.steps.iter().any(|s| barred.contains(&s.status()));
    use StepStatus::{AwaitingSignal, Fencing, NothingToUndo, Running, Sealing, Succeeded, Undoing, Undone};
    let to_undo = saga
        .steps
        .iter()
        .zip(&definition.steps)
        .any(|(s, d)| d.has_undo() && matches!(s.status(), Succeeded | Running));
    let broken = match saga.phase() {
        Phase::Forward => !none(&[Undoing, Fencing, Undone, NothingToUndo]),
        Phase::Completed => !all(&[Succeeded]),
        Phase::Compensating => !none(&[Running, AwaitingSignal, Sealing]) || pivot_done(definition, saga),
        Phase::Compensated => {
            !none(&[Running, AwaitingSignal, Sealing, Undoing, Fencing])
                || to_undo
                || pivot_done(definition, saga)
        }
    };
    broken.then_some("the steps don't fit the phase")
}

fn pivot_done(definition: &Definition, saga: &State) -> bool {
    definition.pivot().is_some_and(|p| saga.steps[p].status() == StepStatus::Succeeded)
}
