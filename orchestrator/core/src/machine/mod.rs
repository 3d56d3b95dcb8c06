//! `advance`: what follows from one input. One file per kind of input, and [`course`] for where a saga
//! goes from there. Transitions only change the state; the effects are derived from it.

mod cancel;
mod course;
mod deadline;
mod migrate;
mod operator;
mod outcome;
mod signal;
mod started;

use std::borrow::Cow;

use uuid::Uuid;

use crate::{
    definition::Definition,
    effects::Effects,
    input::Input,
    state::{self, State, Verdict},
    transfer,
};

/// What a transition is decided in.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The saga's id.
    pub saga: Uuid,
    /// What it follows.
    pub definition: &'a Definition,
    /// The database's clock, ms since the epoch.
    pub now: i64,
}

/// The input was not accepted; the saga is unchanged and no history row is written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It was accepted before; its first answer stands.
    #[error("it was taken before")]
    Repeat,
    /// It is about an attempt or epoch that is over.
    #[error("it is about an attempt that is over")]
    Stale,
    /// Nothing is due.
    #[error("nothing is due")]
    NotDue,
    /// The saga's state does not allow it.
    #[error("not possible now: {0}")]
    NotAllowed(String),
    /// The saga is not the one that the operator saw.
    #[error("the saga has moved on: it is at version {found}, the action was meant for {expected}")]
    Moved {
        /// What the operator saw.
        expected: u32,
        /// As it is.
        found: u32,
    },
    /// It makes no sense for this saga, whatever its state: a dead letter.
    #[error("{0}")]
    Malformed(String),
}

/// Folds one input into the saga.
///
/// # Errors
/// [`Refused`]: the saga is unchanged.
pub fn advance(cx: Context<'_>, saga: &mut State, input: &Input) -> Result<Effects, Refused> {
    advance_to(cx, None, saga, input)
}

/// Folds one input into the saga, with the definition at hand that [`Act::Migrate`](crate::input::Act::Migrate) names.
/// When the effects name a definition, the saga follows that from here on, and this one is it.
///
/// # Errors
/// [`Refused`]: the saga is unchanged.
pub fn advance_to(
    cx: Context<'_>,
    to: Option<&Definition>,
    saga: &mut State,
    input: &Input,
) -> Result<Effects, Refused> {
    let mut before = Cow::Borrowed(&*saga);
    if !before.is_aligned(cx.definition) && before.to_mut().aligned(cx.definition).is_none() {
        return Err(Refused::Malformed("the saga has a step that its definition has not".into()));
    }
    let mut cx = Context { now: cx.now.max(saga.now), ..cx };
    if cx.now > state::LAST_INPUT {
        return Err(Refused::Malformed(format!("{} ms is a time that no clock shows", cx.now)));
    }
    let target = migrate::target(cx, to, &before, input)?;
    if let Some(to) = target {
        (cx.definition, before) = (to, Cow::Owned(transfer::moved(&before, to)));
    }
    let mut after = State::clone(&before);
    let effects = match target {
        None => {
            fold(cx, &mut after, input)?;
            Effects::between
        }
        Some(_) => {
            migrate::fold(cx, &mut after);
            Effects::moving
        }
    };
    after.version += 1;
    after.now = cx.now;
    let effects = effects(cx.definition, &before, &after);
    *saga = after;
    #[cfg(debug_assertions)]
    crate::invariants::check(cx.definition, saga).expect("the state keeps its invariants");
    Ok(effects)
}

fn fold(cx: Context<'_>, saga: &mut State, input: &Input) -> Result<(), Refused> {
    match input {
        Input::Started(started) => started::fold(cx, saga, started),
        _ if saga.version == 0 => Err(Refused::Malformed("the saga has not started".into())),
        Input::Outcome(outcome) => outcome::fold(cx, saga, outcome),
        Input::DeadlineFired(_) => deadline::fold(cx, saga),
        Input::CancelRequested(_) => cancel::fold(cx, saga),
        Input::Signal(signal) => signal::fold(cx, saga, signal),
        Input::Postponed(by) => deadline::postpone(cx, saga, by),
        Input::Operator(operator) => operator::fold(cx, saga, operator),
    }
}

/// A second, different verdict for one command, or one that can't be: nobody can tell what happened, so
/// a person must look. The saga parks, even one that had ended; commands that are in flight go on.
fn contradiction(saga: &mut State, i: usize, verdict: Verdict) {
    let step = &mut saga.steps[i];
    step.contradicted |= 1 << verdict as u32;
    if saga.parked.is_empty() || saga.parked == deadline::MAX_AGE {
        let (name, run, undo) = (&step.name, step.run(), step.undo());
        saga.parked =
            format!("CONTRADICTION: {name} was answered {verdict:?} (known: RUN {run:?}, UNDO {undo:?})");
    }
}
