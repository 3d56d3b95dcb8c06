//! After the commit, field by field: send, set timers, answer, finish offsets. Between any two of them the process may die or stand
//! still, and go on much later with what it remembers.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use skald_core::{
    machine::Refused,
    plan::{self, Fate},
};
use skald_server::bus::wire;
use uuid::Uuid;

use super::{HORIZON_MS, Job, Origin, Step, UNDELIVERED_MS, store::Decided};
use crate::{
    bus::{Taken, TopicId, partition_of},
    clients::Reply,
    faults::Fault,
    world::{NodeId, World},
};

/// What is left to do of a committed batch.
#[derive(Debug)]
pub(crate) struct Finish {
    jobs: Vec<Job>,
    settled: BTreeMap<usize, Reply>,
    decided: Decided,
    /// Sagas whose commands did not get out.
    left: BTreeSet<Uuid>,
    field: usize,
}

impl Finish {
    pub(crate) fn new(jobs: Vec<Job>, settled: BTreeMap<usize, Reply>, decided: Decided) -> Finish {
        Finish { jobs, settled, decided, left: BTreeSet::new(), field: 0 }
    }
}

impl World {
    pub(crate) fn finish(&mut self, n: usize) {
        let Some(mut finish) = self.orchestrators[n].finish.take() else { return };
        while finish.field < 4 {
            match finish.field {
                0 => self.send_all(n, &mut finish),
                1 => self.set_timers(n, &finish),
                2 => self.answer_all(&mut finish),
                _ => self.finish_offsets(n, &finish),
            }
            finish.field += 1;
            if self.maybe_crash_orchestrator(n) {
                return;
            }
            if self.rng.chance(100) && self.hits(Fault::Freeze) {
                self.orchestrators[n].finish = Some(finish);
                let long = self.rng.magnitude(3_600_000);
                self.freeze(NodeId::Orchestrator(n), long);
                return self.orchestrator_step(n, long, Step::Finish);
            }
        }
        if self.orchestrators[n].again || !self.orchestrators[n].inbox.is_empty() {
            self.wake_orchestrator(n);
        }
    }

    fn send_all(&mut self, n: usize, finish: &mut Finish) {
        let cut = self.orchestrators[n].health.cut_bus_until > self.now;
        for send in std::mem::take(&mut finish.decided.plan.sends) {
            if cut {
                finish.left.insert(send.saga);
            } else {
                self.send_command(&send);
            }
        }
    }

    fn send_command(&mut self, send: &plan::Send) {
        let Some(service) = self.services.iter().position(|s| s.name == send.participant) else {
            return self.oracle.violation("ended", format!("a command to nobody: {send:?}"));
        };
        let Some(row) = self.store.sagas.get(&send.saga) else {
            return self
                .oracle
                .violation("lost", format!("a command of a saga that is not stored: {send:?}"));
        };
        let command = wire::command(send, &row.request);
        self.tally.add(if send.resend { "command: again" } else { "command: first" });
        let topic = TopicId { service, outcomes: false };
        self.produce(topic, partition_of(send.saga), send.saga, command.encode_to_vec().into());
    }

    fn set_timers(&mut self, n: usize, finish: &Finish) {
        for look in &finish.decided.next {
            match look.exact.filter(|at| at - finish.decided.now < HORIZON_MS) {
                Some(at) => self.set_timer(n, look.saga, at, false),
                None => self.orchestrators[n].timers.clear(look.saga),
            }
        }
        for saga in &finish.left {
            let at = self.clock(n) + UNDELIVERED_MS;
            self.set_timer(n, *saga, at, true);
        }
    }

    fn set_timer(&mut self, n: usize, saga: Uuid, at: i64, undelivered: bool) {
        self.orchestrators[n].timers.set(saga, at, undelivered);
        self.set_alarm(n);
    }

    fn answer_all(&mut self, finish: &mut Finish) {
        for (i, fate) in &finish.decided.plan.settled {
            let job = &finish.jobs[*i];
            self.tally_fate(job, fate);
            if let Origin::Call(call) = job.origin {
                let reply = match fate {
                    Fate::Accepted { .. } => Reply::Accepted(job.saga),
                    Fate::Refused(refused) => Reply::Refused(refused.clone()),
                    Fate::UnknownSaga | Fate::Quarantined => Reply::Unknown,
                };
                self.reply(call, reply);
            }
        }
        for (i, reply) in std::mem::take(&mut finish.settled) {
            if let Origin::Call(call) = finish.jobs[i].origin {
                self.reply(call, reply);
            }
        }
    }

    fn tally_fate(&mut self, job: &Job, fate: &Fate) {
        match fate {
            Fate::Accepted { .. } => {}
            Fate::Refused(refused) => self.tally_refusal(refused),
            Fate::UnknownSaga => self.tally.add("unknown saga"),
            Fate::Quarantined => self.oracle.violation("lost", format!("{} is quarantined", job.saga)),
        }
    }

    fn tally_refusal(&mut self, refused: &Refused) {
        match refused {
            Refused::Repeat => self.tally.add("refused: it was taken before"),
            Refused::Stale => self.tally.add("refused: it is about an attempt that is over"),
            Refused::NotDue => self.tally.add("refused: nothing is due"),
            Refused::Moved { .. } => self.tally.add("refused: moved"),
            Refused::NotAllowed(why) => self.tally.add_made(not_allowed(why)),
            Refused::Malformed(why) => self.tally.add_made(format!("refused: malformed: {}", plain(why))),
        }
    }

    fn finish_offsets(&mut self, n: usize, finish: &Finish) {
        for job in &finish.jobs {
            if let Origin::Message(taken) = job.origin {
                self.finished(n, taken);
            }
        }
    }

    pub(super) fn finished(&mut self, n: usize, taken: Taken) {
        let passed = self.bus.done(&mut self.orchestrators[n].claims, taken);
        self.oracle.passed_over(taken, passed);
    }
}

/// The name of a refusal's counter: its words, without names, numbers and reasons.
fn not_allowed(why: &str) -> String {
    if why.contains("needs the result") {
        return "refused: not allowed: a later step needs the result".into();
    }
    format!("refused: not allowed: {}", plain(why.split(": ").next().unwrap_or_default()))
}

/// Without what stands in quotes.
fn plain(text: &str) -> String {
    let unquoted: String = text.split('"').step_by(2).collect();
    unquoted.split_whitespace().collect::<Vec<_>>().join(" ")
}
