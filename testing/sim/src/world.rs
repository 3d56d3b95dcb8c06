//! The world: one clock, one queue of events, one source of chance. Everything that happens is an event; whatever it leads to is
//! pushed again. No threads, no real time: the same seed is the same run.

use std::{collections::BTreeMap, sync::Arc};

use prost::Message;
use skald_core::Definition;
use skald_inventory::allocation::Counters;
use skald_kit::ids;
use skald_participant::{HORIZON, Key, Slot, decide::Bounds};
use skald_proto::participant::v1 as wire;
use skald_server::config::Driver;
use uuid::Uuid;

use crate::{
    bus::{Bus, PARTITIONS, Record, TopicId},
    clients::{Clients, Deed, Reply},
    definitions,
    faults::{Fault, Faults},
    gateway::{Gateway, Request},
    operators::Operators,
    oracle::{Oracle, Violation, facts::difference},
    orchestrator::{self, Orchestrator, store::Store},
    participant::{
        self, Service,
        db::{Db, Tables},
        domain::Kind,
    },
    queue::Queue,
    rng::Rng,
    tally::Tally,
};

/// When every run begins, ms since the epoch.
const BEGIN: i64 = 1_767_225_600_000;
/// Events at most, once the storm is over, and more for each saga: beyond, it never comes to rest.
const MAX_EVENTS: u64 = 100_000;
const MAX_EVENTS_PER_SAGA: u64 = 5_000;
/// And for each message that was sent by then and may come once more.
const MAX_EVENTS_PER_MESSAGE: u64 = 20;

/// What is run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Decides everything.
    pub seed: u64,
    /// How many sagas.
    pub sagas: usize,
    /// Faults that don't happen.
    pub without: Vec<Fault>,
    /// Every event is written down.
    pub trace: bool,
}

/// What became of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Promises that were broken.
    pub violations: Vec<Violation>,
    /// What was exercised.
    pub tally: Tally,
    /// How many events there were.
    pub events: u64,
    /// How much time passed in it, ms.
    pub passed_ms: i64,
    /// A fingerprint of everything that happened, in order.
    pub fingerprint: u64,
    /// Every event, when that was asked for.
    pub trace: Vec<String>,
}

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeId {
    Orchestrator(usize),
    Participant(usize, usize),
}

/// How a process is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Health {
    /// Rises with each start: what an older one had in mind no longer counts.
    pub life: u32,
    pub down: bool,
    pub frozen_until: i64,
    pub cut_bus_until: i64,
    pub cut_database_until: i64,
    /// Of who calls it.
    pub cut_gateway_until: i64,
}

impl Health {
    /// Up and not frozen.
    pub(crate) fn works(&self, now: i64) -> bool {
        !self.down && self.frozen_until <= now
    }

    /// How long until the database can be reached again, if it can't.
    pub(crate) fn database_wait(&self, now: i64) -> Option<i64> {
        (self.cut_database_until > now).then(|| self.cut_database_until - now)
    }
}

/// Everything that can happen.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Append { topic: TopicId, partition: usize, key: Uuid, value: Arc<[u8]> },
    Orchestrator { node: usize, life: u32, step: orchestrator::Step },
    Participant { service: usize, node: usize, life: u32, step: participant::Step },
    Gateway { service: usize, node: usize, life: u32, id: u64, request: Request, lost: bool },
    Due { service: usize, name: (Key, Slot), at: i64 },
    Adopt { service: usize, gone: Uuid },
    Net { saga: Uuid, wake_at: i64 },
    Sweep { gone: Uuid },
    Client { order: usize, deed: Deed },
    Patience { call: u64 },
    Reply { call: u64, reply: Reply },
    Meddle(Uuid),
    Tend,
    Weather,
    Heal,
    Restart(NodeId),
    Split { topic: TopicId, all: bool },
    Claim { topic: TopicId, partition: usize, generation: u32, node: usize },
    Revoke(NodeId),
}

/// See the room's head.
pub(crate) struct World {
    pub(crate) now: i64,
    pub(crate) rng: Rng,
    pub(crate) faults: Faults,
    pub(crate) tally: Tally,
    pub(crate) bus: Bus,
    pub(crate) driver: Driver,
    pub(crate) store: Store,
    pub(crate) orchestrators: Vec<Orchestrator>,
    pub(crate) services: Vec<Service>,
    pub(crate) gateway: Gateway,
    pub(crate) clients: Clients,
    pub(crate) operators: Operators,
    pub(crate) oracle: Oracle,
    /// New binaries write a newer format here.
    pub(crate) newer_format: bool,
    /// How often operators looked since the storm.
    pub(crate) tended: u32,
    /// How long the storm lasts, ms.
    pub(crate) storm_ms: i64,
    queue: Queue<Event>,
    /// What waits until some orchestrator is there again.
    waiting: Vec<Event>,
    count: u64,
    events: u64,
    fingerprint: u64,
    trace: Option<Vec<String>>,
}

/// Runs one seed to its end, and judges it.
#[must_use]
pub fn run(options: &Options) -> Report {
    let mut world = World::new(options);
    let most = MAX_EVENTS + MAX_EVENTS_PER_SAGA * options.sagas as u64;
    world.until_rest(most);
    world.judge();
    if world.rng.below(2) == 0 && world.oracle.violations.is_empty() {
        world.haunt(most);
    }
    let World { oracle, tally, events, now, fingerprint, trace, .. } = world;
    Report {
        violations: oracle.violations,
        tally,
        events,
        passed_ms: now - BEGIN,
        fingerprint,
        trace: trace.unwrap_or_default(),
    }
}

impl World {
    fn new(options: &Options) -> World {
        let mut rng = Rng::new(options.seed);
        let faults = Faults::draw(&mut rng, &options.without);
        let orders = rng.below(3) > 0;
        let bounds = Bounds {
            oldest: ids::lower_bound(BEGIN - HORIZON.as_millis() as i64),
            newest: ids::lower_bound(BEGIN + 60 * 24 * 3_600_000),
        };
        let skus = rng.below(4) + 1;
        let services = services(&mut rng, orders, skus, bounds, options.sagas);
        let topics = services.len();
        let mut driver = Driver::default();
        if rng.below(16) > 0 {
            // As it ships in one run of sixteen; else looks into a long silence become rare, for each costs time here.
            driver.resend_gaps_ms = vec![2_000, 5_000, 15_000, 60_000, 300_000, 1_800_000];
        }
        if rng.below(3) == 0 {
            // A budget that even a few sagas use up.
            (driver.resend_canaries_per_second, driver.resend_share) = (0.01, 0.01);
        }
        let mut world = World {
            now: BEGIN,
            faults,
            tally: Tally::default(),
            bus: Bus::new(topics),
            driver,
            store: Store::default(),
            orchestrators: Vec::new(),
            services,
            gateway: Gateway::default(),
            clients: Clients::default(),
            operators: Operators::default(),
            oracle: Oracle::new(orders),
            newer_format: false,
            tended: 0,
            storm_ms: 0,
            queue: Queue::default(),
            waiting: Vec::new(),
            count: 0,
            events: 0,
            fingerprint: 0,
            trace: options.trace.then(Vec::new),
            rng,
        };
        world.people(options.sagas, orders, skus);
        world
    }

    fn people(&mut self, sagas: usize, orders: bool, skus: usize) {
        for _ in 0..2 + self.rng.below(2) {
            let instance = self.instance();
            let mut node = Orchestrator::new(instance, self.now, &self.driver);
            node.old = self.hits(Fault::OldOrchestrator);
            self.orchestrators.push(node);
        }
        self.newer_format = self.orchestrators.iter().any(|node| node.old);
        for s in 0..self.services.len() {
            for _ in 0..2 {
                let mut node = participant::Node::new(self.instance());
                node.old = self.hits(Fault::OldParticipant);
                self.services[s].nodes.push(node);
            }
        }
        for topic in self.bus.topics() {
            self.split(topic, true);
        }
        self.storm_ms = 60_000 + self.rng.magnitude(3 * 24 * 3_600_000);
        let definitions: Vec<Arc<Definition>> = match orders {
            true => [false, true].map(|parks| Arc::new(definitions::order(parks))).into(),
            false => (0..3).map(|_| Arc::new(definitions::random(&mut self.rng))).collect(),
        };
        for number in 0..sagas as u32 {
            let definition = Arc::clone(self.rng.pick(&definitions));
            let order = self.new_order(number, definition, skus);
            self.clients.orders.push(order);
            let order = number as usize;
            let at = self.rng.between(0, self.storm_ms / 2);
            self.push(at, Event::Client { order, deed: Deed::Submit { again: false } });
            if self.hits(Fault::ClientRepeats) {
                let later = self.rng.magnitude(60_000);
                self.push(at + later, Event::Client { order, deed: Deed::Submit { again: true } });
                self.push(at + later * 2, Event::Client { order, deed: Deed::Confuse });
            }
        }
        for tenth in 1..=40 {
            self.push(self.storm_ms * tenth / 40, Event::Weather);
        }
        self.push(self.storm_ms, Event::Heal);
    }

    pub(crate) fn instance(&mut self) -> Uuid {
        Uuid::from_u64_pair(self.rng.bits(), self.rng.bits())
    }

    /// A number that was not used before.
    pub(crate) fn fresh(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// Something happens after `delay` ms.
    pub(crate) fn push(&mut self, delay: i64, event: Event) {
        let order = self.fresh();
        self.queue.push(self.now + delay.max(0), order, event);
    }

    /// It happens soon after some orchestrator is there again.
    pub(crate) fn when_somebody_is_there(&mut self, event: Event) {
        self.waiting.push(event);
    }

    /// An orchestrator is there: whoever waited for one notices within half a minute.
    pub(crate) fn somebody_is_there(&mut self) {
        for event in std::mem::take(&mut self.waiting) {
            let delay = self.rng.between(0, 30_000);
            self.push(delay, event);
        }
    }

    /// How long a step or a hop takes, ms.
    pub(crate) fn latency(&mut self) -> i64 {
        self.rng.between(1, 8)
    }

    /// Whether the fault happens now.
    pub(crate) fn hits(&mut self, fault: Fault) -> bool {
        let rate = self.faults.rate(fault);
        let hits = self.rng.chance(rate);
        if hits {
            self.tally.fault(fault);
        }
        hits
    }

    /// Everything that is queued happens, until nothing is.
    pub(crate) fn until_rest(&mut self, most: u64) {
        let most = |world: &World| {
            // The gateway may be down for a day more, and all that while everybody looks.
            let patience = if world.gateway.down_until > world.now { 5 } else { 1 };
            most * patience + MAX_EVENTS_PER_MESSAGE * world.bus.messages()
        };
        let (mut from, mut most_of_all, mut storm) = (self.events, most(self), self.faults.storm);
        while let Some((at, event)) = self.queue.pop() {
            self.now = self.now.max(at);
            self.events += 1;
            if storm && !self.faults.storm {
                (from, most_of_all, storm) = (self.events, most(self), false);
            }
            if !storm && self.events - from > most_of_all {
                let what = format!("after {most_of_all} events it is not at rest");
                return self.oracle.violation("lost", what);
            }
            let mix = (at as u64) ^ self.fingerprint.rotate_left(7);
            self.fingerprint = mix.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ self.rng_state();
            if let Some(trace) = &mut self.trace {
                trace.push(format!("{:>12} {}", at - BEGIN, told(&event)));
            }
            self.happens(event);
            if !self.oracle.violations.is_empty() {
                return;
            }
        }
    }

    fn rng_state(&self) -> u64 {
        // The next number tells all of what was drawn so far.
        self.rng.clone().bits()
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Orchestrator { node, life, step } => {
                let health = self.orchestrators[node].health;
                if health.life != life || health.down {
                    return;
                }
                if health.frozen_until > self.now {
                    let wait = health.frozen_until - self.now;
                    return self.push(wait, Event::Orchestrator { node, life, step });
                }
                self.orchestrate(node, step);
            }
            Event::Participant { service, node, life, step } => {
                let health = self.services[service].nodes[node].health;
                if health.life != life || health.down {
                    return;
                }
                if health.frozen_until > self.now {
                    let wait = health.frozen_until - self.now;
                    return self.push(wait, Event::Participant { service, node, life, step });
                }
                self.participant(service, node, step);
            }
            Event::Append { topic, partition, key, value } => self.append(topic, partition, key, value),
            Event::Gateway { service, node, life, id, request, lost } => {
                self.at_gateway((service, node, life), id, &request, lost);
            }
            Event::Due { service, name, at } => self.due(service, name, at),
            Event::Adopt { service, gone } => self.adopt(service, gone),
            Event::Net { saga, wake_at } => self.net(saga, wake_at),
            Event::Sweep { gone } => self.sweep(gone),
            Event::Client { order, deed } => self.client(order, deed),
            Event::Patience { call } => self.patience(call),
            Event::Reply { call, reply } => self.told(call, reply),
            Event::Meddle(saga) => self.meddle(saga),
            Event::Tend => self.tend(),
            Event::Weather => self.weather(),
            Event::Heal => self.heal(),
            Event::Restart(node) => self.restart(node),
            Event::Split { topic, all } => self.split(topic, all),
            Event::Claim { topic, partition, generation, node } => {
                self.claim(topic, partition, generation, node);
            }
            Event::Revoke(node) => self.revoke(node),
        }
    }

    /// A message is handed to the client library; whatever can happen to it happens.
    pub(crate) fn produce(&mut self, topic: TopicId, partition: usize, key: Uuid, value: Arc<[u8]>) {
        if self.hits(Fault::Lost) {
            return;
        }
        let copies = 1 + usize::from(self.hits(Fault::Duplicated));
        for _ in 0..copies {
            let mut delay = self.rng.between(0, 3);
            if self.hits(Fault::Reordered) {
                delay += self.rng.magnitude(60_000);
            }
            if self.hits(Fault::Delayed) {
                delay += self.rng.magnitude(3 * 24 * 3_600_000);
            }
            let value = if self.hits(Fault::Broken) { [0xff; 9].into() } else { Arc::clone(&value) };
            self.push(delay, Event::Append { topic, partition, key, value });
        }
    }

    fn append(&mut self, topic: TopicId, partition: usize, key: Uuid, value: Arc<[u8]>) {
        self.bus.partition(topic, partition).log.push(Record { key, value });
        self.wake_readers(topic, partition);
    }

    /// Whoever believes to own the partition looks.
    pub(crate) fn wake_readers(&mut self, topic: TopicId, partition: usize) {
        let owns = |claims: &[crate::bus::Claim]| {
            claims.iter().any(|claim| claim.topic == topic && claim.partition == partition)
        };
        if topic.outcomes {
            for n in 0..self.orchestrators.len() {
                if owns(&self.orchestrators[n].claims) {
                    self.wake_orchestrator(n);
                }
            }
        } else {
            for n in 0..self.services[topic.service].nodes.len() {
                if owns(&self.services[topic.service].nodes[n].claims) {
                    self.wake_participant(topic.service, n);
                }
            }
        }
    }

    /// Long after: everything that was ever sent comes once more. With or without what is remembered, nothing changes.
    fn haunt(&mut self, most: u64) {
        let forgets = self.rng.below(2) == 0;
        if forgets {
            self.now += 50 * 24 * 3_600_000;
            let oldest = ids::lower_bound(self.now - HORIZON.as_millis() as i64);
            for service in &mut self.services {
                service.db.bounds.oldest = oldest;
                service.db.bounds.newest = ids::lower_bound(self.now + 60 * 24 * 3_600_000);
                service.db.barrier.retain(|(key, _), _| key.saga >= oldest);
            }
            self.tally.add("haunted: after partitions were dropped");
        } else {
            self.tally.add("haunted: at once");
        }
        let before = self.facts();
        for topic in self.bus.topics() {
            for p in 0..PARTITIONS {
                self.bus.partition(topic, p).committed = 0;
            }
            self.split(topic, true);
        }
        // A late answer may call a person to a saga on which somebody acted without a fence.
        self.tended = 0;
        self.push(7 * 24 * 3_600_000, Event::Tend);
        self.until_rest(most);
        if let Some(what) = difference(&before, &self.facts()) {
            self.oracle.violation("once", format!("what was sent long ago came again: {what}"));
        }
    }
}

/// An event for people: messages as what they say.
fn told(event: &Event) -> String {
    let Event::Append { topic, value, .. } = event else { return format!("{event:?}") };
    let name = if topic.outcomes { "Outcome" } else { "Command" };
    match topic.outcomes {
        true => match wire::Outcome::decode(&value[..]) {
            Ok(o) => format!(
                "{name} {} {} {:?} epoch {} attempt {} {:?}",
                o.saga_id,
                o.step,
                o.verb(),
                o.epoch,
                o.attempt,
                o.answer
            ),
            Err(_) => format!("{name} that is broken"),
        },
        false => match wire::Command::decode(&value[..]) {
            Ok(c) => format!(
                "{name} {} {} {:?} epoch {} attempt {}",
                c.saga_id,
                c.step,
                c.verb(),
                c.epoch,
                c.attempt
            ),
            Err(_) => format!("{name} that is broken"),
        },
    }
}

fn services(rng: &mut Rng, orders: bool, skus: usize, bounds: Bounds, sagas: usize) -> Vec<Service> {
    let service = |name, kind, tables| Service {
        name,
        kind,
        db: Db::new(tables, bounds),
        nodes: Vec::new(),
        silent_until: 0,
        slow_until: 0,
    };
    if !orders {
        let rejects = [0, 3, 9][rng.below(3)];
        let plain = || Tables::Plain { effects: BTreeMap::new(), rejects };
        return definitions::PLAIN.map(|name| service(name, Kind::Plain, plain())).into();
    }
    // From tiny to plenty.
    let most = [2, sagas as i64, sagas as i64 * 20, sagas as i64 * 20][rng.below(4)].max(1);
    let counters = |n| Counters { stocked: n, available: n, ..Counters::default() };
    let stock = (0..skus).map(|i| (format!("sku-{i}"), counters(rng.between(1, most)))).collect();
    vec![
        service("inventory", Kind::Inventory, Tables::Inventory { stock, reservations: BTreeMap::new() }),
        service("payment", Kind::Payment, Tables::Payment { charges: BTreeMap::new() }),
    ]
}
