//! The consumer's thread: polls, batches, hands over, follows rebalances. Never waits for a worker longer
//! than a second without polling.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context as TaskContext, Poll, Wake};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{ClientContext, TopicPartitionList};
use tokio::sync::{mpsc, oneshot};

use super::consumer::{Batch, Message, Shared};
use super::positions::Positions;

/// How long a poll waits for the first message: also how soon a stop is noticed.
const POLL: Duration = Duration::from_millis(100);
/// A worker that takes nothing for so long has an outage: the partitions are paused.
const OUTAGE: Duration = Duration::from_secs(1);

/// What the thread is to do; rises only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// Take messages.
    Run = 0,
    /// Take none, stay in the group.
    Drain = 1,
    /// Leave.
    Close = 2,
}

/// Follows rebalances, which run inside `poll` on the poller's thread.
pub(super) struct Context {
    positions: Arc<Mutex<Positions>>,
    /// Partitions that are assigned during a pause must be paused too, and resumed after it: `pause` and `resume` only know
    /// those that are there.
    paused: AtomicBool,
}

impl Context {
    pub(super) fn new(positions: Arc<Mutex<Positions>>) -> Self {
        Self { positions, paused: AtomicBool::new(false) }
    }
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "Kafka consumer");
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let mut positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        match rebalance {
            Rebalance::Assign(partitions) => {
                partitions.elements().iter().for_each(|p| positions.assign(p.topic(), p.partition()));
            }
            Rebalance::Revoke(partitions) => {
                partitions.elements().iter().for_each(|p| positions.revoke(p.topic(), p.partition()));
            }
            Rebalance::Error(error) => tracing::warn!(%error, "the consumer group's rebalance failed"),
        }
    }

    fn post_rebalance(&self, client: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(partitions) = rebalance else { return };
        // librdkafka remembers a pause beyond a revoke: one that came back after the pause would stay paused for ever.
        let set = if self.paused.load(Ordering::Relaxed) {
            client.pause(partitions)
        } else {
            client.resume(partitions)
        };
        if let Err(error) = set {
            tracing::warn!(%error, "new partitions were neither paused nor resumed");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        match result {
            Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => {}
            // Stored offsets are committed again by the next interval.
            Err(error) => tracing::debug!(%error, "offsets were not committed"),
        }
    }
}

/// Starts the thread. It ends when the handle is closed or dropped, or the client failed for good; then
/// `closing` fires.
pub(super) fn spawn(
    shared: Weak<Shared>,
    client: Arc<BaseConsumer<Context>>,
    sender: mpsc::Sender<Batch>,
    max_batch: usize,
    closing: oneshot::Sender<()>,
) -> std::io::Result<()> {
    let poller = Poller { shared, client, max_batch, carried: Vec::new() };
    thread::Builder::new().name("kafka consumer".to_owned()).spawn(move || {
        poller.run(sender);
        let _ = closing.send(());
    })?;
    Ok(())
}

struct Poller {
    shared: Weak<Shared>,
    client: Arc<BaseConsumer<Context>>,
    max_batch: usize,
    /// Messages that came while paused; they start the next batch.
    carried: Vec<Message>,
}

impl Poller {
    fn run(mut self, sender: mpsc::Sender<Batch>) {
        while self.phase() == Phase::Run as u8 {
            match self.collect() {
                Ok(messages) if messages.is_empty() => {}
                Ok(messages) => {
                    if !self.hand_over(&sender, Batch { messages }) {
                        break;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the Kafka consumer failed for good");
                    break;
                }
            }
        }
        drop(sender);
        // Waits for the acknowledgements of what was handed over, serving the group meanwhile.
        self.pause();
        while self.phase() < Phase::Close as u8 {
            let _ = self.client.poll(POLL);
        }
        // The last one: dropping it commits what was stored and leaves the group.
        drop(self);
    }

    /// What the handle wants; a handle that is gone wants to leave.
    fn phase(&self) -> u8 {
        self.shared.upgrade().map_or(Phase::Close as u8, |shared| shared.phase.load(Ordering::Acquire))
    }

    /// The first message, waited for, and all that is queued behind it. Empty when none came.
    fn collect(&mut self) -> KafkaResult<Vec<Message>> {
        let mut messages = std::mem::take(&mut self.carried);
        let mut wait = if messages.is_empty() { POLL } else { Duration::ZERO };
        while messages.len() < self.max_batch {
            match self.client.poll(wait) {
                Some(Ok(message)) => messages.extend(self.keep(&message)),
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Err(error),
                Some(Err(error)) => tracing::debug!(%error, "Kafka consumer"),
                None => break,
            }
            wait = Duration::ZERO;
        }
        Ok(messages)
    }

    /// Copies the message out of librdkafka and counts it as taken; `None` when its partition was revoked
    /// meanwhile.
    fn keep(&self, message: &BorrowedMessage<'_>) -> Option<Message> {
        let (partition, offset) = (message.partition(), message.offset());
        let (topic, assignment) = {
            let mut positions =
                self.client.context().positions.lock().unwrap_or_else(PoisonError::into_inner);
            positions.taken(message.topic(), partition, offset)?
        };
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            headers
                .iter()
                .map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec()))
                .collect()
        });
        Some(Message {
            topic,
            partition,
            offset,
            assignment,
            key: message.key().map(<[u8]>::to_vec),
            payload: message.payload().unwrap_or_default().to_vec(),
            headers,
            timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
        })
    }

    /// `false`: nobody will take it. What is not handed over is not acknowledged, so it comes again.
    fn hand_over(&mut self, sender: &mpsc::Sender<Batch>, batch: Batch) -> bool {
        let outage = Instant::now() + OUTAGE;
        while Instant::now() < outage {
            if self.phase() != Phase::Run as u8 {
                return false;
            }
            let step = (Instant::now() + POLL).min(outage);
            match wait_until(sender.reserve(), step) {
                Some(Ok(permit)) => {
                    permit.send(batch);
                    return true;
                }
                Some(Err(_)) => return false,
                None => {}
            }
        }
        self.wait_out(sender, batch)
    }

    /// An outage: paused, but polling, until there is room.
    fn wait_out(&mut self, sender: &mpsc::Sender<Batch>, batch: Batch) -> bool {
        tracing::warn!("messages are not taken: consuming is paused");
        self.pause();
        let taken = loop {
            if self.phase() != Phase::Run as u8 {
                return false;
            }
            // A message that slipped through is kept for the next batch, an error is the next poll's.
            if let Some(Ok(message)) = self.client.poll(POLL / 2) {
                self.carried.extend(self.keep(&message));
            }
            match sender.try_reserve() {
                Ok(permit) => {
                    permit.send(batch);
                    break true;
                }
                Err(mpsc::error::TrySendError::Closed(())) => break false,
                Err(mpsc::error::TrySendError::Full(())) => {}
            }
        };
        self.resume();
        tracing::info!("messages are taken again: consuming goes on");
        taken
    }

    fn pause(&self) {
        self.client.context().paused.store(true, Ordering::Relaxed);
        if let Err(error) = self.client.assignment().and_then(|all| self.client.pause(&all)) {
            tracing::warn!(%error, "consuming was not paused");
        }
    }

    fn resume(&self) {
        self.client.context().paused.store(false, Ordering::Relaxed);
        if let Err(error) = self.client.assignment().and_then(|all| self.client.resume(&all)) {
            tracing::warn!(%error, "consuming was not resumed");
        }
    }
}

/// Waits for `future` on this thread, until `deadline` at most; needs no runtime.
fn wait_until<F: Future>(future: F, deadline: Instant) -> Option<F::Output> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut context = TaskContext::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}
