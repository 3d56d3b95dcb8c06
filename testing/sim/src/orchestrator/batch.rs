//! What a batch is made of, from jobs to the plan's items and from its writes to rows. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use skald_core::{
    Input,
    plan::{self, Item},
};
use skald_server::{
    config::Driver,
    job::{self, Wake},
    worker::{Known, look::Look, schedule},
};
use uuid::Uuid;

use super::{
    Ask, IDLE_MS, Job, Orchestrator,
    store::{self, Lock, has_ended},
};
use crate::{clients::Reply, planted};

/// As the real driver has it, for its own looks.
pub(super) fn wake(job: &Job) -> Option<job::Job> {
    let Ask::Wake(why) = job.ask else { return None };
    Some(job::Job {
        saga: job.saga,
        actor: String::new(),
        ask: job::Ask::Wake(why),
        origin: job::Origin::Nobody,
    })
}

/// What the transaction of these jobs holds.
pub(super) fn locks(jobs: &[Job]) -> Vec<Lock> {
    let mut locks = Vec::with_capacity(jobs.len());
    for job in jobs {
        match &job.ask {
            Ask::Submit { key, .. } => locks.push(Lock::Key(*key)),
            Ask::Operate(o) => locks.extend([Lock::Saga(job.saga), Lock::Request(o.request_id.clone())]),
            _ => locks.push(Lock::Saga(job.saga)),
        }
    }
    locks
}

pub(super) fn items(
    jobs: &[Job],
    settled: &BTreeMap<usize, Reply>,
    looks: &HashMap<Uuid, Look>,
) -> Vec<Item<usize>> {
    let ask = |job: &Job| match &job.ask {
        Ask::Submit { definition, request, .. } => {
            let started = skald_core::history::started(request).expect("a client's request is one");
            plan::Ask::Start(Arc::clone(definition), Input::Started(started))
        }
        Ask::Input(input) => plan::Ask::Fold(input.clone()),
        Ask::Operate(operator) => plan::Ask::Fold(Input::Operator(operator.clone())),
        Ask::Wake(_) => plan::Ask::Wake { resend: looks.get(&job.saga).is_some_and(|look| look.resend) },
    };
    (jobs.iter().enumerate())
        .filter(|(i, _)| !settled.contains_key(i))
        .map(|(i, job)| Item { saga: job.saga, actor: job.actor.to_owned(), ask: ask(job), token: i })
        .collect()
}

/// The participant may be asked again, as the driver says.
pub(super) fn may_resend(node: &mut Orchestrator, why: Wake, participant: &str, now: i64) -> bool {
    let allowed = match why {
        Wake::Undelivered | Wake::Orphan(_) => return true,
        Wake::Timer | Wake::Net => planted::is("budget_ignored") || node.budget.take(participant, now),
    };
    node.judged.1 += u64::from(allowed);
    allowed
}

/// When a saga that was written is looked at next, ms; None when it has ended.
pub(super) fn next_of(driver: &Driver, now: i64, write: &plan::Write) -> Option<i64> {
    if has_ended(write) {
        return None;
    }
    let sent = write.in_flight.then(|| now + driver.resend_gap(0).as_millis() as i64);
    Some(schedule::next_look(write.deadline, sent).unwrap_or(now + IDLE_MS))
}

pub(super) fn new_row(owner: Uuid, now: i64, write: plan::Write, request: &[u8]) -> store::Row {
    store::Row {
        definition: write.definition,
        version: write.state.version,
        status: write.status,
        format: 1,
        state: write.bytes,
        decoded: write.state,
        known: Known {
            wake_at: None,
            resends: 0,
            owner,
            updated_at: now,
            quarantined: false,
            customer_id: String::new(),
            request: Vec::new(),
            traceparent: None,
        },
        request: request.to_vec(),
        history: write.rows,
        events: write.events,
        attention: write.attention.unwrap_or_default(),
    }
}
