//! Consuming: the handle and the types. Batches come out of a bounded channel; offsets are stored as they are
//! acknowledged.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::{mpsc, oneshot};

use super::poller::{self, Context, Phase};
use super::positions::Positions;
use super::{base_config, own_properties};
use crate::config;
use crate::lifecycle::Shutdown;

/// How often [`Consumer::report_lag`] asks the broker.
const LAG_EVERY: Duration = Duration::from_secs(10);
/// One question to the broker.
const ASK: Duration = Duration::from_secs(5);

/// What a consumer is for.
#[derive(Debug, Clone)]
pub struct Options {
    /// The consumer group.
    pub group: String,
    /// Full names.
    pub topics: Vec<String>,
    /// Messages of a batch at most.
    pub max_batch: usize,
    /// Batches that wait in the channel at most. Two keep the worker busy while one is collected; more only
    /// make messages old.
    pub max_waiting: usize,
}

impl Options {
    /// Batches of 512 at most, two waiting.
    pub fn new(group: impl Into<String>, topics: Vec<String>) -> Self {
        Self { group: group.into(), topics, max_batch: 512, max_waiting: 2 }
    }
}

/// A message as it came, with what acknowledges it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Full name.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: i32,
    /// Its place in the partition.
    pub offset: i64,
    /// Which assignment of the partition it came with.
    pub assignment: u64,
    /// If it has one.
    pub key: Option<Vec<u8>>,
    /// Empty for a tombstone.
    pub payload: Vec<u8>,
    /// In order; a name can appear more than once.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Unix milliseconds, by the producer or the broker; 0 when unknown.
    pub timestamp_ms: i64,
}

impl Message {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_slice())
    }

    /// The first header of that name, when it is UTF-8.
    pub fn header_str(&self, name: &str) -> Option<&str> {
        self.header(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// What [`Consumer::done`] takes when the message is finished.
    pub fn ack(&self) -> Ack {
        Ack {
            topic: Arc::clone(&self.topic),
            partition: self.partition,
            offset: self.offset,
            assignment: self.assignment,
        }
    }
}

/// All that was queued when it was taken; never empty. Order per partition is the broker's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// At most [`Options::max_batch`].
    pub messages: Vec<Message>,
}

/// Says that a message is finished: its effects are durable, or it never will be handled again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// As in the message.
    pub topic: Arc<str>,
    /// As in the message.
    pub partition: i32,
    /// As in the message.
    pub offset: i64,
    /// As in the message.
    pub assignment: u64,
}

/// A partition that is assigned now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// Full name.
    pub topic: Arc<str>,
    /// Its number.
    pub partition: i32,
    /// Rises with each assignment.
    pub assignment: u64,
    /// The next offset that was stored in this assignment.
    pub stored: Option<i64>,
    /// Messages from the lowest unfinished to the last taken.
    pub unfinished: usize,
}

/// How far behind a partition is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lag {
    /// Full name.
    pub topic: Arc<str>,
    /// Its number.
    pub partition: i32,
    /// Messages between what was finished and the end.
    pub messages: i64,
}

/// A member of a consumer group with a thread of its own. Clones share it.
#[derive(Clone)]
pub struct Consumer {
    shared: Arc<Shared>,
}

/// What the handle and the thread share.
pub(super) struct Shared {
    pub(super) group: String,
    pub(super) positions: Arc<Mutex<Positions>>,
    pub(super) phase: AtomicU8,
    /// Taken away when the consumer closes: the thread then has the last one, and dropping that leaves the
    /// group.
    pub(super) client: Mutex<Option<Arc<BaseConsumer<Context>>>>,
    closed: Mutex<Option<oneshot::Receiver<()>>>,
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer").field("group", &self.shared.group).finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.phase.store(Phase::Close as u8, Ordering::Release);
    }
}

impl Consumer {
    /// Joins the group and starts the thread that fills the channel.
    ///
    /// Normal back-pressure is a full channel: the thread stops polling. After a second of that it counts as
    /// an outage: the partitions are paused and the thread polls again, so that rebalances are served and the
    /// group does not throw us out.
    ///
    /// The channel ends after [`drain`](Self::drain), or when the client failed for good.
    ///
    /// # Errors
    /// librdkafka does not accept the configuration, or the thread cannot be started.
    pub fn start(
        kafka: &config::Kafka,
        options: Options,
    ) -> Result<(Self, mpsc::Receiver<Batch>), KafkaError> {
        let positions = Arc::new(Mutex::new(Positions::new(&options.topics)));
        let context = Context::new(Arc::clone(&positions));
        let client: BaseConsumer<Context> =
            client_config(kafka, &options.group).create_with_context(context)?;
        let topics: Vec<&str> = options.topics.iter().map(String::as_str).collect();
        client.subscribe(&topics)?;
        let client = Arc::new(client);
        let (closing, closed) = oneshot::channel();
        let shared = Arc::new(Shared {
            group: options.group,
            positions,
            phase: AtomicU8::new(Phase::Run as u8),
            client: Mutex::new(Some(Arc::clone(&client))),
            closed: Mutex::new(Some(closed)),
        });
        let (sender, receiver) = mpsc::channel(options.max_waiting.max(1));
        poller::spawn(Arc::downgrade(&shared), client, sender, options.max_batch.max(1), closing)
            .map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        Ok((Self { shared }, receiver))
    }

    /// Messages are finished, in any order. Stores the lowest unfinished offset of each partition;
    /// acknowledgements of an older assignment change nothing. The broker learns of it within a second, on
    /// revocation, and on close.
    pub fn done(&self, acks: &[Ack]) {
        let Some(client) = self.client() else { return };
        // Held while storing: a revocation in between would wait, so nothing is stored for a partition that
        // just came back.
        let mut positions = self.positions();
        let store = positions.done(acks);
        if store.is_empty() {
            return;
        }
        let mut offsets = TopicPartitionList::with_capacity(store.len());
        for (topic, partition, next) in &store {
            // Fails for negative offsets only.
            let _ = offsets.add_partition_offset(topic, *partition, Offset::Offset(*next));
        }
        if let Err(error) = client.store_offsets(&offsets)
            && error.rdkafka_error_code() != Some(RDKafkaErrorCode::State)
        {
            tracing::warn!(%error, group = self.shared.group, "offsets were not stored");
        }
    }

    /// The partitions that are assigned now.
    pub fn assignment(&self) -> Vec<Assigned> {
        self.positions().assigned()
    }

    /// Asks the broker how far behind each assigned partition is. Blocks a thread of tokio's blocking pool
    /// meanwhile.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn lag(&self) -> Result<Vec<Lag>, KafkaError> {
        let Some(client) = self.client() else { return Ok(Vec::new()) };
        let assigned = self.assignment();
        let asked = tokio::task::spawn_blocking(move || lag_of(&client, &assigned));
        asked.await.unwrap_or(Err(KafkaError::Canceled))
    }

    /// Keeps the gauge `skald_kafka_lag{group,topic,partition}` until the stop is asked for.
    ///
    /// # Errors
    /// None: a broker that does not answer only leaves the gauge as it was.
    pub async fn report_lag(self, shutdown: Shutdown) -> anyhow::Result<()> {
        loop {
            let asked = tokio::select! {
                asked = self.lag() => asked,
                () = shutdown.requested() => return Ok(()),
            };
            if let Ok(lags) = asked {
                for lag in lags {
                    let labels = [
                        ("group", self.shared.group.clone()),
                        ("topic", lag.topic.to_string()),
                        ("partition", lag.partition.to_string()),
                    ];
                    metrics::gauge!("skald_kafka_lag", &labels).set(lag.messages as f64);
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LAG_EVERY) => {}
                () = shutdown.requested() => return Ok(()),
            }
        }
    }

    /// Takes no more messages: the channel ends after the batches that wait in it. Acknowledgements still
    /// count.
    pub fn drain(&self) {
        self.shared.phase.fetch_max(Phase::Drain as u8, Ordering::AcqRel);
    }

    /// Commits what was stored and leaves the group; `false` when that took longer than `deadline` (it goes
    /// on alone).
    pub async fn close(&self, deadline: Duration) -> bool {
        self.shared.phase.fetch_max(Phase::Close as u8, Ordering::AcqRel);
        drop(self.lock_client().take());
        let closed = self.shared.closed.lock().unwrap_or_else(PoisonError::into_inner).take();
        match closed {
            Some(closed) => tokio::time::timeout(deadline, closed).await.is_ok(),
            None => true,
        }
    }

    fn client(&self) -> Option<Arc<BaseConsumer<Context>>> {
        self.lock_client().clone()
    }

    fn lock_client(&self) -> MutexGuard<'_, Option<Arc<BaseConsumer<Context>>>> {
        self.shared.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn positions(&self) -> MutexGuard<'_, Positions> {
        self.shared.positions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lag_of(client: &BaseConsumer<Context>, assigned: &[Assigned]) -> Result<Vec<Lag>, KafkaError> {
    let committed = client.committed(ASK)?;
    let mut lags = Vec::with_capacity(assigned.len());
    for entry in assigned {
        let (low, high) = client.fetch_watermarks(&entry.topic, entry.partition, ASK)?;
        let committed =
            committed.find_partition(&entry.topic, entry.partition).and_then(|found| match found.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            });
        let finished = entry.stored.or(committed).unwrap_or(low);
        let messages = (high - finished).max(0);
        lags.push(Lag { topic: Arc::clone(&entry.topic), partition: entry.partition, messages });
    }
    Ok(lags)
}

fn client_config(kafka: &config::Kafka, group: &str) -> rdkafka::ClientConfig {
    let mut config = base_config(kafka);
    config
        .set("group.id", group)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.offset.store", "false")
        .set("enable.auto.commit", "true")
        .set("auto.commit.interval.ms", "1000")
        .set("session.timeout.ms", "10000")
        .set("heartbeat.interval.ms", "2000")
        // The poller never stays away longer than a second; a minute is for a machine that was asleep.
        .set("max.poll.interval.ms", "60000")
        // A topic that was made after we subscribed is found within this, not within the default of five minutes.
        .set("topic.metadata.refresh.interval.ms", "10000")
        // Eight full batches per partition and 16 MiB in all: enough to never wait, little enough to be
        // forgotten on a pause.
        .set("queued.min.messages", "4096")
        .set("queued.max.messages.kbytes", "16384")
        // How long a fetch is put off when the queue is full: the default of a second would be seen as one.
        .set("fetch.queue.backoff.ms", "2")
        // The broker answers as soon as there is something; this is only how often it says that there is
        // nothing.
        .set("fetch.wait.max.ms", "100")
        .set("enable.partition.eof", "false");
    own_properties(&mut config, kafka);
    config
}
