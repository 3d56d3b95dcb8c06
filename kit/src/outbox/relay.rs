//! The event relay's handle: takes committed rows, tells which the broker has. The table is the worker's.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::memory::Memory;
use super::worker::Worker;
use super::{Row, cloudevents};
use crate::config::{self, Secret};
use crate::kafka::{DeliveryError, Producer, SendError};
use crate::lifecycle::Tasks;

/// The handle of a service's event relay; clones share it.
#[derive(Clone)]
pub struct Relay {
    shared: Arc<Shared>,
}

struct Shared {
    state: Arc<State>,
    producer: Producer<Arc<Row>>,
    closing: CancellationToken,
    closed: CancellationToken,
}

/// What the handle, the task and the producer's thread share.
pub(super) struct State {
    memory: Mutex<Memory>,
    /// Something waits to be deleted or sent again.
    pub(super) work: Notify,
    pub(super) last_take: Mutex<Instant>,
    pub(super) acknowledged: AtomicU64,
    retries: AtomicU64,
    /// How long [`Relay::close`] gives the broker.
    pub(super) grace: Mutex<Duration>,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("under_way", &self.under_way()).finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

impl Relay {
    /// Starts the relay of `owner` (its [`crate::instance::Instance`]'s id, whose row must beat) with a
    /// producer and a database connection of its own. Its task runs in `tasks` until [`close`](Self::close),
    /// or until the last handle is gone.
    ///
    /// # Errors
    /// librdkafka does not accept the configuration.
    pub fn start(
        kafka: &config::Kafka,
        url: &Secret,
        owner: Uuid,
        service: &str,
        tasks: &Tasks,
    ) -> Result<Self> {
        let state = Arc::new(State {
            memory: Mutex::default(),
            work: Notify::new(),
            last_take: Mutex::new(Instant::now()),
            acknowledged: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            grace: Mutex::new(Duration::ZERO),
        });
        let on_delivery = Arc::clone(&state);
        let producer = Producer::new(kafka, move |row, result| on_delivery.delivered(row, result))
            .context("the event relay's Kafka producer")?;
        let (closing, closed) = (CancellationToken::new(), CancellationToken::new());
        let worker =
            Worker::new(Arc::clone(&state), producer.clone(), url.clone(), owner, service.to_owned());
        let (stop, ended) = (closing.clone(), closed.clone().drop_guard());
        tasks.spawn("outbox relay", async move {
            worker.run(stop).await;
            drop(ended);
            Ok(())
        });
        Ok(Self { shared: Arc::new(Shared { state, producer, closing, closed }) })
    }

    /// Publishes rows that were just committed. Never waits; rows beyond the memory's bound are picked up
    /// from the table later.
    pub fn publish(&self, rows: Vec<Row>) {
        if !rows.is_empty() {
            self.shared.state.publish(&self.shared.producer, rows);
        }
    }

    /// Ids of rows that the broker has, `max` at most: delete them in the present transaction. When it fails,
    /// give them [back](Self::give_back); ids that are neither deleted nor given back are published again
    /// after a while.
    pub fn take_acked(&self, max: usize) -> Vec<Uuid> {
        *lock(&self.shared.state.last_take) = Instant::now();
        self.shared.state.memory().take_acked(max)
    }

    /// The transaction that should have deleted them failed.
    pub fn give_back(&self, ids: Vec<Uuid>) {
        if !ids.is_empty() {
            self.shared.state.memory().give_back(ids);
            self.shared.state.work.notify_one();
        }
    }

    /// Rows in memory that the broker has not acknowledged.
    pub fn under_way(&self) -> usize {
        self.shared.state.memory().under_way()
    }

    /// Deliveries that failed and were, or will be, tried again, since the start.
    pub fn retries(&self) -> u64 {
        self.shared.state.retries.load(Ordering::Relaxed)
    }

    /// Waits up to `deadline` for the broker's acknowledgements, deletes what was acknowledged and ends the
    /// task. Call it after the last [`publish`](Self::publish). Returns how many rows are left: another
    /// instance, or the next start, relays them.
    pub async fn close(&self, deadline: Duration) -> usize {
        *lock(&self.shared.state.grace) = deadline;
        self.shared.closing.cancel();
        self.shared.closed.cancelled().await;
        self.under_way()
    }
}

impl State {
    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        lock(&self.memory)
    }

    pub(super) fn publish(&self, producer: &Producer<Arc<Row>>, rows: Vec<Row>) {
        let admitted: Vec<Arc<Row>> = {
            let mut memory = self.memory();
            rows.into_iter().filter(|row| memory.admit(row)).map(Arc::new).collect()
        };
        admitted.into_iter().for_each(|row| self.send(producer, row));
    }

    pub(super) fn send(&self, producer: &Producer<Arc<Row>>, row: Arc<Row>) {
        match cloudevents::send(producer, &row, Arc::clone(&row)) {
            Ok(()) => {}
            Err((SendError::TooLarge, row)) => {
                // Stays in the table and in memory, so it is not tried again before the next start.
                let bytes = row.payload.len();
                tracing::error!(id = %row.id, topic = row.topic, bytes, "an event is too large to be published");
                metrics::counter!("skald_outbox_too_large_total").increment(1);
            }
            Err((_, row)) => self.retry_later(row),
        }
    }

    /// Runs on the producer's thread.
    fn delivered(&self, row: Arc<Row>, result: Result<(), DeliveryError>) {
        match result {
            Ok(()) => {
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
                if self.memory().acked(&row) {
                    self.work.notify_one();
                }
            }
            Err(error) => {
                tracing::debug!(%error, id = %row.id, "an event was not delivered");
                self.retry_later(row);
            }
        }
    }

    fn retry_later(&self, row: Arc<Row>) {
        self.retries.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("skald_outbox_retries_total").increment(1);
        if self.memory().failed(row) {
            self.work.notify_one();
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
