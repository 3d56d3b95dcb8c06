//! The saga begins: its first steps are entered.

use super::{Context, Refused, course};
use crate::{input::Started, state::State};

pub(super) fn fold(cx: Context<'_>, saga: &mut State, started: &Started) -> Result<(), Refused> {
    if saga.version != 0 {
        return Err(Refused::Repeat);
    }
    saga.created_at = cx.now;
    for signal in &started.signals {
        if !cx.definition.index(&signal.name).is_some_and(|i| cx.definition.steps[i].is_signal()) {
            return Err(Refused::Malformed(format!(
                "{} has no signal {:?}",
                cx.definition.name, signal.name
            )));
        }
        if saga.early.iter().any(|early| early.name == signal.name) {
            return Err(Refused::Malformed(format!("the signal {:?} came twice", signal.name)));
        }
        saga.early.push(signal.clone());
    }
    course::forward(cx, saga);
    Ok(())
}
