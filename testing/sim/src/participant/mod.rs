//! A participant's instances: the runtime's way of a wave, step by step, so that anything can happen between two steps. What is
//! decided is decided by the real `decide`, `wave` and domains.

mod calls;
pub(crate) mod db;
pub(crate) mod domain;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use prost::Message;
use skald_participant::{
    Command, Domain, Failed, Intent, Key, Slot, Verb,
    barrier::Stored,
    decide::{Plan, Triage},
    intent,
    wave::{self, Delivery, Item},
};
use skald_proto::participant::v1::{self as wire, outcome::Answer};
use uuid::Uuid;

pub(crate) use calls::{CallEvent, Calling, Settling};
use db::{Db, Open};
use domain::{Any3, Business, Kind};

use crate::{
    bus::{Claim, Taken, TopicId},
    faults::Fault,
    planted,
    world::{Event, Health, NodeId, World},
};

/// An intent whose call began is left alone for so long, ms.
pub(crate) const LEASE_MS: i64 = 30_000;
/// Messages of one poll at most.
const POLL: usize = 24;

/// One participant: its database and its instances.
#[derive(Debug)]
pub(crate) struct Service {
    pub name: &'static str,
    pub kind: Kind,
    pub db: Db,
    pub nodes: Vec<Node>,
    /// Answers nothing until then, ms.
    pub silent_until: i64,
    /// Takes its time until then, ms.
    pub slow_until: i64,
}

/// One instance.
#[derive(Debug)]
pub(crate) struct Node {
    pub health: Health,
    pub instance: Uuid,
    /// It knows fewer actions.
    pub old: bool,
    /// How far its clock is off, ms.
    pub skew: i64,
    /// For how long its monotonic clock stood still, ms.
    pub stood: i64,
    pub claims: Vec<Claim>,
    waves: VecDeque<Vec<Item<Taken>>>,
    wave: Option<InWave>,
    pub(crate) calls: BTreeMap<u64, Calling>,
    pub(crate) settling: Vec<intent::resolve::Resolution>,
    pub(crate) settle: Option<Settling>,
    woken: bool,
    /// It was woken while it was busy.
    again: bool,
    /// How long it waited for a lock last, ms.
    wait: i64,
}

/// A wave under way.
#[derive(Debug)]
struct InWave {
    items: Vec<Item<Taken>>,
    stored: Stored,
    /// Once it is decided.
    decided: Option<Decided>,
}

#[derive(Debug)]
struct Decided {
    txn: u64,
    plan: Plan,
    domain: Option<Any3>,
    opened: Vec<Intent>,
}

/// What an instance does next.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Take,
    Look,
    Lock,
    Commit,
    /// An outcome that waited for the broker.
    Tell(Taken, Uuid, Arc<[u8]>),
    Call(u64, CallEvent),
    SettleLock,
    SettleCommit,
}

impl Node {
    pub(crate) fn new(instance: Uuid) -> Node {
        Node {
            health: Health::default(),
            instance,
            old: false,
            skew: 0,
            stood: 0,
            claims: Vec::new(),
            waves: VecDeque::new(),
            wave: None,
            calls: BTreeMap::new(),
            settling: Vec::new(),
            settle: None,
            woken: false,
            again: false,
            wait: 0,
        }
    }

    /// The process ends: everything in memory is gone. Its open transactions are told.
    pub(crate) fn forget(&mut self, instance: Uuid) -> Vec<u64> {
        let wave = self.wave.take().and_then(|wave| wave.decided).map(|decided| decided.txn);
        let settle = self.settle.take().map(|settle| settle.txn);
        let health = std::mem::take(&mut self.health);
        *self = Node { old: self.old, skew: self.skew, health, ..Node::new(instance) };
        wave.into_iter().chain(settle).collect()
    }
}

impl World {
    pub(crate) fn participant(&mut self, s: usize, n: usize, step: Step) {
        match step {
            Step::Take => self.take_poll(s, n),
            Step::Look => self.look(s, n),
            Step::Lock => self.decide(s, n),
            Step::Commit => self.commit_wave(s, n),
            Step::Tell(taken, key, value) => self.tell(s, n, taken, key, value),
            Step::Call(id, event) => self.call(s, n, id, event),
            Step::SettleLock => self.settle_lock(s, n),
            Step::SettleCommit => self.settle_commit(s, n),
        }
    }

    /// Something may be there for it.
    pub(crate) fn wake_participant(&mut self, s: usize, n: usize) {
        let node = &mut self.services[s].nodes[n];
        if !std::mem::replace(&mut node.woken, true) {
            let delay = self.latency();
            self.step(s, n, delay, Step::Take);
        }
    }

    pub(crate) fn step(&mut self, s: usize, n: usize, delay: i64, step: Step) {
        let life = self.services[s].nodes[n].health.life;
        self.push(delay, Event::Participant { service: s, node: n, life, step });
    }

    fn take_poll(&mut self, s: usize, n: usize) {
        let now = self.now;
        let service = &mut self.services[s];
        let node = &mut service.nodes[n];
        node.woken = false;
        if node.wave.is_some() || !node.waves.is_empty() {
            node.again = true;
            return;
        }
        node.again = false;
        let blocked = service.silent_until.max(node.health.cut_bus_until);
        if blocked > now {
            node.woken = true;
            return self.step(s, n, blocked - now, Step::Take);
        }
        let most = self.rng.below(POLL) + 1;
        let mut deliveries = Vec::new();
        let mut buried = Vec::new();
        for claim in &mut node.claims {
            while deliveries.len() < most
                && let Some((taken, record)) = self.bus.poll(claim)
            {
                let key = record.key.to_string();
                match Command::decode(&record.value, key.as_bytes(), None) {
                    Ok(command) => deliveries.push(Delivery { command, origin: taken }),
                    Err(_) => buried.push(taken),
                }
            }
        }
        // There may be more.
        node.again = deliveries.len() >= most || !buried.is_empty();
        for taken in buried {
            self.tally.add("dead letter: command");
            self.done(s, n, taken);
        }
        let node = &mut self.services[s].nodes[n];
        node.waves = wave::cut(deliveries).into();
        if !node.waves.is_empty() {
            self.next_wave(s, n);
        }
    }

    fn next_wave(&mut self, s: usize, n: usize) {
        let node = &mut self.services[s].nodes[n];
        match node.waves.pop_front() {
            Some(items) => {
                node.wave = Some(InWave { items, stored: Stored::default(), decided: None });
                self.look(s, n);
            }
            None => {
                node.wave = None;
                if node.again {
                    self.wake_participant(s, n);
                }
            }
        }
    }

    /// Reads what the barrier says, before any lock: it may be stale a moment later.
    fn look(&mut self, s: usize, n: usize) {
        if let Some(wait) = self.services[s].nodes[n].health.database_wait(self.now) {
            return self.step(s, n, wait, Step::Look);
        }
        let service = &mut self.services[s];
        let Some(wave) = &mut service.nodes[n].wave else { return };
        wave.stored = service.db.look_up(wave.items.iter().map(|item| &item.command));
        wave.decided = None;
        let slow = service.slow_until > self.now;
        let delay = if slow { self.rng.magnitude(20_000) } else { self.latency() };
        self.step(s, n, delay, Step::Lock);
    }

    /// Locks, reads, decides and inserts.
    fn decide(&mut self, s: usize, n: usize) {
        if let Some(wait) = self.services[s].nodes[n].health.database_wait(self.now) {
            return self.step(s, n, wait, Step::Look);
        }
        let Some(wave) = self.services[s].nodes[n].wave.take() else { return };
        let now = self.now;
        let fails = self.failures(&wave);
        let no_place = self.rng.chance(1_000);
        let service = &mut self.services[s];
        let node = &mut service.nodes[n];
        let actions = service.kind.actions(node.old);
        let commands: Vec<&Command> = wave.items.iter().map(|item| &item.command).collect();
        let triage = Triage::new(&commands, &wave.stored, service.db.bounds, actions);
        if triage.is_answered() {
            let plan = triage.decide(None::<&mut Any3>);
            let answers = wave.items.into_iter().zip(plan.answers).collect();
            return self.answer(s, n, answers);
        }
        let work = triage.work();
        let txn = service.db.locks.begin(now);
        let mut domain = None;
        if !work.is_empty() {
            match service.db.load(txn, &work, now) {
                Ok(business) => domain = Some(Any3 { business, fails }),
                Err(_) => {
                    service.db.locks.end(txn);
                    node.wave = Some(wave);
                    return self.wait_for_lock(s, n, Step::Lock);
                }
            }
        }
        let plan = triage.decide(domain.as_mut());
        let moved = plan.failed_by_domain && wave.stored != service.db.look_up(commands.iter().copied());
        let inserted = if moved { Ok(false) } else { service.db.insert(txn, &plan.inserts, now) };
        node.wait = if inserted.is_err() { node.wait } else { 0 };
        match inserted {
            Err(_) => {
                service.db.locks.end(txn);
                node.wave = Some(wave);
                self.wait_for_lock(s, n, Step::Lock)
            }
            // Someone else was first: decided again.
            Ok(false) if !planted::is("lookup_decides") => {
                self.tally.add("race: someone else was first");
                service.db.locks.end(txn);
                node.wave = Some(wave);
                self.look(s, n)
            }
            Ok(_) if plan.is_read_only() => {
                service.db.locks.end(txn);
                let answers = wave.items.into_iter().zip(plan.answers).collect();
                self.answer(s, n, answers)
            }
            Ok(_) => {
                let opened = opened(&plan, &wave.items, no_place);
                node.wave = Some(InWave { decided: Some(Decided { txn, plan, domain, opened }), ..wave });
                if !self.maybe_crash_participant(s, n) {
                    let delay = self.latency();
                    self.step(s, n, delay, Step::Commit);
                }
            }
        }
    }

    pub(crate) fn wait_for_lock(&mut self, s: usize, n: usize, step: Step) {
        self.tally.add("race: waited for a lock");
        // Not so often while somebody who stands still has it.
        let wait = &mut self.services[s].nodes[n].wait;
        *wait = (*wait * 2).clamp(5, 1_000);
        let most = *wait;
        let delay = self.rng.between(1, most);
        self.step(s, n, delay, step);
    }

    /// Which commands of a wave fail by chance.
    fn failures(&mut self, wave: &InWave) -> BTreeMap<Key, Failed> {
        let mut fails = BTreeMap::new();
        for item in &wave.items {
            if self.hits(Fault::FailedFinal) {
                fails.insert(item.command.key(), Failed::last("BROKEN", "a part is missing"));
            } else if self.hits(Fault::Failed) {
                fails.insert(item.command.key(), Failed::retryable("UNAVAILABLE", "not now"));
            }
        }
        fails
    }

    fn commit_wave(&mut self, s: usize, n: usize) {
        let live = |world: &World, txn| world.services[s].db.locks.is_live(txn);
        let Some(mut wave) = self.services[s].nodes[n].wave.take() else { return };
        let Some(decided) = wave.decided.take() else { return };
        let met = decided.plan.touches.iter().all(|touch| {
            let key = wave.items[touch.command].command.key();
            self.services[s].db.intents.contains_key(&(key, touch.slot))
        });
        let cut = self.services[s].nodes[n].health.database_wait(self.now).is_some();
        let failed = !live(self, decided.txn) || !met;
        if failed || cut || self.hits(Fault::Conflict) {
            self.services[s].db.locks.end(decided.txn);
            self.services[s].nodes[n].wave = Some(wave);
            return self.look(s, n);
        }
        let unknown = self.hits(Fault::CommitUnknown);
        if !unknown || self.rng.chance(5_000) {
            self.apply(s, n, &wave.items, &decided);
        }
        self.services[s].db.locks.end(decided.txn);
        if unknown {
            // Nothing is said: it is decided again, and finds what it did.
            self.services[s].nodes[n].wave = Some(wave);
            return self.look(s, n);
        }
        if self.maybe_crash_participant(s, n) {
            return;
        }
        for intent in decided.opened.iter().filter(|intent| intent.calls > 0) {
            if let Some(call) = decided.domain.as_ref().and_then(|domain| domain.call(intent)) {
                self.begin_call(s, n, intent.clone(), call, 0);
            }
        }
        let answers = wave.items.into_iter().zip(decided.plan.answers).collect();
        self.answer(s, n, answers);
    }

    /// COMMIT: everything is visible at once.
    fn apply(&mut self, s: usize, n: usize, items: &[Item<Taken>], decided: &Decided) {
        let now = self.now;
        let service = &mut self.services[s];
        let owner = service.nodes[n].instance;
        let mut due = Vec::new();
        for row in &decided.plan.inserts {
            // The planted look-up that decides overwrites what is there.
            service.db.barrier.insert((row.key.clone(), row.slot), row.clone());
        }
        for intent in &decided.opened {
            let call_after = if intent.calls > 0 { now + LEASE_MS } else { now };
            let name = (intent.key.clone(), intent.slot());
            due.push((name.clone(), call_after));
            let intent = intent.clone();
            let row = Open { intent, since: now, key_at: now, call_after, owner, answered: None };
            service.db.intents.insert(name, row);
        }
        for touch in &decided.plan.touches {
            let Item { command, origins } = &items[touch.command];
            let name = (command.key(), touch.slot);
            let Some(open) = service.db.intents.get_mut(&name) else { continue };
            if touch.attempt {
                open.intent.attempt = open.intent.attempt.max(command.attempt);
                open.intent.partition = origins[0].partition as i32;
            }
            if open.answered.take().is_some() {
                open.call_after = now;
                due.push((name, now));
            }
        }
        let written = match &decided.domain {
            Some(domain) => service.db.write(&domain.business),
            None => Vec::new(),
        };
        self.oracle.wrote(s, &written);
        self.judge_order(s, &written);
        for (name, at) in due {
            self.push(at - now, Event::Due { service: s, name, at });
        }
    }

    /// Answers are sent, and what they answer is finished once the broker has them.
    fn answer(&mut self, s: usize, n: usize, answers: Vec<(Item<Taken>, Option<Answer>)>) {
        for (item, answer) in answers {
            let Some(answer) = answer else {
                for taken in &item.origins {
                    self.done(s, n, *taken);
                }
                continue;
            };
            let Command { verb, attempt, .. } = item.command;
            let key = item.command.key();
            self.oracle.answered(s, &key, verb, &answer);
            let value = self.outcome(s, &key, verb, attempt, answer);
            for taken in item.origins {
                if self.maybe_crash_participant(s, n) {
                    return;
                }
                self.tell(s, n, taken, key.saga, Arc::clone(&value));
            }
        }
        self.next_wave(s, n);
    }

    fn tell(&mut self, s: usize, n: usize, taken: Taken, key: Uuid, value: Arc<[u8]>) {
        let wait = self.services[s].nodes[n].health.cut_bus_until - self.now;
        if wait > 0 {
            return self.step(s, n, wait, Step::Tell(taken, key, value));
        }
        let topic = TopicId { service: s, outcomes: true };
        self.produce(topic, taken.partition, key, value);
        self.done(s, n, taken);
    }

    fn done(&mut self, s: usize, n: usize, taken: Taken) {
        let passed = self.bus.done(&mut self.services[s].nodes[n].claims, taken);
        self.oracle.passed_over(taken, passed);
    }

    /// As on the wire.
    pub(crate) fn outcome(&self, s: usize, key: &Key, verb: Verb, attempt: i32, answer: Answer) -> Arc<[u8]> {
        let outcome = wire::Outcome {
            protocol: 1,
            saga_id: key.saga.to_string(),
            step: key.step.clone(),
            verb: verb.wire().into(),
            epoch: key.epoch.unsigned_abs(),
            attempt: attempt.unsigned_abs(),
            participant: self.services[s].name.to_owned(),
            answer: Some(answer),
        };
        outcome.encode_to_vec().into()
    }

    /// It may die here.
    pub(crate) fn maybe_crash_participant(&mut self, s: usize, n: usize) -> bool {
        let dies = self.hits(Fault::CrashParticipant);
        if dies {
            self.crash(NodeId::Participant(s, n));
        }
        dies
    }
}

/// The intents that a plan opens.
fn opened(plan: &Plan, items: &[Item<Taken>], no_place: bool) -> Vec<Intent> {
    let open = |open: &skald_participant::decide::Open| {
        let Item { command, origins } = &items[open.command];
        let key = command.key();
        Intent {
            gateway_key: intent::first_key(&key, open.slot),
            key,
            verb: slot_verb(open.slot),
            attempt: command.attempt,
            calls: i32::from(open.ready && !no_place),
            traceparent: None,
            partition: origins[0].partition as i32,
        }
    };
    plan.opened.iter().map(open).collect()
}

fn slot_verb(slot: Slot) -> Verb {
    slot.verb()
}

impl Any3 {
    /// Only payment's rows, for a settlement.
    pub(crate) fn charges(charges: skald_payment::domain::Charges) -> Any3 {
        Any3 { business: Business::Payment(charges), fails: BTreeMap::new() }
    }
}
