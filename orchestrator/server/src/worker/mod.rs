//! A worker: takes whatever is queued now, decides it in one transaction, and only then sends, answers and finishes
//! offsets. This room holds the loop and what is done about each class of error; [`batch`] is the transaction.

mod batch;
mod finish;
mod schedule;
mod timers;
mod writes;

use std::{sync::Arc, time::Duration};

use skald_kit::{backoff, health::Status, lifecycle::Shutdown};
use sqlx::PgConnection;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::{
    job::{Ask, Job, Origin, Reply, Wake},
    shared::Shared,
};
use timers::{Timer, Timers};

/// Callers that wait for one worker at most. Beyond, they are told to come back: four full batches are some 100 ms of
/// work.
pub const CALLS: usize = 2048;
/// Messages that wait for one worker at most. Beyond, polling stops: two full batches keep it busy.
pub const MESSAGES: usize = 1024;
/// Of each batch so much is kept for callers, however many messages wait.
const CALLERS_SHARE: usize = 4;
/// A culprit must fail alone so often before it is put aside.
const ALONE: u32 = 3;
/// A command that did not reach the broker is sent again after this.
const UNDELIVERED_MS: i64 = 1_000;

/// Where jobs for one worker go.
#[derive(Clone, Debug)]
pub struct Inbox {
    /// Callers who wait.
    pub calls: mpsc::Sender<Job>,
    /// Messages, and sagas that are to be looked at.
    pub messages: mpsc::Sender<Job>,
}

/// Why a batch was not decided.
#[derive(Debug)]
pub(crate) enum Failure {
    /// One of its inputs is to blame.
    Poison(String),
    /// Somebody else was first.
    Conflict(String),
    /// Nobody is to blame.
    Transient(String),
    /// Nobody knows whether it was stored.
    CommitUnknown(String),
    /// This binary must not go on.
    Fatal(anyhow::Error),
}

/// One worker with its connection.
pub struct Worker {
    shared: Arc<Shared>,
    shutdown: Shutdown,
    calls: mpsc::Receiver<Job>,
    messages: mpsc::Receiver<Job>,
    /// Sagas whose commands were not delivered. Unbounded, but the producer's queue bounds what can fail.
    undelivered: mpsc::UnboundedReceiver<Uuid>,
    connection: Option<PgConnection>,
    timers: Timers,
}

impl Worker {
    /// A worker and where its jobs go.
    pub fn new(
        shared: Arc<Shared>,
        shutdown: Shutdown,
        undelivered: mpsc::UnboundedReceiver<Uuid>,
    ) -> (Worker, Inbox) {
        let (calls_in, calls) = mpsc::channel(CALLS);
        let (messages_in, messages) = mpsc::channel(MESSAGES);
        let worker = Worker {
            shared,
            shutdown,
            calls,
            messages,
            undelivered,
            connection: None,
            timers: Timers::default(),
        };
        (worker, Inbox { calls: calls_in, messages: messages_in })
    }

    /// Works until both queues are closed and empty.
    ///
    /// # Errors
    /// This binary must not go on: a saga was written by a newer one.
    pub async fn run(mut self) -> anyhow::Result<()> {
        while let Some(jobs) = self.collect().await {
            metrics::histogram!("skald_batch_size").record(jobs.len() as f64);
            self.handle(jobs).await?;
        }
        Ok(())
    }

    /// Whatever is queued now, at least one job; None at the end.
    async fn collect(&mut self) -> Option<Vec<Job>> {
        let most = self.shared.config.driver.batch;
        let mut jobs = Vec::new();
        loop {
            self.take_due(&mut jobs, most);
            let share = most - most / CALLERS_SHARE;
            while jobs.len() < share
                && let Ok(job) = self.messages.try_recv()
            {
                jobs.push(job);
            }
            while jobs.len() < most
                && let Ok(job) = self.calls.try_recv()
            {
                jobs.push(job);
            }
            while jobs.len() < most
                && let Ok(job) = self.messages.try_recv()
            {
                jobs.push(job);
            }
            if !jobs.is_empty() {
                return Some(jobs);
            }
            if self.calls.is_closed() && self.messages.is_closed() {
                return None;
            }
            self.wait(&mut jobs).await;
        }
    }

    /// Until something is there.
    async fn wait(&mut self, jobs: &mut Vec<Job>) {
        let due = self.timers.next().map(|at| (at - self.shared.clock.now_ms()).max(0) as u64);
        // Without a timer: often enough to see that the queues were closed.
        let due = Duration::from_millis(due.unwrap_or(60_000).min(60_000));
        tokio::select! {
            job = self.messages.recv(), if !self.messages.is_closed() || !self.messages.is_empty() => jobs.extend(job),
            job = self.calls.recv(), if !self.calls.is_closed() || !self.calls.is_empty() => jobs.extend(job),
            Some(saga) = self.undelivered.recv() => self.not_delivered(saga),
            () = tokio::time::sleep(due) => {}
        }
    }

    /// Sagas whose timer fired.
    fn take_due(&mut self, jobs: &mut Vec<Job>, most: usize) {
        while let Ok(saga) = self.undelivered.try_recv() {
            self.not_delivered(saga);
        }
        let now = self.shared.clock.now_ms();
        for (saga, timer) in self.timers.due(now, most / 2) {
            // While nothing gets through, what was not delivered waits here and costs nothing, but for a probe.
            let waits = timer.undelivered && self.shared.transport.is_failing();
            if waits && !self.shared.transport.may_probe(now) {
                self.not_delivered(saga);
                continue;
            }
            let why = if timer.undelivered { Wake::Undelivered } else { Wake::Timer };
            jobs.push(Job { saga, actor: "timer".into(), ask: Ask::Wake(why), origin: Origin::Nobody });
        }
    }

    fn not_delivered(&mut self, saga: Uuid) {
        let at = self.shared.clock.now_ms() + UNDELIVERED_MS;
        self.timers.set(saga, Timer { at, undelivered: true });
    }

    /// Decides jobs, whatever it takes.
    async fn handle(&mut self, jobs: Vec<Job>) -> anyhow::Result<()> {
        let mut open = vec![(jobs, 0)];
        let mut gaps = backoff::gaps();
        while let Some((jobs, alone)) = open.pop() {
            if jobs.is_empty() {
                continue;
            }
            match self.attempt(&jobs).await {
                Ok(decided) => {
                    self.finish(jobs, decided);
                    gaps = backoff::gaps();
                }
                Err(Failure::Fatal(error)) => return Err(error),
                Err(Failure::Conflict(why)) => {
                    tracing::debug!(why, "somebody else was first: deciding again");
                    open.push((jobs, alone));
                }
                Err(Failure::Poison(why)) if jobs.len() > 1 => {
                    tracing::warn!(why, jobs = jobs.len(), "a batch has a poisonous input: halving it");
                    let mut first = jobs;
                    let second = first.split_off(first.len() / 2);
                    open.extend([(second, 0), (first, 0)]);
                }
                Err(Failure::Poison(_)) if alone + 1 < ALONE => open.push((jobs, alone + 1)),
                Err(Failure::Poison(why)) => self.put_aside(jobs, &why).await,
                Err(Failure::Transient(why)) => {
                    self.away(&why, jobs, &mut open, Reply::Unavailable);
                    self.rest(gaps.next().unwrap_or_default()).await;
                }
                Err(Failure::CommitUnknown(why)) => {
                    metrics::counter!("skald_commit_unknown_total").increment(1);
                    self.away(&why, jobs, &mut open, Reply::MaybeStored);
                }
            }
            if self.shutdown.is_requested() && self.connection.is_none() {
                // The database is away while we stop: what came by message comes again.
                open.into_iter()
                    .flat_map(|(jobs, _)| jobs)
                    .for_each(|job| job.origin.reply(Reply::Unavailable));
                return Ok(());
            }
        }
        Ok(())
    }

    /// The database is away, or the connection broke: callers are told, the rest is tried again on a new connection.
    fn away(&mut self, why: &str, jobs: Vec<Job>, open: &mut Vec<(Vec<Job>, u32)>, reply: Reply) {
        tracing::warn!(why, "the batch was not stored: deciding again");
        self.connection = None;
        self.shared.health.set("postgres", Status::Degraded, why);
        let (callers, rest): (Vec<Job>, Vec<Job>) =
            jobs.into_iter().partition(|job| matches!(job.origin, Origin::Caller(_)));
        for job in callers {
            job.origin.reply(reply.clone());
        }
        open.push((rest, 0));
    }

    /// Waits, telling callers meanwhile that the database is away.
    async fn rest(&mut self, gap: Duration) {
        let over = tokio::time::sleep(gap);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return,
                () = self.shutdown.requested() => return,
                Some(job) = self.calls.recv() => job.origin.reply(Reply::Unavailable),
            }
        }
    }
}
