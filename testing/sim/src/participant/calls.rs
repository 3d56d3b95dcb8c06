//! Calls to the gateway and what becomes of them: payment's real `calls` and the runtime's real `resolve` decide; here they only
//! take their time, get lost and meet a frozen process.

use skald_participant::{
    CallResult, Domain, Intent, Key, Settlement, Slot,
    barrier::{Row, Verdict},
    decide::UNRESOLVED,
    intent::{
        next_key,
        resolve::{How, Need, Resolution, need, once_each, resolve},
    },
};
use skald_payment::{
    calls::{self, Next},
    domain::Call,
    gateway::{Answer, Fault as GatewayFault, Kind},
};
use skald_proto::participant::v1::{self as wire, outcome};

use super::{Step, domain::Any3};
use crate::{
    bus::TopicId,
    faults::Fault,
    gateway::{KEY_LIFETIME_MS, KEY_MARGIN_MS, Request},
    planted,
    world::{Event, NodeId, World},
};

/// A call is given up after this, ms; what it asked may still arrive.
const TIMEOUT_MS: i64 = 10_000;
/// An undo behind its action is looked at again after this at first, ms.
const BEHIND_MS: i64 = 5_000;

/// A call under way.
#[derive(Debug)]
pub(crate) struct Calling {
    intent: Intent,
    call: Call,
    /// Nothing may be sent with its key from then on: by the monotonic clock, and by the one on the wall, ms.
    deadline: (i64, i64),
}

/// What happens to a call.
#[derive(Clone, Debug)]
pub(crate) enum CallEvent {
    Begin,
    Found { too_old: bool, answer: Result<Option<Answer>, GatewayFault> },
    Sent(Result<Answer, GatewayFault>),
    TimedOut,
}

impl super::Node {
    /// What its monotonic clock shows, and the one on its wall, ms.
    fn clocks(&self, now: i64) -> (i64, i64) {
        (now - self.stood, now + self.skew)
    }
}

/// A settling transaction.
#[derive(Debug)]
pub(crate) struct Settling {
    pub txn: u64,
    all: Vec<Resolution>,
    domain: Any3,
}

impl World {
    /// A call begins; `age`: how old its key is, ms.
    pub(crate) fn begin_call(&mut self, s: usize, n: usize, intent: Intent, call: Call, age: i64) {
        let id = self.fresh();
        let left = KEY_LIFETIME_MS - KEY_MARGIN_MS - age;
        let (monotonic, wall) = self.services[s].nodes[n].clocks(self.now);
        let deadline = (monotonic + left, wall + left);
        self.services[s].nodes[n].calls.insert(id, Calling { intent, call, deadline });
        let delay = self.latency();
        self.step(s, n, delay, Step::Call(id, CallEvent::Begin));
        self.step(s, n, delay + TIMEOUT_MS, Step::Call(id, CallEvent::TimedOut));
        if self.hits(Fault::FrozenBeforeCall) {
            // Between intent and call.
            let long = match self.rng.below(3) {
                0 => self.rng.between(22, 30) * 3_600_000,
                _ => self.rng.magnitude(KEY_LIFETIME_MS),
            };
            self.freeze(NodeId::Participant(s, n), long);
        }
    }

    pub(crate) fn call(&mut self, s: usize, n: usize, id: u64, event: CallEvent) {
        let (monotonic, wall) = self.services[s].nodes[n].clocks(self.now);
        let Some(calling) = self.services[s].nodes[n].calls.get(&id) else { return };
        let by_wall = wall >= calling.deadline.1 && !planted::is("deadline_by_one_clock");
        let passed = monotonic >= calling.deadline.0 || by_wall;
        let passed = passed && !planted::is("deadline_not_checked");
        let next = match event {
            CallEvent::Begin => calls::begin(&calling.intent, passed),
            CallEvent::Found { too_old, answer } => calls::found(&calling.call, answer, too_old, passed),
            CallEvent::Sent(answer) => Next::Done(calls::sent(&calling.call, answer)),
            CallEvent::TimedOut => Next::Done(CallResult::Unknown { retry_after: None }),
        };
        match next {
            Next::Find { too_old } => self.search(s, n, id, too_old),
            Next::Send => self.send_request(s, n, id),
            Next::Done(result) => {
                let Some(calling) = self.services[s].nodes[n].calls.remove(&id) else { return };
                self.ended(s, n, resolve(calling.intent, How::Called(result)));
            }
        }
    }

    fn search(&mut self, s: usize, n: usize, id: u64, too_old: bool) {
        let calling = &self.services[s].nodes[n].calls[&id];
        let Intent { gateway_key, .. } = &calling.intent;
        let our_ref = calling.intent.our_ref();
        let answer = self.gateway.find(self.now, kind(&calling.call), &our_ref, gateway_key);
        let answer = match self.gateway_fault(s, n) {
            Some(fault) => Err(fault),
            None => Ok(answer),
        };
        let delay = self.gateway_latency();
        self.step(s, n, delay, Step::Call(id, CallEvent::Found { too_old, answer }));
    }

    /// The check was made; from here on the request is on its way.
    fn send_request(&mut self, s: usize, n: usize, id: u64) {
        if self.hits(Fault::FrozenBeforeCall) {
            // Between the check and the socket, for less than the margin.
            let long = self.rng.magnitude(KEY_MARGIN_MS / 2);
            self.freeze(NodeId::Participant(s, n), long);
        }
        let fault = self.gateway_fault(s, n);
        if let Some(fault @ (GatewayFault::Unavailable | GatewayFault::Open { .. })) = fault {
            let delay = self.latency();
            return self.step(s, n, delay, Step::Call(id, CallEvent::Sent(Err(fault))));
        }
        let calling = &self.services[s].nodes[n].calls[&id];
        let amount = match &calling.call {
            Call::Charge { amount_minor, .. } | Call::Refund { amount_minor, .. } => *amount_minor,
        };
        let request = Request {
            kind: kind(&calling.call),
            key: calling.intent.gateway_key.clone(),
            our_ref: calling.intent.our_ref(),
            amount,
        };
        let thaws = (self.services[s].nodes[n].health.frozen_until - self.now).max(0);
        let delay = thaws + self.gateway_latency();
        *self.gateway.under_way.entry(request.our_ref.clone()).or_default() += 1;
        let life = self.services[s].nodes[n].health.life;
        self.push(delay, Event::Gateway { service: s, node: n, life, id, request, lost: fault.is_some() });
    }

    /// A request arrives at the gateway, or is lost on the way.
    pub(crate) fn at_gateway(&mut self, caller: (usize, usize, u32), id: u64, request: &Request, lost: bool) {
        if let Some(n) = self.gateway.under_way.get_mut(&request.our_ref) {
            *n -= 1;
        }
        if lost {
            return;
        }
        let declines = self.hits(Fault::Declined);
        let answer = self.gateway.ask(self.now, request, declines);
        self.oracle.moved(&self.gateway, request);
        let (service, node, life) = caller;
        if self.hits(Fault::GatewayAnswerLost) {
            return;
        }
        let step = Step::Call(id, CallEvent::Sent(Ok(answer)));
        let delay = self.gateway_latency();
        self.push(delay, Event::Participant { service, node, life, step });
    }

    fn gateway_fault(&mut self, s: usize, n: usize) -> Option<GatewayFault> {
        if self.gateway.down_until <= self.now && self.hits(Fault::GatewayDown) {
            let long = match self.rng.below(8) {
                0 => self.rng.between(22, 30) * 3_600_000,
                _ => self.rng.magnitude(3_600_000),
            };
            self.gateway.down_until = self.now + long;
        }
        let cut = self.services[s].nodes[n].health.cut_gateway_until;
        if self.gateway.down_until.max(cut) <= self.now {
            return None;
        }
        // The breaker is open most of the time.
        Some(match self.rng.below(12) {
            0 => GatewayFault::Lost,
            1 => GatewayFault::Unavailable,
            _ => GatewayFault::Open { retry_after: std::time::Duration::from_secs(600) },
        })
    }

    fn gateway_latency(&mut self) -> i64 {
        if self.hits(Fault::GatewaySlow) { self.rng.magnitude(30_000) } else { self.rng.between(5, 300) }
    }

    /// A call ended: it is settled with whatever else waits.
    pub(crate) fn ended(&mut self, s: usize, n: usize, resolution: Resolution) {
        self.services[s].nodes[n].settling.push(resolution);
        if self.services[s].nodes[n].settle.is_none() {
            let delay = self.latency();
            self.step(s, n, delay, Step::SettleLock);
        }
    }

    pub(crate) fn settle_lock(&mut self, s: usize, n: usize) {
        if let Some(wait) = self.services[s].nodes[n].health.database_wait(self.now) {
            return self.step(s, n, wait, Step::SettleLock);
        }
        let now = self.now;
        let service = &mut self.services[s];
        let node = &mut service.nodes[n];
        if node.settle.is_some() || node.settling.is_empty() {
            return;
        }
        let all = once_each(std::mem::take(&mut node.settling));
        let txn = service.db.locks.begin(now);
        let keys = all.iter().map(|resolution| resolution.intent().key.clone());
        match service.db.charges(txn, keys, now) {
            Err(_) => {
                service.db.locks.end(txn);
                node.settling = all;
                self.wait_for_lock(s, n, Step::SettleLock);
            }
            Ok(charges) => {
                node.wait = 0;
                node.settle = Some(Settling { txn, all, domain: Any3::charges(charges) });
                let delay = self.latency();
                self.step(s, n, delay, Step::SettleCommit);
            }
        }
    }

    pub(crate) fn settle_commit(&mut self, s: usize, n: usize) {
        let Some(Settling { txn, all, mut domain }) = self.services[s].nodes[n].settle.take() else { return };
        let again = |world: &mut World, all| {
            world.services[s].nodes[n].settling.splice(0..0, all);
            world.step(s, n, 50, Step::SettleLock);
        };
        let cut = self.services[s].nodes[n].health.database_wait(self.now).is_some();
        if cut || !self.services[s].db.locks.is_live(txn) || self.hits(Fault::Conflict) {
            self.services[s].db.locks.end(txn);
            return again(self, all);
        }
        if self.maybe_crash_participant(s, n) {
            return;
        }
        let unknown = self.hits(Fault::CommitUnknown);
        let mut replies = Vec::new();
        if !unknown || self.rng.chance(5_000) {
            replies = self.settle_rows(s, n, &all, &mut domain);
        }
        self.services[s].db.locks.end(txn);
        if unknown {
            return again(self, all);
        }
        if self.maybe_crash_participant(s, n) {
            return;
        }
        self.reply_to_intents(s, replies);
        if !self.services[s].nodes[n].settling.is_empty() {
            self.step(s, n, 1, Step::SettleLock);
        }
    }

    fn reply_to_intents(&mut self, s: usize, replies: Vec<(Intent, outcome::Answer)>) {
        for (intent, answer) in replies {
            self.oracle.answered(s, &intent.key, intent.verb, &answer);
            let value = self.outcome(s, &intent.key, intent.verb, intent.attempt, answer);
            let topic = TopicId { service: s, outcomes: true };
            self.produce(topic, intent.partition as usize, intent.key.saga, value);
        }
    }

    /// The settling transaction's effect; gives whom to answer.
    fn settle_rows(
        &mut self,
        s: usize,
        n: usize,
        all: &[Resolution],
        domain: &mut Any3,
    ) -> Vec<(Intent, outcome::Answer)> {
        let now = self.now;
        let mut replies = Vec::new();
        let mut due = Vec::new();
        let service = &mut self.services[s];
        let me = service.nodes[n].instance;
        for resolution in all {
            let name = (resolution.intent().key.clone(), resolution.intent().slot());
            match resolution {
                Resolution::Settled { intent, verdict, settlement, answer } => {
                    // Settled by someone else, who answers.
                    if !service.db.is_intent(&name.0, name.1) {
                        continue;
                    }
                    let stored = (*verdict != Verdict::Nothing).then(|| answer.clone());
                    let row = Row { key: name.0.clone(), slot: name.1, verdict: *verdict, answer: stored };
                    service.db.barrier.insert(name.clone(), row);
                    if let Some(open) = service.db.intents.remove(&name) {
                        replies.push((open.intent, answer.clone()));
                    }
                    if let Some(settlement) = settlement {
                        domain.settle(intent, settlement);
                    }
                    let undo = (name.0, Slot::Undo);
                    if name.1 == Slot::Run
                        && let Some(open) = service.db.intents.get_mut(&undo)
                    {
                        (open.call_after, open.answered) = (now, None);
                        due.push((undo, now));
                    }
                }
                Resolution::Open { postponed, .. } | Resolution::Unresolved { postponed } => {
                    let Some(open) = service.db.intents.get_mut(&name) else { continue };
                    if open.intent.gateway_key != postponed.intent.gateway_key {
                        continue;
                    }
                    if let Some(key) = &postponed.next_key {
                        (open.intent.gateway_key, open.key_at, open.intent.calls) = (key.clone(), now, 0);
                    } else {
                        open.intent.calls = (open.intent.calls - i32::from(postponed.unsent)).max(0);
                    }
                    let delay = postponed.delay.map(|delay| delay.as_millis() as i64);
                    // Who no longer owns it neither moves its time nor ends its sleep.
                    let mine = delay.is_none() || open.owner == me;
                    if mine {
                        open.call_after = delay.map_or(i64::MAX, |delay| now + delay);
                    }
                    if mine || planted::is("a_late_call_ends_the_sleep") {
                        open.answered.clone_from(&postponed.answered);
                    }
                    let open = open.clone();
                    if open.call_after < i64::MAX {
                        due.push((name.clone(), open.call_after));
                    }
                    match resolution {
                        Resolution::Open { failed: Some(failed), .. } => {
                            replies.push((open.intent, failed.clone().into()));
                        }
                        Resolution::Unresolved { .. } => {
                            domain.settle(&open.intent, &Settlement::Unresolved);
                            self.tally.add("payment: unresolved");
                            replies.push((open.intent, unresolved()));
                            let undo = (name.0, Slot::Undo);
                            if name.1 == Slot::Run
                                && let Some(open) = service.db.intents.get_mut(&undo)
                            {
                                (open.call_after, open.answered) = (i64::MAX, Some(UNRESOLVED.to_owned()));
                                replies.push((open.intent.clone(), unresolved()));
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
        service.db.write(&domain.business);
        for (name, at) in due {
            self.push(at - now, Event::Due { service: s, name, at });
        }
        replies
    }

    /// An intent is due: whoever is up takes it.
    pub(crate) fn due(&mut self, s: usize, name: (Key, Slot), at: i64) {
        let now = self.now;
        if self.services[s].db.intents.get(&name).is_none_or(|open| open.call_after != at) {
            return;
        }
        let there: Vec<usize> = (0..self.services[s].nodes.len())
            .filter(|&n| self.services[s].nodes[n].health.works(now))
            .collect();
        if there.is_empty() {
            return self.push(300_000, Event::Due { service: s, name, at });
        }
        let n = *self.rng.pick(&there);
        let service = &mut self.services[s];
        let verdict = |slot| service.db.barrier.get(&(name.0.clone(), slot)).map(|row: &Row| row.verdict);
        let need = need(name.1, verdict(Slot::Run), verdict(Slot::Undo));
        let early = need == Need::Behind && planted::is("undo_waits_for_nothing");
        let need = if early { Need::Nothing } else { need };
        let Some(open) = service.db.intents.get_mut(&name) else { return };
        open.owner = service.nodes[n].instance;
        if open.intent.calls == 0 {
            open.key_at = now;
        }
        open.intent.calls += i32::from(need == Need::Call);
        open.call_after = match need {
            // What it waits for wakes it; so the longer it waits the less it looks.
            Need::Behind => now + BEHIND_MS.max((now - open.since) / 8),
            Need::Stale => i64::MAX,
            Need::Call | Need::Nothing => now + super::LEASE_MS,
        };
        let (intent, after, age) = (open.intent.clone(), open.call_after, now - open.key_at);
        if after < i64::MAX {
            self.push(after - now, Event::Due { service: s, name, at: after });
        }
        match need {
            Need::Call => {
                let domain = self.services[s].db.read_charges(std::iter::once(intent.key.clone()));
                if let Some(call) = domain.call(&intent) {
                    self.begin_call(s, n, intent, call, age);
                }
            }
            Need::Nothing => self.ended(s, n, resolve(intent, How::NothingToUndo)),
            Need::Behind => {}
            Need::Stale => self.oracle.violation("once", format!("a stale intent: {intent:?}")),
        }
    }

    /// What a dead instance worked on is due now.
    pub(crate) fn adopt(&mut self, s: usize, gone: uuid::Uuid) {
        let now = self.now;
        let Some(n) =
            (0..self.services[s].nodes.len()).find(|&n| self.services[s].nodes[n].health.works(now))
        else {
            return self.push(300_000, Event::Adopt { service: s, gone });
        };
        let service = &mut self.services[s];
        let me = service.nodes[n].instance;
        let mut due = Vec::new();
        for (name, open) in &mut service.db.intents {
            if open.owner == gone && open.owner != me && open.call_after > now && open.call_after < i64::MAX {
                (open.owner, open.call_after) = (me, now);
                due.push(name.clone());
            }
        }
        for name in due {
            self.push(0, Event::Due { service: s, name, at: now });
        }
    }

    /// A named person settles what is unresolved, as the gateway's records say; nothing of it is on its way any more.
    pub(crate) fn settle_by_hand(&mut self, s: usize) {
        let waits = |open: &&super::db::Open| open.answered.as_deref() == Some(UNRESOLVED);
        let all: Vec<Intent> =
            self.services[s].db.intents.values().filter(waits).map(|open| open.intent.clone()).collect();
        for intent in all {
            let our_ref = intent.our_ref();
            let run = self.services[s].db.barrier.get(&(intent.key.clone(), Slot::Run));
            let behind = intent.slot() == Slot::Undo && run.is_none_or(|run| run.verdict != Verdict::Done);
            if behind || self.gateway.under_way.get(&our_ref).is_some_and(|n| *n > 0) {
                continue;
            }
            let now = self.now;
            let service = &mut self.services[s];
            let txn = service.db.locks.begin(now);
            let Ok(charges) = service.db.charges(txn, std::iter::once(intent.key.clone()), now) else {
                service.db.locks.end(txn);
                continue;
            };
            let Some(call) = charges.call(&intent) else {
                service.db.locks.end(txn);
                continue;
            };
            let mut domain = Any3::charges(charges);
            let found = self.gateway.find(now, kind(&call), &our_ref, &intent.gateway_key);
            self.tally.add("payment: settled by hand");
            match found {
                Some(answer) => {
                    let result = calls::sent(&call, Ok(answer));
                    match resolve(intent.clone(), How::Called(result)) {
                        resolution @ Resolution::Settled { .. } => {
                            let replies = self.settle_rows(s, 0, &[resolution], &mut domain);
                            self.reply_to_intents(s, replies);
                        }
                        _ => self.call_again(s, &intent, &mut domain),
                    }
                }
                None => self.call_again(s, &intent, &mut domain),
            }
            self.services[s].db.locks.end(txn);
        }
    }

    fn call_again(&mut self, s: usize, intent: &Intent, domain: &mut Any3) {
        let (now, service) = (self.now, &mut self.services[s]);
        let name = (intent.key.clone(), intent.slot());
        domain.settle(intent, &Settlement::Again);
        service.db.write(&domain.business);
        if let Some(open) = service.db.intents.get_mut(&name) {
            open.intent.gateway_key = next_key(&intent.gateway_key);
            (open.key_at, open.intent.calls, open.call_after, open.answered) = (now, 0, now, None);
            self.push(0, Event::Due { service: s, name, at: now });
        }
    }
}

fn kind(call: &Call) -> Kind {
    match call {
        Call::Charge { .. } => Kind::Charge,
        Call::Refund { .. } => Kind::Refund,
    }
}

/// To whoever waits for a call that nobody but a person can settle.
fn unresolved() -> outcome::Answer {
    outcome::Answer::Failed(wire::Failed {
        code: UNRESOLVED.into(),
        message: "a person must find out".into(),
        retryable: false,
        retry_after_ms: 0,
    })
}
