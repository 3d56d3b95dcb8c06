//! Every verb against every state of the barrier, whole plans compared; then random histories against a model.

mod model;
mod table;

use prost_types::Any;
use uuid::Uuid;

use super::*;
use crate::{
    command::Key,
    service::{NoCall, Rejection},
};

const ACTIONS: &[Action] = &[Action { name: "reserve", undo: Some("release") }];

/// A domain that answers as it is told and remembers what it was asked.
#[derive(Debug, Default, Clone)]
struct Told {
    run: Option<RunAnswer>,
    undo: Option<UndoAnswer>,
    asked: Vec<&'static str>,
}

impl Domain for Told {
    type Call = NoCall;

    fn run(&mut self, _: &Command) -> RunAnswer {
        self.asked.push("run");
        self.run.clone().unwrap_or(RunAnswer::Succeeded(result()))
    }

    fn undo(&mut self, _: &Command) -> UndoAnswer {
        self.asked.push("undo");
        self.undo.clone().unwrap_or(UndoAnswer::Undone(result()))
    }

    fn seal(&mut self, _: &Command) {
        self.asked.push("seal");
    }
}

fn result() -> Option<Any> {
    Some(Any { type_url: "type.googleapis.com/x".to_owned(), value: vec![1] })
}

fn rejection() -> Rejection {
    Rejection { code: "OUT_OF_STOCK".to_owned(), message: "none left".to_owned(), detail: result() }
}

/// Sagas that the barrier can remember are 100 to 199.
fn bounds() -> Bounds {
    Bounds { oldest: Uuid::from_u128(100), newest: Uuid::from_u128(200) }
}

fn command(saga: u128, verb: Verb) -> Command {
    let undo = matches!(verb, Verb::Undo | Verb::SealUndo);
    Command {
        protocol: 1,
        saga: Uuid::from_u128(saga),
        step: "reserve".to_owned(),
        verb,
        epoch: 1,
        attempt: 3,
        action: if undo { "release" } else { "reserve" }.to_owned(),
        input: None,
        needs: vec![],
        traceparent: None,
    }
}

fn decide(commands: &[Command], stored: &Stored, domain: &mut Told) -> Plan {
    let wave: Vec<&Command> = commands.iter().collect();
    let triage = Triage::new(&wave, stored, bounds(), ACTIONS);
    match triage.work().is_empty() {
        true => triage.decide(None::<&mut Told>),
        false => triage.decide(Some(domain)),
    }
}
