//! Everything that must not change any more, whatever comes again. Sagas on which somebody acted without a fence are left out, with all
//! that belongs to them: their steps are that person's word, and what was never fenced may still happen.

use skald_core::state::{Phase, StepStatus};
use skald_inventory::{allocation::Counters, store::reservation::Reservation};
use skald_participant::Key;
use skald_payment::store::Charge;
use uuid::Uuid;

use super::Facts;
use crate::{
    gateway::Movement,
    participant::{db::Tables, domain::Effect},
    world::World,
};

/// One thing that is as it is.
#[derive(Debug, PartialEq)]
pub(crate) enum Fact {
    // A late first verdict is still recorded, so the version may rise; what a step came to may not change.
    Saga { id: Uuid, phase: Phase, parked: String, steps: Vec<(String, StepStatus, bool)> },
    Stock(String, Counters),
    Reservation(Reservation),
    Charge(Charge),
    Effect(Key, Effect),
    Moved { refund: bool, our_ref: String, moved: Vec<Movement> },
    Happened(usize, Key, Facts),
}

impl World {
    /// All of them, in a fixed order.
    pub(crate) fn facts(&self) -> Vec<Fact> {
        let unfenced = &self.oracle.unfenced;
        let sure = |saga: &Uuid| !unfenced.contains(saga);
        let mut facts = Vec::new();
        for (id, row) in self.store.sagas.iter().filter(|(id, _)| sure(id)) {
            let state = &row.decoded;
            let steps = state.steps.iter().map(|s| (s.name.clone(), s.status(), s.vouched)).collect();
            facts.push(Fact::Saga { id: *id, phase: state.phase(), parked: state.parked.clone(), steps });
        }
        for service in &self.services {
            match &service.db.tables {
                Tables::Inventory { stock, reservations } => {
                    // Without a fence goods may still move; that they add up is judged at each change.
                    if unfenced.is_empty() {
                        facts.extend(stock.iter().map(|(sku, counters)| Fact::Stock(sku.clone(), *counters)));
                    }
                    let sure = reservations.values().filter(|row| sure(&row.key.saga));
                    facts.extend(sure.cloned().map(Fact::Reservation));
                }
                Tables::Payment { charges } => {
                    let sure = charges.values().filter(|row| sure(&row.key.saga));
                    facts.extend(sure.cloned().map(Fact::Charge));
                }
                Tables::Plain { effects, .. } => {
                    let sure = effects.iter().filter(|(key, _)| sure(&key.saga));
                    facts.extend(sure.map(|(key, effect)| Fact::Effect(key.clone(), *effect)));
                }
            }
        }
        for (refund, our_ref, moved) in self.gateway.all() {
            let saga = our_ref.split('/').next().and_then(|id| id.parse().ok());
            if saga.is_none_or(|saga| sure(&saga)) {
                let (our_ref, moved) = (our_ref.to_owned(), moved.to_vec());
                facts.push(Fact::Moved { refund, our_ref, moved });
            }
        }
        let happened = self.oracle.effects.iter().filter(|((_, key), _)| sure(&key.saga));
        facts.extend(happened.map(|((service, key), facts)| Fact::Happened(*service, key.clone(), *facts)));
        facts
    }
}

/// What is there now and was not, or was and is no longer there.
pub(crate) fn difference(before: &[Fact], after: &[Fact]) -> Option<String> {
    if before == after {
        return None;
    }
    let gone: Vec<&Fact> = before.iter().filter(|fact| !after.contains(fact)).collect();
    let new: Vec<&Fact> = after.iter().filter(|fact| !before.contains(fact)).collect();
    Some(format!("it was {gone:?} and is {new:?}"))
}
