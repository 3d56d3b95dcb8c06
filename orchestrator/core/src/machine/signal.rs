//! What a signal step waits for came, in time or early. The first one wins.

use super::{Context, Refused, course};
use crate::{
    input::Signal,
    state::{Phase, State, StepStatus},
};

pub(super) fn fold(cx: Context<'_>, saga: &mut State, signal: &Signal) -> Result<(), Refused> {
    let Some(i) = cx.definition.index(&signal.name).filter(|&i| cx.definition.steps[i].is_signal()) else {
        return Err(Refused::Malformed(format!("{} has no signal {:?}", cx.definition.name, signal.name)));
    };
    match saga.steps[i].status() {
        StepStatus::AwaitingSignal => {
            course::take_signal(&mut saga.steps[i], signal);
            course::forward(cx, saga);
            Ok(())
        }
        StepStatus::Waiting if saga.phase() == Phase::Forward => buffer(saga, signal),
        StepStatus::Succeeded if saga.steps[i].signal_id == signal.signal_id => Err(Refused::Repeat),
        StepStatus::Succeeded => Err(taken(signal)),
        _ => Err(Refused::NotAllowed(format!("the saga is {:?} and waits for no signal", saga.phase()))),
    }
}

fn buffer(saga: &mut State, signal: &Signal) -> Result<(), Refused> {
    match saga.early.iter().find(|early| early.name == signal.name) {
        None => {
            saga.early.push(signal.clone());
            Ok(())
        }
        Some(first) if first.signal_id == signal.signal_id => Err(Refused::Repeat),
        Some(_) => Err(taken(signal)),
    }
}

fn taken(signal: &Signal) -> Refused {
    Refused::NotAllowed(format!("the signal {:?} was given before, the first one counts", signal.name))
}
