//! Silence is no answer: every outcome in a history is one that the participant gave.

use skald_core::{
    Input,
    input::{self, Answer as Taken, Outcome},
};
use skald_participant::Key;
use skald_proto::participant::v1::outcome::Answer as Told;
use uuid::Uuid;

use super::service_of;
use crate::{orchestrator::store::Row, world::World};

/// The number of [`skald_core::Input::Outcome`] in histories.
const OUTCOME: u32 = 2;

pub(super) fn judge(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for (saga, row) in &world.store.sagas {
        for input in row.history.iter().filter(|input| input.kind == OUTCOME) {
            if let Ok(Input::Outcome(outcome)) = input::decode(&input.input)
                && !was_said(world, *saga, row, &outcome)
            {
                found.push(format!("{saga}, row {}: nobody said {outcome:?}", input.seq));
            }
        }
    }
    found
}

fn was_said(world: &World, saga: Uuid, row: &Row, outcome: &Outcome) -> bool {
    let Some(service) = service_of(world, &row.definition, &outcome.step) else { return false };
    let key = Key { saga, step: outcome.step.clone(), epoch: outcome.epoch as i32 };
    let verdict = |undo| world.oracle.verdicts.get(&(service, key.clone(), undo));
    match &outcome.answer {
        None => false,
        Some(Taken::Failed(f)) => world.oracle.failures.contains(&(service, key.clone(), f.code.clone())),
        Some(Taken::Succeeded(_)) => matches!(verdict(false), Some(Told::Succeeded(_))),
        Some(Taken::Rejected(_)) => matches!(verdict(false), Some(Told::Rejected(_))),
        Some(Taken::Sealed(_)) => matches!(verdict(false), Some(Told::Sealed(_))),
        Some(Taken::Undone(_)) => matches!(verdict(true), Some(Told::Undone(_))),
        Some(Taken::NothingToUndo(_)) => matches!(verdict(true), Some(Told::NothingToUndo(_))),
        Some(Taken::Fenced(_)) => matches!(verdict(true), Some(Told::Fenced(_))),
    }
}
