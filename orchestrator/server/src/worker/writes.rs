//! From a plan to rows: what one batch writes, and what is sent once it is committed.

use std::collections::{BTreeMap, HashMap};

use skald_core::plan::{self, Fate, Plan};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    look::{self, Look},
    schedule,
};
use crate::{
    bus::{Outgoing, topics, wire},
    events,
    job::{Ask, Job, Submission, Wake},
    shared::Shared,
    spans::{self, Sampled},
    store::{self, action, attention, saga},
};

/// Published events that one transaction deletes at most.
pub(super) const MAX_PUBLISHED: usize = 4096;

/// What is known of a saga beside its state.
#[derive(Clone, Debug)]
pub struct Known {
    /// When the net looks at it, ms; None when it has ended.
    pub wake_at: Option<i64>,
    /// Looks into silence so far.
    pub resends: i16,
    /// The instance that wrote it last.
    pub owner: Uuid,
    /// When something happened last, ms.
    pub updated_at: i64,
    /// It takes no input.
    pub quarantined: bool,
    /// Whose it is.
    pub customer_id: String,
    /// As it was submitted.
    pub request: Vec<u8>,
    /// W3C trace context of the submission.
    pub traceparent: Option<String>,
}

impl From<saga::Row> for Known {
    fn from(row: saga::Row) -> Known {
        let quarantined = row.quarantine.is_some();
        let saga::Row { wake_at, resends, owner, updated_at, customer_id, request, traceparent, .. } = row;
        Known { wake_at, resends, owner, updated_at, quarantined, customer_id, request, traceparent }
    }
}

/// When a saga is looked at next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At this time, ms.
    At(i64),
    /// It has ended.
    Never,
}

/// Everything that one batch writes and does afterwards.
#[derive(Default)]
pub(super) struct Writes {
    /// Rows of `saga`, `history` and `outbox`.
    pub rows: saga::Batch,
    touches: Vec<saga::Touch>,
    attention: Vec<(Uuid, Vec<plan::Attention>)>,
    /// Sagas of which is known what is slow, and that.
    slow: (Vec<Uuid>, Vec<attention::Slow>),
    actions: Vec<action::Action>,
    /// Sagas that moved, and the ids of the definitions that they follow now.
    moved: (Vec<Uuid>, Vec<i32>),
    /// For the transport.
    pub sends: Vec<Outgoing>,
    /// Whose spans are exported.
    pub sampled: Sampled,
    /// For the timers.
    pub next: Vec<(Uuid, Next)>,
    /// Sagas that began, less those that ended.
    pub active: i64,
}

impl Writes {
    /// What follows from a plan.
    pub(super) fn of(
        shared: &Shared,
        now: i64,
        jobs: &[Job],
        plan: &Plan<usize>,
        known: &HashMap<Uuid, Known>,
        looks: &HashMap<Uuid, Look>,
    ) -> Writes {
        let submissions: HashMap<Uuid, &Submission> = (jobs.iter())
            .filter_map(|job| match &job.ask {
                Ask::Submit(s) => Some((job.saga, s.as_ref())),
                _ => None,
            })
            .collect();
        let mut writes = Writes::default();
        for write in &plan.writes {
            match (submissions.get(&write.saga), known.get(&write.saga)) {
                (Some(submission), _) if write.insert => writes.insert(shared, now, write, submission),
                (_, Some(known)) => writes.update(shared, now, write, known),
                _ => unreachable!("a saga is written that was neither submitted nor loaded"),
            }
        }
        writes.outgoing(shared, now, plan, looks, &submissions, known);
        writes.actions = actions(jobs, plan);
        writes.moved = moved(jobs, plan);
        let submitted = submissions.iter().map(|(saga, s)| (*saga, s.traceparent.as_str()));
        let stored = known.iter().filter_map(|(saga, k)| Some((*saga, k.traceparent.as_deref()?)));
        let sampled = |(saga, traceparent)| Some((saga, spans::sampled(traceparent)?));
        writes.sampled = submitted.chain(stored).filter_map(sampled).collect();
        writes.touch(shared, now, plan, looks, known);
        writes
    }

    fn insert(&mut self, shared: &Shared, now: i64, write: &plan::Write, s: &Submission) {
        let rows = &mut self.rows.inserts;
        let wake_at = next(shared, now, write).map(|at| schedule::wake_at(None, at, now));
        rows.id.push(write.saga);
        rows.definition_id.push(s.definition_id);
        rows.status.push(write.status as i16);
        rows.stage.push(write.state.stage as i16);
        rows.version.push(write.state.version as i32);
        rows.wake_at.push(wake_at);
        rows.customer_id.push(s.customer_id.clone());
        rows.reason.push(reason(write));
        rows.state.push(write.bytes.clone());
        rows.request.push(s.request.clone());
        rows.traceparent.push(Some(s.traceparent.clone()));
        self.active += 1;
        let about = events::About {
            customer_id: &s.customer_id,
            request: &s.request,
            traceparent: Some(&s.traceparent),
            definition: &s.definition,
        };
        self.both(shared, now, write, &about);
    }

    fn update(&mut self, shared: &Shared, now: i64, write: &plan::Write, known: &Known) {
        let rows = &mut self.rows.updates;
        let wake_at = next(shared, now, write).map(|at| schedule::wake_at(known.wake_at, at, now));
        rows.id.push(write.saga);
        rows.was.push(write.was as i32);
        rows.status.push(write.status as i16);
        rows.stage.push(write.state.stage as i16);
        rows.version.push(write.state.version as i32);
        rows.wake_at.push(wake_at);
        rows.reason.push(reason(write));
        rows.state.push(write.bytes.clone());
        rows.detail.push(write.state.is_parked().then(|| detail(write)));
        // Something happened: nothing is slow. Without a look into silence nothing was.
        if known.resends > 0 {
            self.slow.0.push(write.saga);
        }
        let about = events::About {
            customer_id: &known.customer_id,
            request: &known.request,
            traceparent: known.traceparent.as_deref(),
            definition: &write.definition,
        };
        self.both(shared, now, write, &about);
    }

    /// What new and known sagas have in common.
    fn both(&mut self, shared: &Shared, now: i64, write: &plan::Write, about: &events::About<'_>) {
        let history = &mut self.rows.history;
        for row in &write.rows {
            history.saga_id.push(write.saga);
            history.seq.push(row.seq as i32);
            history.at.push(row.at);
            history.kind.push(row.kind as i16);
            history.actor.push(row.actor.clone());
            history.input.push(row.input.clone());
            history.digest.push(row.digest);
        }
        if !write.events.is_empty() {
            let topic = topics::order_events(&shared.config.kafka);
            let at = |version| write.rows.iter().find(|r| r.seq == version).map_or(write.state.now, |r| r.at);
            self.rows.events.extend(events::rows(&topic, write.saga, &write.events, at, about));
        }
        if let Some(entries) = &write.attention {
            self.attention.push((write.saga, entries.clone()));
        }
        match next(shared, now, write) {
            Some(at) => self.next.push((write.saga, Next::At(at))),
            None => {
                self.active -= 1;
                self.next.push((write.saga, Next::Never));
            }
        }
    }

    /// The commands to send; a re-sending that is not allowed now is left out.
    fn outgoing(
        &mut self,
        shared: &Shared,
        now: i64,
        plan: &Plan<usize>,
        looks: &HashMap<Uuid, Look>,
        submissions: &HashMap<Uuid, &Submission>,
        known: &HashMap<Uuid, Known>,
    ) {
        let frozen = shared.frozen.names();
        // What is not sent now waits in the saga's state, and for its timer.
        for send in plan.sends.iter().filter(|send| !frozen.contains(&send.participant)) {
            if send.resend {
                let why = looks.get(&send.saga).map_or(Wake::Timer, |look| look.why);
                if !shared.may_resend(why, &send.participant, now) {
                    continue;
                }
                let labels = [("participant", send.participant.clone()), ("why", why.name().to_owned())];
                metrics::counter!("skald_resends_total", &labels).increment(1);
            }
            let (request, traceparent) = match (submissions.get(&send.saga), known.get(&send.saga)) {
                (Some(s), _) => (&s.request, Some(s.traceparent.as_str())),
                (_, Some(k)) => (&k.request, k.traceparent.as_deref()),
                _ => unreachable!("a command of a saga that was neither submitted nor loaded"),
            };
            self.sends.push(Outgoing {
                saga: send.saga,
                participant: send.participant.clone(),
                command: wire::command(send, request),
                traceparent: traceparent.map(str::to_owned),
                resend: send.resend,
            });
        }
    }

    /// Sagas that were looked at and stay as they are: only when they are looked at next is written.
    fn touch(
        &mut self,
        shared: &Shared,
        now: i64,
        plan: &Plan<usize>,
        looks: &HashMap<Uuid, Look>,
        known: &HashMap<Uuid, Known>,
    ) {
        let (driver, me, frozen) = (&shared.config.driver, shared.instance, shared.frozen.names());
        for seen in &plan.looked_at {
            let (Some(row), Some(look)) = (known.get(&seen.saga), looks.get(&seen.saga)) else { continue };
            if row.wake_at.is_none() {
                self.next.push((seen.saga, Next::Never));
            } else if let Some(left) = look::after(driver, me, now, look, row, seen, &frozen) {
                self.touches.push(left.touch);
                self.next.push((seen.saga, left.next));
                if let Some(slow) = left.slow {
                    self.slow.0.push(seen.saga);
                    self.slow.1.extend(slow);
                }
            }
        }
        for saga in looks.keys() {
            // Of a quarantined saga nothing is planned: the net finds it again tomorrow.
            let Some(row) = known.get(saga).filter(|row| row.quarantined) else { continue };
            self.next.push((*saga, Next::Never));
            if row.wake_at.is_some() {
                let wake_at = now + store::IDLE_MS;
                self.touches.push(saga::Touch { id: *saga, wake_at, resends: row.resends });
            }
        }
        self.touches.sort_unstable_by_key(|touch| touch.id);
    }

    /// Writes it all.
    pub(super) async fn execute(
        &self,
        conn: &mut PgConnection,
        instance: Uuid,
        now: i64,
    ) -> Result<(), store::Error> {
        if !self.rows.is_empty() || !self.rows.published.is_empty() {
            saga::write(conn, instance, now, &self.rows).await?;
        }
        if !self.touches.is_empty() {
            saga::touch(conn, instance, &self.touches).await?;
        }
        if !self.attention.is_empty() {
            attention::replace(conn, now, &self.attention).await?;
        }
        if !self.slow.0.is_empty() {
            attention::slow(conn, &self.slow.0, &self.slow.1).await?;
        }
        if !self.moved.0.is_empty() {
            saga::follow(conn, &self.moved.0, &self.moved.1).await?;
        }
        for action in &self.actions {
            action::insert(conn, action).await?;
        }
        Ok(())
    }
}

/// The actions that were accepted, with their answers.
fn actions(jobs: &[Job], plan: &Plan<usize>) -> Vec<action::Action> {
    let accepted = |(i, fate): &(usize, Fate)| match (&jobs[*i].ask, fate) {
        (Ask::Operate(operation), Fate::Accepted { .. }) => Some(operation.record.clone()),
        _ => None,
    };
    plan.settled.iter().filter_map(accepted).collect()
}

/// The sagas that moved to another definition, and its id: the last one's, for one may move twice in a batch.
fn moved(jobs: &[Job], plan: &Plan<usize>) -> (Vec<Uuid>, Vec<i32>) {
    let accepted = |(i, fate): &(usize, Fate)| match (&jobs[*i].ask, fate) {
        (Ask::Operate(operation), Fate::Accepted { .. }) => {
            operation.to.as_ref().map(|(to, _)| (jobs[*i].saga, *to))
        }
        _ => None,
    };
    let last: BTreeMap<Uuid, i32> = plan.settled.iter().filter_map(accepted).collect();
    last.into_iter().unzip()
}

/// When a saga that was written is looked at next, ms; None when it has ended.
fn next(shared: &Shared, now: i64, write: &plan::Write) -> Option<i64> {
    if write.state.is_final() && !write.state.is_parked() {
        return None;
    }
    let sent = write.in_flight.then(|| now + shared.config.driver.resend_gap(0).as_millis() as i64);
    Some(schedule::next_look(write.deadline, sent).unwrap_or(now + store::IDLE_MS))
}

fn reason(write: &plan::Write) -> Option<String> {
    (!write.state.reason.is_empty()).then(|| write.state.reason.clone())
}

/// For psql at 3 a.m.
fn detail(write: &plan::Write) -> serde_json::Value {
    let steps = write.state.steps.iter().filter(|s| !s.parked.is_empty());
    let steps: serde_json::Map<String, serde_json::Value> =
        steps.map(|s| (s.name.clone(), s.parked.clone().into())).collect();
    serde_json::json!({ "parked": write.state.parked, "steps": steps })
}
