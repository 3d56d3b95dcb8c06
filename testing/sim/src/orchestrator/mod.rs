//! The orchestrator's instances: a worker's way of a batch, step by step. Plans, looks, schedules and budgets are the real ones;
//! the database and the broker are in memory.

mod batch;
mod finish;
pub(crate) mod store;
mod timers;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use skald_core::{
    Definition, Input,
    input::Operator,
    plan::{self, Loaded},
    state,
};
use skald_server::{
    bus::{Budget, wire},
    config::Driver,
    job::{self, Wake},
    worker::{look, schedule},
};
use uuid::Uuid;

use batch::{items, locks, may_resend, new_row, next_of, wake};
pub(crate) use finish::Finish;
use store::{ClientKey, Decided, NextLook};
use timers::Timers;

use crate::{
    bus::{Claim, Taken},
    clients::Reply,
    faults::Fault,
    oracle::Before,
    planted,
    world::{Event, Health, NodeId, World},
};

/// Beyond this the column is exact enough, ms.
const HORIZON_MS: i64 = 600_000;
/// A command that did not reach the broker is sent again after this, ms.
const UNDELIVERED_MS: i64 = 1_000;
/// A saga that waits for a person alone is looked at once a day, ms.
const IDLE_MS: i64 = 24 * 3_600_000;
/// Jobs of one batch at most.
const BATCH: usize = 24;

/// One instance with one worker.
#[derive(Debug)]
pub(crate) struct Orchestrator {
    pub health: Health,
    pub instance: Uuid,
    /// How far its clock is off, ms.
    pub skew: i64,
    /// It reads no newer format than the first.
    pub old: bool,
    pub claims: Vec<Claim>,
    /// Participants that it knows to be frozen.
    pub frozen: BTreeSet<String>,
    pub inbox: VecDeque<Job>,
    batch: Option<Batch>,
    finish: Option<Finish>,
    timers: Timers,
    /// When it looks at its timers next; `i64::MAX`: nothing says so.
    alarm: i64,
    budget: Budget,
    /// What the budget is judged by: answers, re-sendings, and since when.
    pub judged: (u64, u64, i64),
    woken: bool,
    /// It was woken while it was busy.
    again: bool,
    /// How long it waited for a lock last, ms.
    wait: i64,
}

#[derive(Debug)]
struct Batch {
    jobs: Vec<Job>,
    settled: BTreeMap<usize, Reply>,
    decided: Decided,
}

/// One input for one saga, and whom to tell.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub saga: Uuid,
    pub actor: &'static str,
    pub ask: Ask,
    pub origin: Origin,
}

#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Submit { key: ClientKey, digest: u64, definition: Arc<Definition>, request: Arc<Vec<u8>> },
    Input(Input),
    Operate(Operator),
    Wake(Wake),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin {
    Nobody,
    Message(Taken),
    /// A caller, by the number of the call.
    Call(u64),
}

/// What an instance does next.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Take,
    Commit,
    Finish,
    /// It hears which participants are frozen.
    Hear,
    /// A job arrives.
    Job(Box<Job>),
}

impl Orchestrator {
    pub(crate) fn new(instance: Uuid, now: i64, driver: &Driver) -> Orchestrator {
        Orchestrator {
            health: Health::default(),
            instance,
            skew: 0,
            old: false,
            claims: Vec::new(),
            frozen: BTreeSet::new(),
            inbox: VecDeque::new(),
            batch: None,
            finish: None,
            timers: Timers::default(),
            alarm: i64::MAX,
            budget: Budget::new(driver.resend_canaries_per_second, driver.resend_share),
            judged: (0, 0, now),
            woken: false,
            again: false,
            wait: 0,
        }
    }

    /// The process ends; its open transaction is told.
    pub(crate) fn forget(&mut self, instance: Uuid, now: i64, driver: &Driver) -> Option<u64> {
        let txn = self.batch.take().map(|batch| batch.decided.txn);
        let health = std::mem::take(&mut self.health);
        *self = Orchestrator {
            skew: self.skew,
            old: self.old,
            health,
            ..Orchestrator::new(instance, now, driver)
        };
        txn
    }
}

impl World {
    pub(crate) fn orchestrate(&mut self, n: usize, step: Step) {
        match step {
            Step::Take => self.take_jobs(n),
            Step::Commit => self.commit_batch(n),
            Step::Finish => self.finish(n),
            Step::Hear => self.orchestrators[n].frozen = self.store.frozen.clone(),
            Step::Job(job) => {
                self.orchestrators[n].inbox.push_back(*job);
                self.wake_orchestrator(n);
            }
        }
    }

    pub(crate) fn orchestrator_step(&mut self, n: usize, delay: i64, step: Step) {
        let life = self.orchestrators[n].health.life;
        self.push(delay, Event::Orchestrator { node: n, life, step });
    }

    /// Something may be there for it.
    pub(crate) fn wake_orchestrator(&mut self, n: usize) {
        if !std::mem::replace(&mut self.orchestrators[n].woken, true) {
            let delay = self.rng.between(0, 2);
            self.orchestrator_step(n, delay, Step::Take);
        }
    }

    /// The instance's idea of the database's clock.
    pub(crate) fn clock(&self, n: usize) -> i64 {
        self.now + self.orchestrators[n].skew
    }

    /// Whatever is there now becomes a batch.
    fn take_jobs(&mut self, n: usize) {
        self.orchestrators[n].woken = false;
        if self.orchestrators[n].batch.is_some() || self.orchestrators[n].finish.is_some() {
            self.orchestrators[n].again = true;
            return;
        }
        self.orchestrators[n].again = false;
        self.due_timers(n);
        self.poll_outcomes(n);
        if self.orchestrators[n].inbox.is_empty() {
            return;
        }
        let most = self.rng.below(BATCH) + 1;
        let node = &mut self.orchestrators[n];
        if let Some(wait) = node.health.database_wait(self.now) {
            node.woken = true;
            return self.orchestrator_step(n, wait, Step::Take);
        }
        let jobs: Vec<Job> = node.inbox.drain(..most.min(node.inbox.len())).collect();
        let Some(txn) = self.store.begin(locks(&jobs), self.now) else {
            self.tally.add("race: waited for a lock");
            // Not so often while somebody who stands still has it.
            let wait = &mut self.orchestrators[n].wait;
            *wait = (*wait * 2).clamp(3, 1_000);
            let wait = *wait;
            return self.later(n, jobs, wait);
        };
        self.orchestrators[n].wait = 0;
        match self.decide_batch(n, txn, &jobs) {
            Ok((settled, decided)) => {
                self.orchestrators[n].batch = Some(Batch { jobs, settled, decided });
                if !self.maybe_crash_orchestrator(n) {
                    let delay = self.latency();
                    self.orchestrator_step(n, delay, Step::Commit);
                }
            }
            Err(Newer) => {
                // It must not go on: a newer binary wrote one of them.
                self.tally.add("old binary stops before a newer format");
                self.store.locks.end(txn);
                // Whoever runs it finishes the rollout, sooner or later.
                self.orchestrators[n].old = self.rng.below(2) == 0;
                self.crash(NodeId::Orchestrator(n));
            }
        }
    }

    /// The jobs are tried again, before whatever came since.
    fn later(&mut self, n: usize, jobs: Vec<Job>, delay: i64) {
        let node = &mut self.orchestrators[n];
        for job in jobs.into_iter().rev() {
            node.inbox.push_front(job);
        }
        node.woken = true;
        let delay = self.rng.between(1, delay.max(1));
        self.orchestrator_step(n, delay, Step::Take);
    }

    fn due_timers(&mut self, n: usize) {
        let now = self.clock(n);
        let node = &mut self.orchestrators[n];
        while let Some((saga, undelivered)) = node.timers.due(now) {
            let why = if undelivered { Wake::Undelivered } else { Wake::Timer };
            if planted::is(if undelivered { "cut_off_is_a_failure" } else { "silence_is_a_failure" }) {
                node.inbox.extend(timers::invented(saga, &self.store));
            }
            node.inbox.push_back(Job { saga, actor: "timer", ask: Ask::Wake(why), origin: Origin::Nobody });
        }
        if node.alarm <= self.now {
            node.alarm = i64::MAX;
        }
        self.set_alarm(n);
    }

    /// It looks again when its next timer is due by its own clock, unless it does so before.
    fn set_alarm(&mut self, n: usize) {
        let Some(next) = self.orchestrators[n].timers.next() else { return };
        let delay = (next - self.clock(n)).max(0);
        if self.now + delay < self.orchestrators[n].alarm {
            self.orchestrators[n].alarm = self.now + delay;
            self.orchestrator_step(n, delay, Step::Take);
        }
    }

    fn poll_outcomes(&mut self, n: usize) {
        let node = &mut self.orchestrators[n];
        if node.health.cut_bus_until > self.now {
            return;
        }
        let mut buried = Vec::new();
        for claim in &mut node.claims {
            let mut answers = 0;
            while answers < BATCH
                && let Some((taken, record)) = self.bus.poll(claim)
            {
                answers += 1;
                match wire::outcome(&record.value) {
                    Ok((saga, _, outcome)) => node.inbox.push_back(Job {
                        saga,
                        actor: self.services[taken.topic.service].name,
                        ask: Ask::Input(Input::Outcome(outcome)),
                        origin: Origin::Message(taken),
                    }),
                    Err(_) => buried.push(taken),
                }
            }
            // There may be more.
            node.again |= answers == BATCH;
            if answers > 0 {
                node.budget.answered(self.services[claim.topic.service].name, answers);
                node.judged.0 += answers as u64;
            }
        }
        for taken in buried {
            self.tally.add("dead letter: outcome");
            self.finished(n, taken);
        }
    }

    fn decide_batch(
        &mut self,
        n: usize,
        txn: u64,
        jobs: &[Job],
    ) -> Result<(BTreeMap<usize, Reply>, Decided), Newer> {
        let now = self.clock(n);
        let settled = self.claim_keys(jobs);
        let (mut loaded, mut known) = (BTreeMap::new(), HashMap::new());
        for job in jobs.iter().filter(|job| !matches!(job.ask, Ask::Submit { .. })) {
            let Some(row) = self.store.sagas.get(&job.saga) else { continue };
            if loaded.contains_key(&job.saga) {
                continue;
            }
            if row.format > 1 && self.orchestrators[n].old {
                let refused = state::decode(skald_core::FORMAT + 1, &row.state);
                debug_assert!(matches!(refused, Err(state::Unreadable::Newer { .. })));
                return Err(Newer);
            }
            // The bytes are read when the run is judged, and in debug builds each time.
            debug_assert_eq!(state::decode(skald_core::FORMAT, &row.state).ok().as_ref(), Some(&row.decoded));
            let (definition, state) = (Arc::clone(&row.definition), row.decoded.clone());
            loaded.insert(job.saga, Loaded { definition, state, quarantined: false });
            if matches!(job.ask, Ask::Wake(_)) {
                known.insert(job.saga, row.known.clone());
            }
        }
        let driver = &self.driver;
        let me = self.orchestrators[n].instance;
        let wakes: Vec<job::Job> = jobs.iter().filter_map(wake).collect();
        let looks = match wakes.is_empty() {
            true => HashMap::new(),
            false => look::looks(driver, me, now, &wakes, &known, &loaded),
        };
        let items = items(jobs, &settled, &looks);
        let frozen = std::mem::take(&mut self.orchestrators[n].frozen);
        let before = loaded.iter().map(|(saga, row)| (*saga, Before::of(&row.state))).collect();
        let mut plan = plan::plan(now, items, loaded, &frozen);
        self.oracle.planned(&mut self.tally, &before, &plan);
        // What may be sent again is decided now, as the driver does.
        plan.sends.retain(|send| {
            if frozen.contains(&send.participant) {
                return false;
            }
            let why = looks.get(&send.saga).map_or(Wake::Timer, |look| look.why);
            !send.resend || may_resend(&mut self.orchestrators[n], why, &send.participant, now)
        });
        let mut next = Vec::with_capacity(plan.writes.len() + plan.looked_at.len());
        for write in &plan.writes {
            let present = self.store.sagas.get(&write.saga).and_then(|row| row.known.wake_at);
            let exact = next_of(driver, now, write);
            let wake_at = exact.map(|at| schedule::wake_at(present, at, now));
            next.push(NextLook { saga: write.saga, wake_at, resends: 0, exact });
        }
        for seen in &plan.looked_at {
            let (Some(row), Some(look)) = (known.get(&seen.saga), looks.get(&seen.saga)) else { continue };
            if row.wake_at.is_none() {
                continue;
            }
            if let Some(left) = look::after(driver, me, now, look, row, seen, &frozen) {
                let skald_server::worker::Next::At(exact) = left.next else { continue };
                let (wake_at, resends) = (Some(left.touch.wake_at), left.touch.resends);
                next.push(NextLook { saga: seen.saga, wake_at, resends, exact: Some(exact) });
            }
        }
        self.orchestrators[n].frozen = frozen;
        Ok((settled, Decided { txn, now, plan, next }))
    }

    /// Keys and request ids that were taken: their first answers.
    fn claim_keys(&mut self, jobs: &[Job]) -> BTreeMap<usize, Reply> {
        let mut settled = BTreeMap::new();
        let mut first: BTreeMap<ClientKey, (Uuid, u64)> = BTreeMap::new();
        let mut asked: BTreeSet<&str> = BTreeSet::new();
        for (i, job) in jobs.iter().enumerate() {
            match &job.ask {
                Ask::Submit { key, digest, .. } => {
                    let (owner, known) = match self.store.submissions.get(key) {
                        Some(taken) => *taken,
                        None => *first.entry(*key).or_insert((job.saga, *digest)),
                    };
                    if owner != job.saga && !planted::is("key_not_claimed") {
                        let reply = if known == *digest { Reply::Known(owner) } else { Reply::KeyTaken };
                        settled.insert(i, reply);
                    }
                }
                Ask::Operate(o) => {
                    let again = self.store.actions.contains(&o.request_id) || !asked.insert(&o.request_id);
                    if again {
                        self.tally.add("operator: the first answer again");
                        settled.insert(i, Reply::Answered);
                    }
                }
                _ => {}
            }
        }
        settled
    }

    fn commit_batch(&mut self, n: usize) {
        let Some(Batch { jobs, settled, mut decided }) = self.orchestrators[n].batch.take() else { return };
        let cut = self.orchestrators[n].health.database_wait(self.now).is_some();
        let live = self.store.locks.is_live(decided.txn);
        if cut || !live || self.hits(Fault::Conflict) {
            self.store.locks.end(decided.txn);
            return self.later(n, jobs, 20);
        }
        let unknown = self.hits(Fault::CommitUnknown);
        if !unknown || self.rng.chance(5_000) {
            self.apply_batch(n, &jobs, &settled, &mut decided);
        }
        self.store.locks.end(decided.txn);
        if unknown && !planted::is("sends_after_unknown") {
            // Nobody knows: forget what would have been sent and said.
            let mut again = Vec::new();
            for job in jobs {
                match job.origin {
                    Origin::Call(call) => self.reply(call, Reply::Unavailable),
                    _ => again.push(job),
                }
            }
            return self.later(n, again, 20);
        }
        if self.maybe_crash_orchestrator(n) {
            return;
        }
        self.orchestrators[n].finish = Some(Finish::new(jobs, settled, decided));
        self.finish(n);
    }

    /// COMMIT: everything is visible at once.
    fn apply_batch(
        &mut self,
        n: usize,
        jobs: &[Job],
        settled: &BTreeMap<usize, Reply>,
        decided: &mut Decided,
    ) {
        let (me, now) = (self.orchestrators[n].instance, decided.now);
        for (i, job) in jobs.iter().enumerate() {
            if let Ask::Submit { key, digest, .. } = &job.ask
                && !settled.contains_key(&i)
            {
                self.store.submissions.insert(*key, (job.saga, *digest));
            }
        }
        let writes_newer = !self.orchestrators[n].old && self.newer_format;
        for write in std::mem::take(&mut decided.plan.writes) {
            self.oracle.wrote_saga(&mut self.tally, &write);
            if write.insert {
                let submitted = jobs.iter().find_map(|job| match &job.ask {
                    Ask::Submit { request, .. } if job.saga == write.saga => Some(request),
                    _ => None,
                });
                let saga = write.saga;
                let row = new_row(me, now, write, submitted.expect("what is inserted was submitted"));
                self.store.sagas.insert(saga, row);
                continue;
            }
            let Some(row) = self.store.sagas.get_mut(&write.saga) else { continue };
            if row.version != write.was {
                self.oracle.violation(
                    "lost",
                    format!("{} was written over: {} is not {}", write.saga, row.version, write.was),
                );
            }
            (row.version, row.status) = (write.state.version, write.status);
            (row.state, row.decoded) = (write.bytes, write.state);
            if writes_newer && write.saga.as_u128().is_multiple_of(4) {
                row.format = 2;
            }
            row.history.extend(write.rows);
            row.events.extend(write.events);
            if let Some(attention) = write.attention {
                row.attention = attention;
            }
            (row.known.resends, row.known.owner, row.known.updated_at) = (0, me, now);
        }
        for look in &decided.next {
            let Some(row) = self.store.sagas.get_mut(&look.saga) else { continue };
            (row.known.resends, row.known.owner) = (look.resends, me);
            if std::mem::replace(&mut row.known.wake_at, look.wake_at) != look.wake_at
                && let Some(at) = look.wake_at
            {
                let saga = look.saga;
                // The database's own clock says when it has passed.
                self.push(at - self.now, Event::Net { saga, wake_at: at });
            }
        }
        for (i, fate) in &decided.plan.settled {
            if let (Ask::Operate(operator), plan::Fate::Accepted { .. }) = (&jobs[*i].ask, fate) {
                self.store.actions.insert(operator.request_id.clone());
            }
        }
    }

    /// `wake_at` has passed and nobody moved it: its owner looks, or any instance when that one is gone.
    pub(crate) fn net(&mut self, saga: Uuid, wake_at: i64) {
        let Some(row) = self.store.sagas.get(&saga).filter(|row| row.known.wake_at == Some(wake_at)) else {
            return;
        };
        let owner = row.known.owner;
        let there = self.orchestrators_there();
        let alive = there.iter().find(|&&n| self.orchestrators[n].instance == owner).copied();
        let found = alive.map(|n| (n, Wake::Net));
        let found = found.or_else(|| Some((*there.first()?, Wake::Orphan(owner))));
        let Some((n, why)) = found else {
            return self.when_somebody_is_there(Event::Net { saga, wake_at });
        };
        // It goes by its own idea of the time.
        let early = wake_at - self.clock(n);
        if early > 0 {
            return self.push(early, Event::Net { saga, wake_at });
        }
        let job = Job { saga, actor: "net", ask: Ask::Wake(why), origin: Origin::Nobody };
        self.orchestrate(n, Step::Job(Box::new(job)));
        self.push(10_000, Event::Net { saga, wake_at });
    }

    /// An instance's heartbeat stopped: whoever is up sweeps its sagas.
    pub(crate) fn sweep(&mut self, gone: Uuid) {
        let there = self.orchestrators_there();
        let Some(&n) = there.first() else { return self.when_somebody_is_there(Event::Sweep { gone }) };
        let orphans: Vec<Uuid> = (self.store.sagas.iter())
            .filter(|(_, row)| row.known.owner == gone && row.known.wake_at.is_some())
            .map(|(saga, _)| *saga)
            .collect();
        for saga in orphans {
            self.tally.add("orphan: swept");
            let ask = Ask::Wake(Wake::Orphan(gone));
            let job = Job { saga, actor: "sweep", ask, origin: Origin::Nobody };
            self.orchestrate(n, Step::Job(Box::new(job)));
        }
    }

    pub(crate) fn orchestrators_there(&self) -> Vec<usize> {
        (0..self.orchestrators.len()).filter(|&n| self.orchestrators[n].health.works(self.now)).collect()
    }

    /// It may die here.
    pub(crate) fn maybe_crash_orchestrator(&mut self, n: usize) -> bool {
        let dies = self.hits(Fault::CrashOrchestrator);
        if dies {
            self.crash(NodeId::Orchestrator(n));
        }
        dies
    }
}

/// A newer binary wrote it.
struct Newer;
