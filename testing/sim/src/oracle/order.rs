//! Undo runs in reverse order of the graph: when a step is undone, nothing that came after it stands any more. A step that a person
//! vouched for is the visible exception.

use skald_participant::Key;
use skald_payment::gateway::Kind as Movement;
use uuid::Uuid;

use super::service_of;
use crate::{
    participant::{db::Written, domain::Kind},
    world::World,
};

impl World {
    /// Effects became durable at a service.
    pub(crate) fn judge_order(&mut self, service: usize, written: &[Written]) {
        for one in written {
            if let Written::Undone(key) = one
                && let Some(what) = standing_behind(self, key)
            {
                let name = self.services[service].name;
                self.oracle.violation("order", format!("{key:?} was undone at {name}, and {what}"));
            }
        }
    }
}

fn standing_behind(world: &World, undone: &Key) -> Option<String> {
    let row = world.store.sagas.get(&undone.saga)?;
    if world.oracle.unfenced.contains(&undone.saga) {
        return None;
    }
    let steps = &row.definition.steps;
    let first = row.definition.index(&undone.step)?;
    let mut behind = vec![false; steps.len()];
    behind[first] = true;
    for i in first + 1..steps.len() {
        behind[i] = steps[i].after.iter().any(|&p| behind[p as usize]);
        let state = &row.decoded.steps[i];
        if !behind[i] || !steps[i].has_undo() || state.vouched {
            continue;
        }
        let service = service_of(world, &row.definition, &steps[i].name)?;
        let stands = |epoch| stands(world, service, undone.saga, &steps[i].name, epoch);
        if (1..=state.epoch as i32).any(stands) {
            return Some(format!("{}, which comes after it, was not", steps[i].name));
        }
    }
    None
}

/// An effect happened and was not undone.
fn stands(world: &World, service: usize, saga: Uuid, step: &str, epoch: i32) -> bool {
    if world.services[service].kind == Kind::Payment {
        let our_ref = format!("{saga}/{step}/{epoch}");
        let moved = |kind| world.gateway.movements(kind, &our_ref).len();
        return moved(Movement::Charge) > moved(Movement::Refund);
    }
    let key = Key { saga, step: step.to_owned(), epoch };
    world.oracle.effects.get(&(service, key)).is_some_and(|facts| facts.ran > facts.undone)
}
