//! Where a saga goes: forward to whatever is ready, or back, in reverse order of the graph.

use super::{Context, deadline};
use crate::{
    definition::{self, Definition},
    input::{Payload, Signal},
    planted,
    state::{Phase, State, Step, StepStatus},
};

/// Why a vouched step is not undone by command.
pub(super) const VOUCHED: &str =
    "VOUCHED: a person said that it was done, so a person must undo it: by hand, and then resolve it";

/// Enters every step whose predecessors are done; completes the saga when all are.
pub(super) fn forward(cx: Context<'_>, saga: &mut State) {
    // Steps stand after those that they come after, so one pass reaches everything.
    for i in 0..saga.steps.len() {
        let ready = |&p: &u32| saga.steps[p as usize].status() == StepStatus::Succeeded;
        if saga.steps[i].status() == StepStatus::Waiting && cx.definition.steps[i].after.iter().all(ready) {
            enter(cx, saga, i);
        }
    }
    saga.stage = stage(cx.definition, saga);
    if saga.steps.iter().all(|s| s.status() == StepStatus::Succeeded) {
        saga.set_phase(Phase::Completed);
        if saga.parked == deadline::MAX_AGE {
            saga.parked.clear();
        }
    }
    forget_results(cx.definition, saga);
}

fn enter(cx: Context<'_>, saga: &mut State, i: usize) {
    let definition = &cx.definition.steps[i];
    let early = saga.early.iter().position(|s| definition.is_signal() && s.name == definition.name);
    let step = &mut saga.steps[i];
    step.epoch = 1;
    step.entered_at = cx.now;
    if let Some(early) = early {
        let signal = saga.early.remove(early);
        take_signal(&mut saga.steps[i], &signal);
        return;
    }
    if definition.is_signal() {
        step.set_status(StepStatus::AwaitingSignal);
    } else {
        step.begin(StepStatus::Running);
    }
    if definition.give_up_ms != 0 {
        step.give_up_at = cx.now + definition.give_up_ms as i64;
    }
}

/// A signal step has what it waited for.
pub(super) fn take_signal(step: &mut Step, signal: &Signal) {
    step.end(StepStatus::Succeeded);
    step.signal_id = signal.signal_id.clone();
    step.result = signal.payload.clone();
}

/// The furthest stage of the steps that are done.
fn stage(definition: &Definition, saga: &State) -> u32 {
    let done = |(s, _): &(&Step, _)| s.status() == StepStatus::Succeeded;
    let stages = saga.steps.iter().zip(&definition.steps).filter(done).map(|(_, d)| d.stage);
    stages.max().unwrap_or(0).max(saga.stage)
}

/// A result stays in the state only while a later step needs it.
fn forget_results(definition: &Definition, saga: &mut State) {
    for i in 0..saga.steps.len() {
        // A step that was rejected and parks may be allowed to try again.
        let needs = |(step, graph): (&Step, &definition::Step)| {
            step.status() != StepStatus::Succeeded && graph.needs.contains(&(i as u32))
        };
        let needed = saga.phase() == Phase::Forward && saga.steps.iter().zip(&definition.steps).any(needs);
        if !needed {
            saga.steps[i].result = None;
        }
    }
}

/// Turns the saga round: whatever waits is dropped, whatever ran or may have run is undone.
pub(super) fn turn(cx: Context<'_>, saga: &mut State, reason: &str, detail: Option<Payload>) {
    saga.set_phase(Phase::Compensating);
    saga.reason = reason.into();
    saga.reason_detail = detail;
    saga.early.clear();
    for (step, definition) in saga.steps.iter_mut().zip(&cx.definition.steps) {
        match step.status() {
            StepStatus::AwaitingSignal => step.end(StepStatus::Dropped),
            StepStatus::Running if !definition.has_undo() || planted::is("turn_forgets_what_runs") => {
                step.end(StepStatus::Dropped);
            }
            // Only the pivot's own answer ends its SEAL; anything else that was being sealed is undone like what runs.
            StepStatus::Sealing if !definition.has_undo() => step.end(StepStatus::Dropped),
            // Whatever held it up going forward is over.
            StepStatus::Running | StepStatus::Sealing => step.end(StepStatus::Running),
            StepStatus::Rejected => step.end(StepStatus::Rejected),
            _ => {}
        }
    }
    backward(cx, saga);
}

/// Its undo is open.
fn undoing(step: &Step) -> bool {
    matches!(step.status(), StepStatus::Undoing | StepStatus::Fencing)
}

/// Begins the undo of every step behind which nothing is left to undo; ends the saga when nothing is.
pub(super) fn backward(cx: Context<'_>, saga: &mut State) {
    let steps = &cx.definition.steps;
    let mut clear = vec![true; steps.len()];
    for i in (0..steps.len()).rev() {
        // `clear[i]` so far: everything that comes after it is settled.
        let to_undo = steps[i].has_undo()
            && matches!(saga.steps[i].status(), StepStatus::Running | StepStatus::Succeeded);
        if to_undo && (clear[i] || planted::is("undo_in_any_order")) {
            saga.steps[i].begin(StepStatus::Undoing);
            if saga.steps[i].vouched {
                saga.steps[i].park(VOUCHED);
            }
        }
        let settled = clear[i] && !to_undo && !undoing(&saga.steps[i]);
        for &p in &steps[i].after {
            clear[p as usize] &= settled;
        }
        clear[i] = settled;
    }
    if clear.iter().all(|&settled| settled) {
        saga.set_phase(Phase::Compensated);
    }
    forget_results(cx.definition, saga);
}
