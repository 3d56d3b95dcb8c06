//! A worker: takes whatever is queued now, decides it in one transaction, and only then sends, answers and finishes
//! offsets. This room holds the loop; [`batch`] is the transaction, [`trouble`] what is done when it fails.

mod batch;
mod finish;
pub mod look;
mod pace;
pub mod schedule;
mod timers;
mod trouble;
mod writes;

pub use writes::{Known, Next};

use std::{sync::Arc, time::Duration};

use skald_kit::lifecycle::Shutdown;
use sqlx::PgConnection;
use tokio::sync::mpsc;

use crate::{
    bus::Lost,
    job::{Ask, Job, Origin, Wake},
    shared::Shared,
};
use pace::Pace;
use timers::Timers;

/// Callers that wait for one worker at most. Beyond, they are told to come back: four full batches are some 100 ms of
/// work.
pub const CALLS: usize = 2048;
/// Messages that wait for one worker at most. Beyond, polling stops: two full batches keep it busy.
pub const MESSAGES: usize = 1024;
/// Of each batch so much is kept for callers, however many messages wait.
const CALLERS_SHARE: usize = 4;
/// An idle worker looks up so often.
const LOOK_UP_MS: u64 = 1_000;
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
    closing: Shutdown,
    calls: mpsc::Receiver<Job>,
    messages: mpsc::Receiver<Job>,
    /// Sagas whose commands were not delivered. Unbounded, but the transports' queues bound what can fail.
    undelivered: mpsc::UnboundedReceiver<Lost>,
    connection: Option<PgConnection>,
    /// The last thing that was tried with the database failed.
    troubled: bool,
    timers: Timers,
    /// At which what did not get there goes out when it can.
    pace: Pace,
    /// Thaws that it has acted on.
    thaws: u64,
}

impl Worker {
    /// A worker and where its jobs go. After `shutdown` it waits for nobody; at `closing` it ends, when its queues are
    /// empty, though somebody may still hold them.
    pub fn new(
        shared: Arc<Shared>,
        shutdown: Shutdown,
        closing: Shutdown,
        undelivered: mpsc::UnboundedReceiver<Lost>,
    ) -> (Worker, Inbox) {
        let (calls_in, calls) = mpsc::channel(CALLS);
        let (messages_in, messages) = mpsc::channel(MESSAGES);
        let driver = &shared.config.driver;
        let pace = Pace::new(driver.ramp_per_second / driver.worker_count() as f64);
        let worker = Worker {
            shared,
            shutdown,
            closing,
            calls,
            messages,
            undelivered,
            connection: None,
            troubled: false,
            timers: Timers::default(),
            pace,
            thaws: 0,
        };
        (worker, Inbox { calls: calls_in, messages: messages_in })
    }

    /// Works until both queues are empty and nobody puts anything into them any more.
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
            let closed = self.calls.is_closed() && self.messages.is_closed();
            if (closed || self.closing.is_requested()) && self.calls.is_empty() && self.messages.is_empty() {
                return None;
            }
            self.wait(&mut jobs).await;
        }
    }

    /// Until something is there.
    async fn wait(&mut self, jobs: &mut Vec<Job>) {
        let due = self.timers.next().map(|at| (at - self.shared.clock.now_ms()).max(0) as u64);
        // Often enough to see that the queues were closed, or a participant thawed.
        let due = Duration::from_millis(due.unwrap_or(60_000).min(LOOK_UP_MS));
        tokio::select! {
            job = self.messages.recv(), if !self.messages.is_closed() || !self.messages.is_empty() => jobs.extend(job),
            job = self.calls.recv(), if !self.calls.is_closed() || !self.calls.is_empty() => jobs.extend(job),
            Some(lost) = self.undelivered.recv() => self.not_delivered(lost),
            () = self.closing.requested() => {}
            () = tokio::time::sleep(due) => {}
        }
    }

    /// Sagas whose timer fired.
    fn take_due(&mut self, jobs: &mut Vec<Job>, most: usize) {
        while let Ok(lost) = self.undelivered.try_recv() {
            self.not_delivered(lost);
        }
        let now = self.shared.clock.now_ms();
        let thaws = self.shared.frozen.thaws();
        if std::mem::replace(&mut self.thaws, thaws) != thaws {
            let driver = &self.shared.config.driver;
            self.timers.hurry(now, driver.ramp_per_second / driver.worker_count() as f64);
        }
        for (saga, timer) in self.timers.due(now, most / 2) {
            // While nothing gets through, what was not delivered waits here and costs nothing, but for a probe; afterwards
            // it goes out at a pace.
            if let Some(lost) =
                timer.lost.clone().filter(|lost| self.waits(lost, now) || !self.pace.take(now))
            {
                metrics::counter!("skald_undelivered_waits_total").increment(1);
                self.not_delivered(lost);
                continue;
            }
            let why = if timer.lost.is_some() { Wake::Undelivered } else { Wake::Timer };
            jobs.push(Job { saga, actor: "timer".into(), ask: Ask::Wake(why), origin: Origin::Nobody });
        }
    }

    /// Nothing gets through to whom it was for, and it is not the one that finds out whether something does again.
    fn waits(&self, lost: &Lost, now: i64) -> bool {
        let transports = &self.shared.transports;
        let failing = |name: &Arc<str>| transports.is_failing(name) && !transports.may_probe(name, now);
        lost.participant.as_ref().is_some_and(failing)
    }

    fn not_delivered(&mut self, lost: Lost) {
        let at = self.shared.clock.now_ms() + UNDELIVERED_MS;
        self.timers.lose(lost, at);
    }
}
