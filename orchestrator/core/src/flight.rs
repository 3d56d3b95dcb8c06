//! What is in flight and when to look again: pure functions of the state. The saga's state is the
//! commands' outbox, so nothing else remembers a command.

use uuid::Uuid;

use crate::{
    definition::{Definition, Retry},
    effects::CommandRef,
    input::Verb,
    planted,
    state::{Pending, Phase, State, Step, StepStatus},
};

/// The verb that a step's status stands for, if it stands for one.
pub fn verb(step: &Step) -> Option<Verb> {
    match step.status() {
        StepStatus::Running => Some(Verb::Run),
        StepStatus::Sealing => Some(Verb::SealRun),
        StepStatus::Undoing => Some(Verb::Undo),
        StepStatus::Fencing => Some(Verb::SealUndo),
        _ => None,
    }
}

/// The commands that are in flight, in the definition's order.
pub fn commands(state: &State) -> Vec<CommandRef> {
    if state.paused_at != 0 {
        return Vec::new();
    }
    state
        .steps
        .iter()
        .filter(|step| step.pending() == Pending::Answer)
        .filter_map(|step| {
            verb(step).map(|verb| CommandRef {
                step: step.name.clone(),
                verb: verb as i32,
                epoch: step.epoch,
                attempt: step.attempt,
            })
        })
        .collect()
}

/// When the next deadline fires, ms; None when none is open.
pub fn next_deadline(definition: &Definition, state: &State) -> Option<i64> {
    if state.paused_at != 0 && !planted::is("deadlines_fire_while_paused") {
        return None;
    }
    let steps = (0..state.steps.len()).flat_map(|i| [retry_at(state, i), give_up_at(definition, state, i)]);
    steps.chain([max_age_at(definition, state)]).flatten().min()
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// The back-off of the step with this index ends.
    Retry(usize),
    /// The step with this index gives up.
    GiveUp(usize),
    /// The saga is too old.
    MaxAge,
}

/// Every open deadline, ms, the next one first.
pub fn deadlines(definition: &Definition, state: &State) -> Vec<(i64, Deadline)> {
    if state.paused_at != 0 {
        return Vec::new();
    }
    let steps = (0..state.steps.len()).flat_map(|i| {
        let retry = retry_at(state, i).map(|at| (at, Deadline::Retry(i)));
        [retry, give_up_at(definition, state, i).map(|at| (at, Deadline::GiveUp(i)))]
    });
    let age = max_age_at(definition, state).map(|at| (at, Deadline::MaxAge));
    let mut open: Vec<_> = steps.chain([age]).flatten().collect();
    open.sort_by_key(|(at, _)| *at);
    open
}

/// When a step's back-off ends, ms.
pub(crate) fn retry_at(state: &State, i: usize) -> Option<i64> {
    let step = &state.steps[i];
    (step.pending() == Pending::Retry && !planted::is("retries_are_forgotten")).then_some(step.retry_at)
}

/// When a step gives up, ms: never while it or the saga is parked, and while the pivot is in flight only
/// the pivot's own counts.
pub(crate) fn give_up_at(definition: &Definition, state: &State, i: usize) -> Option<i64> {
    let step = &state.steps[i];
    let waits = matches!(step.status(), StepStatus::Running | StepStatus::AwaitingSignal);
    let mine = definition.pivot() == Some(i) || !pivot_in_flight(definition, state);
    let parked = !step.parked.is_empty() || !state.parked.is_empty();
    (waits && mine && step.give_up_at != 0 && !parked).then_some(step.give_up_at)
}

/// The steps at a participant that give up at `now`.
pub(crate) fn overdue<'a>(
    definition: &'a Definition,
    state: &'a State,
    participant: &'a str,
    now: i64,
) -> impl Iterator<Item = usize> + 'a {
    let due = move |i| give_up_at(definition, state, i).is_some_and(|at| at <= now);
    let at =
        move |i: usize| !definition.steps[i].is_signal() && definition.steps[i].participant == participant;
    (0..state.steps.len()).filter(move |&i| at(i) && due(i))
}

/// When the saga as a whole is too old, ms: only going forward, never while the pivot is in flight,
/// while a person is needed, or once that was said.
pub(crate) fn max_age_at(definition: &Definition, state: &State) -> Option<i64> {
    let counts = state.phase() == Phase::Forward && !pivot_in_flight(definition, state) && !state.is_parked();
    counts.then(|| state.created_at + definition.max_age_ms as i64)
}

/// The pivot's command was decided and its outcome is not known.
pub(crate) fn pivot_in_flight(definition: &Definition, state: &State) -> bool {
    definition
        .pivot()
        .is_some_and(|p| matches!(state.steps[p].status(), StepStatus::Running | StepStatus::Sealing))
}

/// How long attempt `attempt + 1` waits after `attempt` failed, ms: exponential, at most the policy's
/// maximum, with jitter of up to a fifth *derived* from (saga, step, epoch, attempt).
pub(crate) fn backoff_ms(retry: &Retry, saga: Uuid, step: &str, epoch: u32, attempt: u32) -> u64 {
    let mut gap = retry.first_ms.min(retry.max_ms);
    for _ in 1..attempt.min(64) {
        gap = gap.saturating_mul(u64::from(retry.factor_percent)) / 100;
        if gap >= retry.max_ms {
            gap = retry.max_ms;
            break;
        }
    }
    let seed = Uuid::new_v5(&saga, format!("{step}/backoff/{epoch}/{attempt}").as_bytes()).as_u128();
    let spread = gap / 5 + 1;
    gap - (seed % u128::from(spread)) as u64
}
