//! Time passed: everything that is due happens, giving up before trying again.

use super::{Context, Refused, course};
use crate::{
    flight::{self, overdue},
    input::Postponed,
    planted,
    state::{State, StepStatus},
};

/// Why a saga that grew too old after its pivot needs a person.
pub(super) const MAX_AGE: &str = "MAX_AGE: it is older than its definition allows, and past its pivot";
/// The reason of a saga that grew too old before.
const EXPIRED: &str = "EXPIRED";

pub(super) fn fold(cx: Context<'_>, saga: &mut State) -> Result<(), Refused> {
    let due = |at: Option<i64>| at.is_some_and(|at| at <= cx.now);
    let paused = saga.paused_at != 0 && !planted::is("deadlines_fire_while_paused");
    if paused || !due(flight::next_deadline(cx.definition, saga)) {
        return Err(Refused::NotDue);
    }
    // Each is asked anew: once the saga turned round, no step gives up any more.
    if due(flight::max_age_at(cx.definition, saga)) {
        too_old(cx, saga);
    }
    for i in 0..saga.steps.len() {
        if due(flight::give_up_at(cx.definition, saga, i)) {
            give_up(cx, saga, i);
        }
    }
    for i in 0..saga.steps.len() {
        if due(flight::retry_at(saga, i)) {
            saga.steps[i].again();
        }
    }
    Ok(())
}

/// The deadlines of the steps at a frozen participant count anew from now. Not the saga's greatest age: that is
/// bounded by what participants remember.
pub(super) fn postpone(cx: Context<'_>, saga: &mut State, by: &Postponed) -> Result<(), Refused> {
    let mut due = overdue(cx.definition, saga, &by.participant, cx.now).peekable();
    if saga.paused_at != 0 || due.peek().is_none() {
        return Err(Refused::NotDue);
    }
    for i in due.collect::<Vec<_>>() {
        saga.steps[i].give_up_at = cx.now + cx.definition.steps[i].give_up_ms as i64;
    }
    Ok(())
}

fn too_old(cx: Context<'_>, saga: &mut State) {
    if cx.definition.pivot().is_some_and(|p| saga.steps[p].status() == StepStatus::Succeeded) {
        saga.parked = MAX_AGE.into();
    } else {
        course::turn(cx, saga, EXPIRED, None);
    }
}

/// Before the pivot: turn round, and undo this step too, for it may have happened. The pivot itself: ask
/// whether it happened, for as long as it takes. A signal after the pivot: a person must look.
fn give_up(cx: Context<'_>, saga: &mut State, i: usize) {
    let step = &cx.definition.steps[i];
    if step.pivot && !planted::is("pivot_is_not_sealed") {
        saga.steps[i].begin(StepStatus::Sealing);
    } else if cx.definition.after_pivot(i) {
        saga.steps[i].parked = format!("{}: no signal came in time", step.give_up_reason);
    } else {
        course::turn(cx, saga, &step.give_up_reason, None);
    }
}
