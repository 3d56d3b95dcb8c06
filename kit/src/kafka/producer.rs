//! Producing: takes records without waiting, tells on one thread how each delivery ended. Repeats nothing by
//! itself beyond what librdkafka does within a delivery.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};

use super::{base_config, own_properties};
use crate::config;

/// Records that the client holds at most; beyond, [`SendError::QueueFull`]. Ten seconds of work at full
/// speed.
const MAX_QUEUED: &str = "100000";
/// Kibibytes that they may have.
const MAX_QUEUED_KIB: &str = "65536";
/// A delivery that takes longer failed. Longer than a broker needs to restart, shorter than an order may
/// wait.
const DELIVERY_TIMEOUT_MS: &str = "30000";
/// A client that failed for good is replaced no more often than this.
const REPLACE_EVERY: Duration = Duration::from_secs(1);

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// The full name.
    pub topic: &'a str,
    /// `None`: by the key, as [`super::partition_for`] does.
    pub partition: Option<i32>,
    /// Also what `None` above goes by.
    pub key: &'a [u8],
    /// The value.
    pub payload: &'a [u8],
    /// In order.
    pub headers: &'a [(&'a str, &'a [u8])],
}

/// Why a record was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The client's queue is full: the broker is away or too slow.
    #[error("the producer's queue is full")]
    QueueFull,
    /// The record is larger than the client may send. It never will be taken.
    #[error("the record is too large")]
    TooLarge,
    /// Anything else; the text is librdkafka's.
    #[error("the record was not taken: {0}")]
    Refused(String),
}

/// Why a record that was taken is not known to be at the broker. It may be there all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not delivered: {code}")]
pub struct DeliveryError {
    /// librdkafka's code.
    pub code: RDKafkaErrorCode,
}

/// Records were left when the deadline passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{left} records were not delivered in time")]
pub struct Unflushed {
    /// How many.
    pub left: usize,
}

/// An idempotent producer (acks=all, linger 0) whose records each carry a token of type `T`. Clones share it.
pub struct Producer<T: Send + 'static> {
    inner: Arc<Inner<T>>,
}

struct Inner<T: Send + 'static> {
    config: rdkafka::ClientConfig,
    context: Context<T>,
    /// Replaced when it fails for good (an idempotent producer whose sequence was lost never works again).
    client: RwLock<Arc<ThreadedProducer<Context<T>>>>,
    replaced: Mutex<Instant>,
}

type Callback<T> = dyn Fn(T, Result<(), DeliveryError>) + Send + Sync;

struct Context<T> {
    delivered: Arc<Callback<T>>,
}

impl<T> Clone for Context<T> {
    fn clone(&self) -> Self {
        Self { delivered: Arc::clone(&self.delivered) }
    }
}

/// rdkafka asks for `Sync`, though the token only moves: the mutex gives it and is never locked.
struct Token<T>(Mutex<T>);

impl<T: Send + 'static> ClientContext for Context<T> {
    fn error(&self, error: KafkaError, reason: &str) {
        // Brokers that go away are health's business; librdkafka says so on every attempt.
        tracing::debug!(%error, reason, "Kafka producer");
    }
}

impl<T: Send + 'static> ProducerContext for Context<T> {
    type DeliveryOpaque = Box<Token<T>>;

    fn delivery(&self, result: &DeliveryResult<'_>, token: Self::DeliveryOpaque) {
        let token = token.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let result = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => {
                Err(DeliveryError { code: error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail) })
            }
        };
        (self.delivered)(token, result);
    }
}

impl<T: Send + 'static> Clone for Producer<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<T: Send + 'static> std::fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Producer<T> {
    /// Starts a client and its polling thread. `delivered` runs on that thread for every record that was
    /// taken, exactly once; it must not block.
    ///
    /// # Errors
    /// librdkafka does not accept the configuration. Brokers that do not answer are no error.
    pub fn new(
        kafka: &config::Kafka,
        delivered: impl Fn(T, Result<(), DeliveryError>) + Send + Sync + 'static,
    ) -> Result<Self, KafkaError> {
        let mut config = base_config(kafka);
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "0")
            .set("partitioner", "murmur2_random")
            .set("queue.buffering.max.messages", MAX_QUEUED)
            .set("queue.buffering.max.kbytes", MAX_QUEUED_KIB)
            .set("message.timeout.ms", DELIVERY_TIMEOUT_MS)
            .set("retry.backoff.ms", "50");
        own_properties(&mut config, kafka);
        let context = Context { delivered: Arc::new(delivered) };
        let client = RwLock::new(Arc::new(config.create_with_context(context.clone())?));
        Ok(Self { inner: Arc::new(Inner { config, context, client, replaced: Mutex::new(Instant::now()) }) })
    }

    /// Hands a record to the client's queue; never waits.
    ///
    /// # Errors
    /// [`SendError`] and the token: the callback will not run for it.
    pub fn send(&self, record: Record<'_>, token: T) -> Result<(), (SendError, T)> {
        let mut outgoing = BaseRecord::with_opaque_to(record.topic, Box::new(Token(Mutex::new(token))))
            .key(record.key)
            .payload(record.payload);
        outgoing.partition = record.partition;
        if !record.headers.is_empty() {
            let empty = OwnedHeaders::new_with_capacity(record.headers.len());
            let add = |headers: OwnedHeaders, (key, value): &(&str, &[u8])| {
                headers.insert(Header { key, value: Some(*value) })
            };
            outgoing.headers = Some(record.headers.iter().fold(empty, add));
        }
        let client = self.client();
        client.send(outgoing).map_err(|(error, record)| {
            let token = record.delivery_opaque.0.into_inner().unwrap_or_else(PoisonError::into_inner);
            (self.explain(&client, &error), token)
        })
    }

    /// Records that were taken and whose callback has not run.
    pub fn in_flight(&self) -> usize {
        usize::try_from(self.client().in_flight_count()).unwrap_or(0)
    }

    /// Waits until every record that was taken has had its callback.
    ///
    /// # Errors
    /// [`Unflushed`] when `deadline` passed first; the rest goes on.
    pub async fn flush(&self, deadline: Duration) -> Result<(), Unflushed> {
        // librdkafka's flush would run callbacks on this thread too; without linger there is nothing to push.
        let end = tokio::time::Instant::now() + deadline;
        loop {
            let left = self.in_flight();
            if left == 0 {
                return Ok(());
            }
            if tokio::time::Instant::now() >= end {
                return Err(Unflushed { left });
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn client(&self) -> Arc<ThreadedProducer<Context<T>>> {
        Arc::clone(&self.inner.client.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn explain(&self, failed: &Arc<ThreadedProducer<Context<T>>>, error: &KafkaError) -> SendError {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => SendError::QueueFull,
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => SendError::TooLarge,
            _ => {
                if failed.client().fatal_error().is_some() {
                    self.replace(failed);
                }
                SendError::Refused(error.to_string())
            }
        }
    }

    /// Puts a new client in the place of one that failed for good. What the old one holds gets its callback,
    /// with an error.
    fn replace(&self, failed: &Arc<ThreadedProducer<Context<T>>>) {
        let mut replaced = self.inner.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        if replaced.elapsed() < REPLACE_EVERY {
            return;
        }
        let mut client = self.inner.client.write().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&client, failed) {
            return;
        }
        *replaced = Instant::now();
        match self.inner.config.create_with_context(self.inner.context.clone()) {
            Ok(fresh) => {
                let old = std::mem::replace(&mut *client, Arc::new(fresh));
                tracing::error!("the Kafka producer failed for good and was replaced");
                // Dropping it waits for its thread.
                std::thread::spawn(move || drop(old));
            }
            Err(error) => {
                tracing::error!(%error, "the Kafka producer failed for good and cannot be replaced")
            }
        }
    }
}
