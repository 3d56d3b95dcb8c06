//! After the commit: send, answer, finish offsets, set timers.

use skald_core::{
    Input,
    machine::Refused,
    plan::{Fate, Write},
};
use uuid::Uuid;

use super::{
    Worker,
    batch::{Decided, Settled},
    writes::Next,
};
use crate::{
    bus::outcomes,
    job::{Ask, Job, Origin, Reply},
    spans,
};

impl Worker {
    /// Everything that was promised by a batch that is now durable.
    pub(super) fn finish(&mut self, jobs: Vec<Job>, decided: Decided) {
        let Decided { now, plan, mut writes, mut settled } = decided;
        spans::record(&jobs, &writes.sampled, &mut writes.sends);
        let left = self.shared.transports.send(writes.sends);
        for (saga, next) in writes.next {
            match next {
                Next::At(at) => self.timers.set(saga, at, now),
                Next::Never => self.timers.clear(saga),
            }
        }
        left.into_iter().for_each(|lost| self.not_delivered(lost));
        let mut fates: Vec<Option<Fate>> = jobs.iter().map(|_| None).collect();
        for (i, fate) in plan.settled {
            fates[i] = Some(fate);
        }
        let mut acks = Vec::new();
        for (i, (job, fate)) in jobs.into_iter().zip(fates).enumerate() {
            match (settled.remove(&i), fate) {
                (Some(Settled::Reply(reply)), _) => job.origin.reply(reply),
                (Some(Settled::DeadLetter(why)), _) => {
                    self.put_away(job.saga, &job.actor, job.origin, why, 1);
                }
                (None, Some(fate)) => {
                    step_seen(now, &job, &fate, &plan.writes);
                    self.settle(job, fate, &mut acks);
                }
                (None, None) => unreachable!("every job is either settled or planned"),
            }
        }
        self.shared.outcomes.done(&acks);
        self.shared.relay.publish(writes.rows.events);
        self.shared.active.fetch_add(writes.active, std::sync::atomic::Ordering::Relaxed);
        for write in &plan.writes {
            self.shared.watchers.changed(write.saga, write.state.version);
            self.shared.audit.put(write);
            seen(now, write);
        }
    }

    /// What can't be used: a message is kept as a dead letter; of a stream there is nothing to keep, for the participant
    /// repeats what it stored.
    pub(super) fn put_away(&self, saga: Uuid, from: &str, origin: Origin, why: String, attempts: u32) {
        match origin {
            Origin::Message(message) => self.shared.dead_letters.put(*message, why, attempts),
            Origin::Stream { .. } => outcomes::unusable(from, Some(saga), &why),
            Origin::Caller(_) | Origin::Nobody => {}
        }
    }

    /// Tells whoever waits for a job.
    fn settle(&self, job: Job, fate: Fate, acks: &mut Vec<skald_kit::kafka::Ack>) {
        if let Ask::Input(input) = &job.ask {
            count(input, &fate);
        }
        match job.origin {
            origin @ (Origin::Message(_) | Origin::Stream { .. }) => match (unusable(&fate), origin) {
                (Some(why), origin) => self.put_away(job.saga, &job.actor, origin, why, 1),
                (None, Origin::Message(message)) => acks.push(message.ack()),
                (None, _) => {}
            },
            origin => origin.reply(match fate {
                Fate::Accepted { .. } => Reply::Accepted,
                Fate::Refused(refused) => Reply::Refused(refused),
                Fate::UnknownSaga => Reply::Unknown,
                Fate::Quarantined => Reply::Quarantined,
            }),
        }
    }
}

/// Why a message must be kept as a dead letter, if it must.
fn unusable(fate: &Fate) -> Option<String> {
    match fate {
        Fate::UnknownSaga => Some("UNKNOWN_SAGA: no saga has this id".into()),
        Fate::Refused(Refused::Malformed(why)) => Some(format!("MALFORMED: {why}")),
        _ => None,
    }
}

/// What an outcome came to.
fn count(input: &Input, fate: &Fate) {
    let Input::Outcome(_) = input else { return };
    let fate = match fate {
        Fate::Accepted { .. } => "accepted",
        Fate::Refused(Refused::Repeat) => "repeat",
        Fate::Refused(Refused::Stale) => "stale",
        Fate::Refused(_) => "refused",
        Fate::UnknownSaga => "unknown_saga",
        Fate::Quarantined => "quarantined",
    };
    metrics::counter!("skald_outcomes_total", "fate" => fate).increment(1);
}

/// How long a step took, from entering it to the end of its action or of its undo.
fn step_seen(now: i64, job: &Job, fate: &Fate, writes: &[Write]) {
    use skald_core::state::StepStatus::{NothingToUndo, Rejected, Sealed, Succeeded, Undone};
    let (Ask::Input(Input::Outcome(outcome)), Fate::Accepted { .. }) = (&job.ask, fate) else { return };
    let Ok(i) = writes.binary_search_by_key(&job.saga, |write| write.saga) else { return };
    let Some(step) = writes[i].state.steps.iter().find(|step| step.name == outcome.step) else { return };
    let end = match step.status() {
        Succeeded => "succeeded",
        Rejected => "rejected",
        Sealed => "sealed",
        Undone => "undone",
        NothingToUndo => "nothing_to_undo",
        _ => return,
    };
    let labels = [("step", outcome.step.clone()), ("end", end.to_owned())];
    metrics::histogram!("skald_step_seconds", &labels).record((now - step.entered_at) as f64 / 1000.0);
}

/// What a saga's change looks like from outside.
fn seen(now: i64, write: &Write) {
    use skald_core::state::Status;
    if write.insert {
        metrics::counter!("skald_sagas_started_total").increment(1);
    }
    let ended = match write.status {
        Status::Completed => "completed",
        Status::Compensated => "compensated",
        Status::Parked if write.attention.is_some() => "parked",
        _ => return,
    };
    let labels = [("outcome", ended.to_owned()), ("reason", write.state.reason.clone())];
    metrics::counter!("skald_sagas_ended_total", &labels).increment(1);
    metrics::histogram!("skald_saga_seconds", "outcome" => ended)
        .record((now - write.state.created_at) as f64 / 1000.0);
}
