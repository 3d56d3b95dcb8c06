//! The weather over processes and groups: who dies, stands still, is cut off, or is told that it owns something else. And how it ends.

use crate::{
    bus::TopicId,
    faults::Fault,
    gateway::KEY_MARGIN_MS,
    orchestrator,
    world::{Event, NodeId, World},
};

/// A heartbeat is missed after this, ms.
const DEAD_AFTER_MS: i64 = 3_000;
/// The group's coordinator gives up on a member after this, ms.
const SESSION_MS: i64 = 10_000;

/// A participant's clock is off by less than half of the margin that payment keeps, ms: what a longer way back means while a process
/// is suspended as well, is not promised.
const PARTICIPANT_SKEW_MS: i64 = KEY_MARGIN_MS / 6;
/// The service that calls the gateway.
const PAYMENT: usize = 1;

impl World {
    /// A piece of the storm: each kind of fault may come over somebody.
    pub(crate) fn weather(&mut self) {
        let long = (self.storm_ms / 4).clamp(1_000, 24 * 3_600_000);
        if self.hits(Fault::Crash) {
            let node = self.any_node();
            self.crash(node);
        }
        if self.hits(Fault::Freeze) {
            let (node, long) = (self.any_node(), self.rng.magnitude(long));
            self.freeze(node, long);
        }
        if self.hits(Fault::CutFromBus) {
            let (node, long) = (self.any_node(), self.rng.magnitude(long));
            self.health(node).cut_bus_until = self.now + long;
        }
        if self.hits(Fault::CutFromDatabase) {
            let (node, long) = (self.any_node(), self.rng.magnitude(long.min(600_000)));
            self.health(node).cut_database_until = self.now + long;
        }
        if self.oracle.orders && self.hits(Fault::CutFromGateway) {
            let (n, long) = (self.rng.below(self.services[PAYMENT].nodes.len()), self.rng.magnitude(long));
            self.services[PAYMENT].nodes[n].health.cut_gateway_until = self.now + long;
        }
        if self.hits(Fault::Rebalance) {
            let topic = self.any_topic();
            self.split(topic, true);
        }
        if self.hits(Fault::OffsetsReset) {
            let topic = self.any_topic();
            for p in 0..crate::bus::PARTITIONS {
                self.bus.partition(topic, p).committed = 0;
            }
            self.split(topic, true);
        }
        if self.hits(Fault::ClockJump) {
            let ahead = if self.rng.below(2) == 0 { 1 } else { -1 };
            match self.any_node() {
                NodeId::Orchestrator(n) => {
                    self.oracle.jumped();
                    self.orchestrators[n].skew = ahead * self.rng.magnitude(2 * 3_600_000);
                }
                NodeId::Participant(s, n) => {
                    self.services[s].nodes[n].skew = ahead * self.rng.magnitude(PARTICIPANT_SKEW_MS);
                }
            }
        }
        self.roll_out();
        let s = self.rng.below(self.services.len());
        if self.hits(Fault::Silent) {
            self.services[s].silent_until = self.now + self.rng.magnitude(long);
        }
        if self.hits(Fault::Slow) {
            self.services[s].slow_until = self.now + self.rng.magnitude(long);
        }
        if self.hits(Fault::FrozenParticipant) {
            let name = self.services[s].name.to_owned();
            if !self.store.frozen.remove(&name) {
                self.store.frozen.insert(name);
            }
            self.tell_frozen();
        }
        while self.hits(Fault::Operator) {
            let all: Vec<uuid::Uuid> = self.store.sagas.keys().copied().collect();
            if all.is_empty() {
                break;
            }
            let saga = *self.rng.pick(&all);
            self.meddle(saga);
        }
        self.restock();
    }

    /// Participants' older binaries are replaced, one after the other.
    fn roll_out(&mut self) {
        for s in 0..self.services.len() {
            for n in 0..self.services[s].nodes.len() {
                if self.services[s].nodes[n].old && self.rng.below(4) == 0 {
                    self.services[s].nodes[n].old = false;
                    self.crash(NodeId::Participant(s, n));
                }
            }
        }
    }

    /// Somebody brings goods now and then.
    fn restock(&mut self) {
        if self.rng.below(4) == 0 {
            let units = self.rng.between(1, 5);
            let written = self.services[0].db.restock(units);
            self.oracle.wrote(0, &written);
        }
    }

    fn any_node(&mut self) -> NodeId {
        let orchestrators = (0..self.orchestrators.len()).map(NodeId::Orchestrator);
        let participants = (0..self.services.len())
            .flat_map(|s| (0..self.services[s].nodes.len()).map(move |n| NodeId::Participant(s, n)));
        let all: Vec<NodeId> = orchestrators.chain(participants).collect();
        *self.rng.pick(&all)
    }

    fn any_topic(&mut self) -> TopicId {
        let topics = self.bus.topics();
        *self.rng.pick(&topics)
    }

    pub(crate) fn health(&mut self, node: NodeId) -> &mut crate::world::Health {
        match node {
            NodeId::Orchestrator(n) => &mut self.orchestrators[n].health,
            NodeId::Participant(s, n) => &mut self.services[s].nodes[n].health,
        }
    }

    /// The process ends at once: what it had in memory is gone, its transactions are rolled back.
    pub(crate) fn crash(&mut self, node: NodeId) {
        let (fresh, now) = (self.instance(), self.now);
        if self.health(node).down {
            return;
        }
        let health = self.health(node);
        health.down = true;
        health.life += 1;
        health.frozen_until = 0;
        self.missed(node);
        match node {
            NodeId::Orchestrator(n) => {
                self.oracle.budget(&self.orchestrators[n], now, &self.driver);
                if let Some(txn) = self.orchestrators[n].forget(fresh, now, &self.driver) {
                    self.store.locks.end(txn);
                }
            }
            NodeId::Participant(s, n) => {
                for txn in self.services[s].nodes[n].forget(fresh) {
                    self.services[s].db.locks.end(txn);
                }
            }
        }
        let after = self.rng.magnitude(600_000);
        self.push(after, Event::Restart(node));
    }

    /// It stands still, and holds what it holds.
    pub(crate) fn freeze(&mut self, node: NodeId, long: i64) {
        let until = self.now + long;
        let health = self.health(node);
        health.frozen_until = health.frozen_until.max(until);
        if let NodeId::Participant(s, n) = node
            && self.rng.below(2) == 0
        {
            // Not only stopped but suspended: its monotonic clock stands still as well.
            self.services[s].nodes[n].stood += long;
        }
        if long > DEAD_AFTER_MS {
            self.missed(node);
        }
        self.push(long, Event::Revoke(node));
        // Awake, it joins its groups again.
        for topic in self.topics_of(node) {
            self.push(long + 1, Event::Split { topic, all: false });
        }
    }

    /// Others notice that it is gone.
    fn missed(&mut self, node: NodeId) {
        let late = self.rng.between(0, 2_000);
        let event = match node {
            NodeId::Orchestrator(n) => Event::Sweep { gone: self.orchestrators[n].instance },
            NodeId::Participant(s, n) => {
                Event::Adopt { service: s, gone: self.services[s].nodes[n].instance }
            }
        };
        self.push(DEAD_AFTER_MS + late, event);
        for topic in self.topics_of(node) {
            self.push(SESSION_MS, Event::Split { topic, all: false });
        }
    }

    fn topics_of(&self, node: NodeId) -> Vec<TopicId> {
        let mine = |topic: &TopicId| match node {
            NodeId::Orchestrator(_) => topic.outcomes,
            NodeId::Participant(s, _) => !topic.outcomes && topic.service == s,
        };
        self.bus.topics().into_iter().filter(mine).collect()
    }

    pub(crate) fn restart(&mut self, node: NodeId) {
        if !std::mem::take(&mut self.health(node).down) {
            return;
        }
        for topic in self.topics_of(node) {
            self.split(topic, false);
        }
        if let NodeId::Orchestrator(n) = node {
            self.orchestrators[n].frozen = self.store.frozen.clone();
            self.somebody_is_there();
        }
    }

    /// The group's partitions are split among those that are there. Old owners hear of it a little later.
    pub(crate) fn split(&mut self, topic: TopicId, all: bool) {
        let there = if topic.outcomes {
            self.orchestrators_there()
        } else {
            let nodes = &self.services[topic.service].nodes;
            (0..nodes.len()).filter(|&n| nodes[n].health.works(self.now)).collect()
        };
        // Who restarted owns nothing, whatever the coordinator believed.
        for p in 0..crate::bus::PARTITIONS {
            let generation = self.bus.partition(topic, p).generation;
            if let Some(owner) = self.bus.partition(topic, p).owner
                && !self
                    .claims(topic, owner)
                    .iter()
                    .any(|c| (c.topic, c.partition, c.generation) == (topic, p, generation))
            {
                self.bus.partition(topic, p).owner = None;
            }
        }
        let changed = self.bus.split(topic, &there, all, &mut self.rng);
        if changed.is_empty() {
            return;
        }
        for (partition, node) in changed {
            let generation = self.bus.partition(topic, partition).generation;
            let delay = self.rng.magnitude(2_000);
            self.push(delay, Event::Claim { topic, partition, generation, node });
        }
        let members =
            if topic.outcomes { self.orchestrators.len() } else { self.services[topic.service].nodes.len() };
        for n in 0..members {
            let node =
                if topic.outcomes { NodeId::Orchestrator(n) } else { NodeId::Participant(topic.service, n) };
            let delay = self.rng.magnitude(5_000);
            self.push(delay, Event::Revoke(node));
        }
    }

    fn claims(&self, topic: TopicId, node: usize) -> &[crate::bus::Claim] {
        if topic.outcomes {
            &self.orchestrators[node].claims
        } else {
            &self.services[topic.service].nodes[node].claims
        }
    }

    pub(crate) fn claim(&mut self, topic: TopicId, partition: usize, generation: u32, node: usize) {
        if self.bus.partition(topic, partition).generation != generation {
            return;
        }
        let works = if topic.outcomes {
            self.orchestrators[node].health.works(self.now)
        } else {
            self.services[topic.service].nodes[node].health.works(self.now)
        };
        if !works {
            return self.push(SESSION_MS, Event::Split { topic, all: false });
        }
        let claim = self.bus.claim(topic, partition);
        if topic.outcomes {
            self.orchestrators[node].claims.push(claim);
        } else {
            self.services[topic.service].nodes[node].claims.push(claim);
        }
        self.wake_readers(topic, partition);
    }

    /// It hears what it no longer owns.
    pub(crate) fn revoke(&mut self, node: NodeId) {
        let now = self.now;
        if !self.health(node).works(now) {
            return;
        }
        let bus = &self.bus;
        let current = |claim: &crate::bus::Claim| bus.generation(claim) == claim.generation;
        match node {
            NodeId::Orchestrator(n) => {
                self.orchestrators[n].claims.retain(current);
                self.somebody_is_there();
            }
            NodeId::Participant(s, n) => self.services[s].nodes[n].claims.retain(current),
        }
    }

    fn tell_frozen(&mut self) {
        for n in 0..self.orchestrators.len() {
            let delay = self.rng.between(0, 1_000);
            self.orchestrator_step(n, delay, orchestrator::Step::Hear);
        }
    }

    pub(crate) fn thaw_all(&mut self) {
        if !self.store.frozen.is_empty() {
            self.store.frozen.clear();
            self.tell_frozen();
        }
    }

    /// The storm is over: everybody is up, whole and current.
    pub(crate) fn heal(&mut self) {
        self.faults.storm = false;
        let now = self.now;
        // The other company heals when it likes.
        let far = self.gateway.down_until - now > 6 * 3_600_000;
        if !(far && self.rng.below(2) == 0) {
            self.gateway.down_until = now;
        }
        for service in &mut self.services {
            (service.silent_until, service.slow_until) = (now, now);
        }
        let orchestrators = (0..self.orchestrators.len()).map(NodeId::Orchestrator);
        let participants = (0..self.services.len())
            .flat_map(|s| (0..self.services[s].nodes.len()).map(move |n| NodeId::Participant(s, n)));
        for node in orchestrators.chain(participants).collect::<Vec<_>>() {
            // Whoever is old is replaced, and some of those that stand still; the others wake up much later.
            let old = match node {
                NodeId::Orchestrator(n) => std::mem::take(&mut self.orchestrators[n].old),
                NodeId::Participant(s, n) => std::mem::take(&mut self.services[s].nodes[n].old),
            };
            let frozen = self.health(node).frozen_until > now;
            if old || (frozen && self.rng.below(2) == 0) {
                self.crash(node);
            }
            self.health(node).cut_bus_until = now;
            self.health(node).cut_database_until = now;
            self.health(node).cut_gateway_until = now;
            match node {
                NodeId::Orchestrator(n) => self.orchestrators[n].skew = 0,
                NodeId::Participant(s, n) => self.services[s].nodes[n].skew = 0,
            }
            self.restart(node);
        }
        for topic in self.bus.topics() {
            self.split(topic, true);
        }
        self.push(60_000, Event::Tend);
    }
}
