//! Executes a wave: looks it up, lets it be decided, writes the plan in one transaction, and repeats or halves what did not work.
//! Says nothing to anybody: who called it sends the answers.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use skald_kit::{backoff, pg};
use skald_proto::participant::v1::outcome::Answer;
use sqlx::{Connection as _, PgConnection};

use crate::{
    barrier::{self, Stored},
    command::Command,
    decide::{Alarm, Plan, Triage},
    housekeeping,
    intent::{
        self, Intent,
        calls::{Begin, Caller},
        table::{Met, New},
    },
    service::{Domain, Service},
    shared::{Link, Shared, Trouble, pause},
    streams::NOBODY,
    wave::Item,
};

/// How often a lone culprit must fail before it is a dead letter.
const POISON_TRIES: u32 = 3;
/// The largest result of a step, or detail of a no, bytes; see message.proto.
const MAX_RESULT: usize = 64 * 1024;
/// Lost races in a row after which it is not a race: then with back-off.
const RACES: u32 = 20;

/// Where a delivery came from, and so where an intent's answer goes.
pub(crate) trait From {
    /// A partition, or a stream's number, which is negative; see [`crate::streams`].
    fn partition(&self) -> i32;
}

/// How a command of a wave ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    /// To be answered.
    Answered(Answer),
    /// The settling of an intent answers.
    Waits,
    /// It can't be handled: it failed alone so often.
    Poisoned {
        /// Why.
        reason: String,
        /// How often it failed alone.
        tries: u32,
    },
}

/// The participant stops: nothing was decided, all of it comes again.
#[derive(Debug)]
pub(crate) struct Stopped;

/// One worker: executes one wave at a time on its own connection.
pub(crate) struct Executor<S: Service> {
    shared: Arc<Shared<S>>,
    caller: Caller<S>,
    link: Link,
}

impl<S: Service> Executor<S> {
    pub(crate) fn new(shared: Arc<Shared<S>>, caller: Caller<S>) -> Self {
        let link = Link::new(&shared.url);
        Self { shared, caller, link }
    }

    /// Executes a wave, whatever it takes. Waits out outages.
    pub(crate) async fn execute<O: From + Send + Sync>(
        &mut self,
        wave: Vec<Item<O>>,
    ) -> Result<Vec<(Item<O>, End)>, Stopped> {
        metrics::histogram!("skald_participant_wave_size").record(wave.len() as f64);
        let mut ended = Vec::with_capacity(wave.len());
        let mut parts = vec![(wave, 0)];
        while let Some((mut part, failures)) = parts.pop() {
            match self.until_decided(&part).await? {
                Ok(ends) => ended.extend(part.into_iter().zip(ends)),
                Err(_) if part.len() > 1 => {
                    let rest = part.split_off(part.len() / 2);
                    parts.push((rest, 0));
                    parts.push((part, 0));
                }
                Err(_) if failures + 1 < POISON_TRIES => parts.push((part, failures + 1)),
                Err(reason) => {
                    let poisoned = || End::Poisoned { reason: reason.clone(), tries: failures + 1 };
                    ended.extend(part.into_iter().map(|item| (item, poisoned())));
                }
            }
        }
        Ok(ended)
    }

    /// Repeats until the wave is decided, or an input is found to blame (the inner error).
    async fn until_decided<O: From + Send + Sync>(
        &mut self,
        wave: &[Item<O>],
    ) -> Result<Result<Vec<End>, String>, Stopped> {
        let mut gaps = backoff::gaps();
        let mut races = 0;
        loop {
            let began = Instant::now();
            // a panic leaves nothing behind: connection and domain are thrown away
            let cut = self.shared.cut.clone();
            let tried = tokio::select! {
                tried = AssertUnwindSafe(self.once(wave)).catch_unwind() => tried,
                () = cut.requested() => {
                    self.link.cut();
                    return Err(Stopped);
                }
            };
            let trouble = match tried {
                Ok(Ok(ends)) => {
                    metrics::histogram!("skald_participant_transaction_seconds").record(began.elapsed());
                    self.shared.postgres_up();
                    return Ok(Ok(ends));
                }
                Ok(Err(trouble)) => trouble,
                Err(panic) => Trouble::Poison(format!("panicked: {}", panic_text(&*panic))),
            };
            match trouble {
                Trouble::Conflict if races < RACES => {
                    races += 1;
                    metrics::counter!("skald_participant_conflicts_total").increment(1);
                    // bounds that moved look like a race too
                    self.look_at_bounds().await;
                    continue;
                }
                Trouble::Conflict => self.link.cut(),
                Trouble::Poison(reason) => {
                    self.link.cut();
                    return Ok(Err(reason));
                }
                Trouble::Transient { error, expected } => {
                    self.link.cut();
                    self.shared.postgres_degraded("a wave was not written", &error, expected);
                }
            }
            races = 0;
            if !pause(&self.shared.shutdown, gaps.next().unwrap_or(Duration::from_secs(5))).await {
                return Err(Stopped);
            }
        }
    }

    async fn look_at_bounds(&mut self) {
        let Ok(conn) = self.link.get().await else { return };
        match housekeeping::bounds(conn).await {
            Ok(bounds) => self.shared.set_bounds(bounds),
            Err(_) => self.link.cut(),
        }
    }

    /// One try: everything or nothing.
    async fn once<O: From + Send + Sync>(&mut self, wave: &[Item<O>]) -> Result<Vec<End>, Trouble> {
        let Self { shared, caller, link } = self;
        let fail = |error| shared.trouble(error);
        let conn = link.get().await.map_err(fail)?;
        // Before the transaction: a stale look-up is harmless, for inserting decides.
        let stored = look_up(conn, wave).await.map_err(fail)?;
        let commands: Vec<&Command> = wave.iter().map(|item| &item.command).collect();
        let triage = Triage::new(&commands, &stored, shared.bounds(), shared.service.actions());
        if triage.is_answered() {
            return Ok(ends(wave, triage.decide(None::<&mut S::Domain>)));
        }
        let work = triage.work();
        let mut tx = conn.begin().await.map_err(fail)?;
        let mut domain = match work.is_empty() {
            true => None,
            false => Some(shared.service.load(&mut tx, &work).await.map_err(fail)?),
        };
        let plan = triage.decide(domain.as_mut());
        if plan.failed_by_domain && stored != look_up(&mut tx, wave).await.map_err(fail)? {
            // no row guards a failure: what the domain took for one may be what someone else decided meanwhile
            tx.rollback().await.map_err(fail)?;
            return Err(Trouble::Conflict);
        }
        if let Some(reason) = too_large(&plan) {
            tx.rollback().await.map_err(fail)?;
            return Err(Trouble::Poison(reason));
        }
        if plan.is_read_only() {
            tx.rollback().await.map_err(fail)?;
            return Ok(ends(wave, plan));
        }
        let mut begin = caller.reserve(plan.opened.iter().filter(|open| open.ready).count());
        let opened = opened(&plan, wave, &mut begin);
        let Some(due) = write_barrier(shared, &mut tx, &plan, wave, &opened).await.map_err(fail)? else {
            tx.rollback().await.map_err(fail)?;
            return Err(Trouble::Conflict);
        };
        let rows = match &mut domain {
            Some(domain) => shared.service.write(&mut tx, domain).await.map_err(fail)?,
            None => Vec::new(),
        };
        let events = shared.outbox.write(&mut tx, rows).await.map_err(fail)?;
        shared.committed(pg::commit(tx).await)?;
        events.committed();
        if let Some(domain) = &domain {
            begin_calls(begin, opened, domain);
        }
        if due {
            shared.due.notify_one();
        }
        Ok(ends(wave, plan))
    }
}

/// Why a verdict must not be stored: no orchestrator would take it. A bug of the service.
fn too_large(plan: &Plan) -> Option<String> {
    let size = |row: &barrier::Row| match row.answer.as_ref()? {
        Answer::Succeeded(done) => done.result.as_ref().map(|any| any.value.len()),
        Answer::Undone(done) => done.result.as_ref().map(|any| any.value.len()),
        Answer::Rejected(no) => no.detail.as_ref().map(|any| any.value.len()),
        _ => None,
    };
    let largest = plan.inserts.iter().filter_map(size).max().filter(|size| *size > MAX_RESULT)?;
    Some(format!("RESULT_TOO_LARGE: a result of {largest} bytes, {MAX_RESULT} are allowed"))
}

async fn look_up<O>(conn: &mut PgConnection, wave: &[Item<O>]) -> Result<Stored, sqlx::Error> {
    let keys: Vec<_> = wave.iter().map(|item| item.command.key()).collect();
    let stored = barrier::read(conn, keys.iter()).await?;
    if !stored.has_intents() {
        return Ok(stored);
    }
    let unresolved = intent::table::unresolved(conn, keys.iter()).await?;
    Ok(stored.with_unresolved(unresolved))
}

/// The intents that the plan opens; those that got a place are called right after the commit.
fn opened<S: Service, O: From>(plan: &Plan, wave: &[Item<O>], begin: &mut Begin<S>) -> Vec<New> {
    let mut places = begin.places();
    let new = |open: &crate::decide::Open| {
        let Item { command, origins } = &wave[open.command];
        let key = command.key();
        let called = open.ready && places > 0;
        places -= usize::from(called);
        New {
            intent: Intent {
                gateway_key: intent::first_key(&key, open.slot),
                key,
                verb: open.slot.verb(),
                attempt: command.attempt,
                calls: i32::from(called),
                traceparent: command.traceparent.clone(),
                partition: origins.first().map_or(NOBODY, From::partition),
            },
        }
    };
    plan.opened.iter().map(new).collect()
}

/// The barrier's rows and the intents. `None`: someone else was first, or an intent that was met is no longer open. Else whether
/// the sweeper should look.
async fn write_barrier<S: Service, O: From>(
    shared: &Shared<S>,
    conn: &mut PgConnection,
    plan: &Plan,
    wave: &[Item<O>],
    opened: &[New],
) -> Result<Option<bool>, sqlx::Error> {
    let inserted = match opened {
        [] => barrier::insert(conn, &plan.inserts).await?,
        _ => {
            let lease = shared.calls.lease();
            intent::table::insert(conn, shared.instance, lease, &plan.inserts, opened).await?
        }
    };
    if inserted < plan.inserts.len() as u64 {
        return Ok(None);
    }
    let mut due = opened.iter().any(|new| new.intent.calls == 0);
    if !plan.touches.is_empty() {
        let mut met: Vec<Met> = plan.touches.iter().map(|touch| meets(touch, wave)).collect();
        met.sort_by(|a, b| (&a.key, a.slot).cmp(&(&b.key, b.slot)));
        let (open, woken) = intent::table::meet(conn, &met).await?;
        if open < met.len() {
            return Ok(None);
        }
        due |= woken;
    }
    Ok(Some(due))
}

fn meets<O: From>(touch: &crate::decide::Touch, wave: &[Item<O>]) -> Met {
    let Item { command, origins } = &wave[touch.command];
    let partition = origins.first().map_or(NOBODY, From::partition);
    let attempt = touch.attempt.then_some((command.attempt, partition));
    Met { key: command.key(), slot: touch.slot, attempt }
}

fn begin_calls<S: Service>(mut begin: Begin<S>, opened: Vec<New>, domain: &S::Domain) {
    for New { intent } in opened.into_iter().filter(|new| new.intent.calls > 0) {
        match domain.call(&intent) {
            Some(call) => begin.call(intent, call),
            None => intent::calls::no_call(&intent),
        }
    }
}

fn ends<O>(wave: &[Item<O>], plan: Plan) -> Vec<End> {
    for Alarm::FromTheFuture { command } in &plan.alarms {
        metrics::counter!("skald_participant_alarms_total", "alarm" => "from_the_future").increment(1);
        let saga = wave[*command].command.saga;
        tracing::warn!("a command's saga id is from the future: a clock is wrong, or no partitions are made");
        tracing::debug!(%saga, "from the future");
    }
    plan.answers.into_iter().map(|answer| answer.map_or(End::Waits, End::Answered)).collect()
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a text".to_owned())
}
