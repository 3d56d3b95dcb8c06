//! The customer wants out: possible until the pivot's command was decided.

use super::{Context, Refused, course};
use crate::planted;
use crate::state::{Phase, State, StepStatus};

/// The reason of a saga that its customer cancelled.
pub(super) const CUSTOMER: &str = "CUSTOMER";

pub(super) fn fold(cx: Context<'_>, saga: &mut State) -> Result<(), Refused> {
    let pivot = cx.definition.pivot().map_or(StepStatus::Waiting, |p| saga.steps[p].status());
    match saga.phase() {
        Phase::Forward if pivot == StepStatus::Succeeded => {
            Err(Refused::NotAllowed("the point of no return is behind it".into()))
        }
        Phase::Forward if pivot != StepStatus::Waiting && !planted::is("cancel_calls_the_pivot_back") => {
            Err(Refused::NotAllowed("the step of no return was decided and can't be called back".into()))
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
