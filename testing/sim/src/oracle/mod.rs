//! The judge. It stands outside of what it judges: it knows what clients were told, what the gateway did, and what became durable, and
//! holds the promises against that. One file per promise.

mod budget;
mod ended;
pub(crate) mod facts;
mod lost;
mod money;
mod once;
mod order;
mod replay;
mod said;
mod stock;
mod undo;

use std::collections::{BTreeMap, BTreeSet};

use skald_core::{
    Definition, flight, invariants,
    plan::{Plan, Write},
    state::{State, StepStatus},
};
use skald_participant::{Key, Verb};
use skald_payment::gateway::Kind;
use skald_proto::participant::v1::outcome::Answer;
use skald_server::config::Driver;
use uuid::Uuid;

use crate::{
    bus::Taken,
    gateway::{Gateway, Request},
    orchestrator::Orchestrator,
    participant::db::Written,
    tally::Tally,
    world::World,
};

/// The number of [`skald_core::Input::DeadlineFired`] in histories.
const DEADLINE_FIRED: u32 = 3;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which: the name of its file.
    pub promise: &'static str,
    /// What happened.
    pub what: String,
}

/// What really became of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub ran: u32,
    pub undone: u32,
    pub committed: u32,
}

/// A saga before a batch, as far as it is compared with what it is after.
#[derive(Debug)]
pub(crate) struct Before {
    /// Of each step, and whether it did not need a person.
    steps: Vec<(StepStatus, bool)>,
    paused: bool,
    ended: bool,
}

impl Before {
    pub(crate) fn of(state: &State) -> Before {
        Before {
            steps: state.steps.iter().map(|step| (step.status(), step.parked.is_empty())).collect(),
            paused: state.paused_at != 0,
            ended: state.is_final(),
        }
    }
}

/// What it remembers.
#[derive(Debug)]
pub(crate) struct Oracle {
    pub violations: Vec<Violation>,
    /// By service and key.
    pub effects: BTreeMap<(usize, Key), Facts>,
    /// The first verdict that was told, by service, key and whether it is the undo's.
    verdicts: BTreeMap<(usize, Key, bool), Answer>,
    /// Codes of failures that were told, by service and key.
    failures: BTreeSet<(usize, Key, String)>,
    /// Sagas on which somebody acted without a fence: their steps are that person's word.
    pub unfenced: BTreeSet<Uuid>,
    /// Money and goods are at stake.
    pub orders: bool,
    jumps: u64,
}

impl Oracle {
    pub(crate) fn new(orders: bool) -> Oracle {
        Oracle {
            violations: Vec::new(),
            effects: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            failures: BTreeSet::new(),
            unfenced: BTreeSet::new(),
            orders,
            jumps: 0,
        }
    }

    pub(crate) fn violation(&mut self, promise: &'static str, what: String) {
        self.violations.push(Violation { promise, what });
    }

    /// A clock jumped: whoever lives by it may have saved up more.
    pub(crate) fn jumped(&mut self) {
        self.jumps += 1;
    }

    /// An offset was stored; a message below it that nobody has finished would never come again.
    pub(crate) fn passed_over(&mut self, taken: Taken, open: Option<usize>) {
        if let Some(open) = open {
            self.violation("lost", format!("{taken:?} was finished, and {open} before it was passed over"));
        }
    }

    /// Effects became durable.
    pub(crate) fn wrote(&mut self, service: usize, written: &[Written]) {
        for one in written {
            let (key, add): (_, fn(&mut Facts)) = match one {
                Written::Ran(key) => (key, |facts| facts.ran += 1),
                Written::Undone(key) => (key, |facts| facts.undone += 1),
                Written::Committed(key) => (key, |facts| facts.committed += 1),
                Written::Stock(sku, counters) => {
                    if let Some(what) = stock::broken(sku, counters) {
                        self.violation("stock", what);
                    }
                    continue;
                }
            };
            let facts = self.effects.entry((service, key.clone())).or_default();
            add(facts);
            if let Some(what) = once::too_often(key, facts) {
                self.violation("once", what);
            }
        }
    }

    /// A participant says something.
    pub(crate) fn answered(&mut self, service: usize, key: &Key, verb: Verb, answer: &Answer) {
        let undo = match answer {
            Answer::Failed(failed) => {
                self.failures.insert((service, key.clone(), failed.code.clone()));
                return;
            }
            Answer::Succeeded(_) | Answer::Rejected(_) | Answer::Sealed(_) => false,
            Answer::Undone(_) | Answer::NothingToUndo(_) | Answer::Fenced(_) => true,
        };
        let first = self.verdicts.entry((service, key.clone(), undo)).or_insert_with(|| answer.clone());
        if first != answer {
            let what = format!("{key:?} was answered {first:?} and then, to {verb:?}, {answer:?}");
            self.violation("once", what);
        }
    }

    /// Money moved, or an old answer was repeated.
    pub(crate) fn moved(&mut self, gateway: &Gateway, request: &Request) {
        let moved = gateway.movements(request.kind, &request.our_ref);
        if moved.len() > 1 {
            let what = match request.kind {
                Kind::Charge => "charged",
                Kind::Refund => "refunded",
            };
            self.violation("money", format!("{} was {what} {} times", request.our_ref, moved.len()));
        }
    }

    /// A batch was decided.
    pub(crate) fn planned(&mut self, tally: &mut Tally, before: &BTreeMap<Uuid, Before>, plan: &Plan<usize>) {
        for write in &plan.writes {
            transitions(tally, before.get(&write.saga), write);
        }
        for write in &plan.writes {
            let fired = write.rows.iter().any(|row| row.kind == DEADLINE_FIRED);
            let paused = write.state.paused_at != 0;
            if fired && paused && before.get(&write.saga).is_some_and(|before| before.paused) {
                self.violation("ended", format!("{}: a deadline fired while it was paused", write.saga));
            }
        }
        for write in &plan.writes {
            // Participants are honest here: only who acts without a fence can be contradicted.
            let contradicted = write.state.parked.starts_with("CONTRADICTION");
            if contradicted && !self.unfenced.contains(&write.saga) {
                self.violation("once", format!("{}: {}", write.saga, write.state.parked));
            }
        }
        for what in ended::commands_of_the_ended(before, plan) {
            self.violation("ended", what);
        }
    }

    /// A saga's new state became durable.
    pub(crate) fn wrote_saga(&mut self, tally: &mut Tally, write: &Write) {
        if let Err(violation) = invariants::check(&write.definition, &write.state) {
            self.violation("invariants", format!("{}: {violation}", write.saga));
        }
        for row in &write.rows {
            tally.add(skald_core::Input::kind_name(row.kind));
        }
    }

    /// A process ends: what it sent again is counted up.
    pub(crate) fn budget(&mut self, node: &Orchestrator, now: i64, driver: &Driver) {
        if let Some(what) = budget::exceeded(node.judged, now, self.jumps, driver) {
            self.violation("budget", what);
        }
    }
}

impl World {
    /// At rest: everything is held against the promises.
    pub(crate) fn judge(&mut self) {
        if !self.oracle.violations.is_empty() {
            return;
        }
        let mut found: Vec<(&'static str, String)> = Vec::new();
        let mut say = |promise, all: Vec<String>| found.extend(all.into_iter().map(|what| (promise, what)));
        say("lost", lost::judge(self));
        say("undo", undo::judge(self));
        say("stock", stock::judge(self));
        say("money", money::judge(self));
        say("replay", replay::judge(self));
        say("once", once::judge(self));
        say("said", said::judge(self));
        for (promise, what) in found {
            self.oracle.violation(promise, what);
        }
        for n in 0..self.orchestrators.len() {
            self.oracle.budget(&self.orchestrators[n], self.now, &self.driver);
        }
    }
}

/// Whether a person's word stands for the step, or for all of the saga.
pub(crate) fn vouched(oracle: &Oracle, saga: Uuid, state: &State, step: &str) -> bool {
    oracle.unfenced.contains(&saga) || state.steps.iter().any(|s| s.name == step && s.vouched)
}

/// Which service a step is at.
pub(crate) fn service_of(world: &World, definition: &Definition, step: &str) -> Option<usize> {
    let participant = &definition.steps[definition.index(step)?].participant;
    world.services.iter().position(|service| service.name == *participant)
}

fn transitions(tally: &mut Tally, before: Option<&Before>, write: &Write) {
    for (i, step) in write.state.steps.iter().enumerate() {
        let was = before.and_then(|before| before.steps.get(i)).copied();
        let now = (step.status(), step.parked.is_empty());
        if was.is_some_and(|was| was.0 != now.0) {
            let was = was.unwrap_or(now).0;
            tally.step(was, now.0);
        }
        if was.is_some_and(|was| was.1) && !now.1 {
            tally.add_made(format!("parked: {:?}", now.0));
        }
    }
    if before.is_some_and(|before| before.ended) && !write.state.parked.is_empty() {
        tally.add("reopened");
    }
    if write.state.paused_at != 0 && flight::commands(&write.state).is_empty() {
        tally.add("paused");
    }
}
