//! The customer wants out: possible until the pivot's command was decided.

use super::{Context, Refused, course};
use crate::{
    flight,
    state::{Phase, State, StepStatus},
};

/// The reason of a saga that its customer cancelled.
pub(super) const CUSTOMER: &str = "CUSTOMER";

pub(super) fn fold(cx: Context<'_>, saga: &mut State) -> Result<(), Refused> {
    let pivot_done = cx.definition.pivot().is_some_and(|p| saga.steps[p].status() == StepStatus::Succeeded);
    match saga.phase() {
        Phase::Forward if flight::pivot_in_flight(cx.definition, saga) => {
            Err(Refused::NotAllowed("the last step is under way and can't be called back".into()))
        }
        Phase::Forward if pivot_done => {
            Err(Refused::NotAllowed("the point of no return is behind it".into()))
        }
        Phase::Forward => {
            course::turn(cx, saga, CUSTOMER, None);
            Ok(())
        }
        Phase::Compensating | Phase::Compensated if saga.reason == CUSTOMER => Err(Refused::Repeat),
        Phase::Compensating => {
            Err(Refused::NotAllowed(format!("it is being undone already: {}", saga.reason)))
        }
        Phase::Compensated => Err(Refused::NotAllowed(format!("it was undone: {}", saga.reason))),
        Phase::Completed => Err(Refused::NotAllowed("it is complete".into())),
    }
}
