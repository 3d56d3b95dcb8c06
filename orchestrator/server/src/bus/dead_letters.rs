//! What could not be understood: kept whole in the topic's own dead letters, with the reason. Its offset is finished
//! only when the broker has it.

use std::{sync::Arc, time::Duration};

use rdkafka::error::RDKafkaErrorCode;
use skald_kit::{
    config::Kafka,
    kafka::{Ack, DeliveryError, Message, Producer, Record, SendError},
};
use tokio::sync::{Semaphore, oneshot};

use super::{Outcomes, topics};

/// A refused or failed dead letter is tried again after this.
const AGAIN: Duration = Duration::from_millis(500);
/// The largest record, bytes: what a broker takes by default, twice, so that the headers that are added don't make a
/// message too large for its own dead letters. The topic allows as much.
pub(super) const LARGEST: usize = 2 << 20;
/// Letters under way at most; beyond, nothing more is read.
const MOST: usize = 1_000;
/// The longest reason, in characters: it may quote the message, and goes into a header beside it, which nothing cuts.
const REASON: usize = 1_000;
/// Of a message that is larger still, so much is kept.
const CUT: usize = 1 << 19;

type Delivery = Result<(), DeliveryError>;

enum Sent {
    Yes,
    NotNow,
    TooLarge,
}

/// Where dead letters go.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    producer: Producer<oneshot::Sender<Delivery>>,
    outcomes: Outcomes,
    under_way: Arc<Semaphore>,
}

impl DeadLetters {
    /// A producer of its own: dead letters are rare and must not wait behind commands.
    ///
    /// # Errors
    /// librdkafka does not accept the configuration.
    pub fn start(kafka: &Kafka, outcomes: Outcomes) -> anyhow::Result<DeadLetters> {
        let mut kafka = kafka.clone();
        kafka.properties.entry("message.max.bytes".to_owned()).or_insert(LARGEST.to_string());
        let producer = Producer::new(&kafka, |told: oneshot::Sender<Delivery>, result| {
            let _ = told.send(result);
        })?;
        Ok(DeadLetters { producer, outcomes, under_way: Arc::new(Semaphore::new(MOST)) })
    }

    /// Waits until there is room for more; what a worker finds in what was read already may go beyond.
    pub async fn room(&self) {
        let _ = self.under_way.acquire().await;
    }

    /// Keeps a message that failed `attempts` times as a dead letter, however long it takes, and then finishes its
    /// offset.
    pub fn put(&self, message: Message, why: impl Into<String>, attempts: u32) {
        let (this, why) = (self.clone(), why.into().chars().take(REASON).collect::<String>());
        metrics::counter!("skald_dead_letters_total", "topic" => message.topic.to_string()).increment(1);
        tracing::warn!(topic = %message.topic, partition = message.partition, offset = message.offset, why, "dead letter");
        let place = Arc::clone(&self.under_way).try_acquire_owned().ok();
        tokio::spawn(async move {
            let mut most = usize::MAX;
            loop {
                match this.sent(&message, &why, attempts, most).await {
                    Sent::Yes => break,
                    Sent::TooLarge => most = CUT,
                    Sent::NotNow => {}
                }
                tokio::time::sleep(AGAIN).await;
            }
            let ack: Ack = message.ack();
            this.outcomes.done(&[ack]);
            drop(place);
        });
    }

    /// Sends a letter's message again; when it returns, the broker has it.
    ///
    /// # Errors
    /// Why it was not delivered, for a person. It may have been all the same, when the broker did not say.
    pub async fn redrive(&self, record: Record<'_>) -> Result<(), String> {
        let (told, delivered) = oneshot::channel();
        self.producer.send(record, told).map_err(|(error, _)| error.to_string())?;
        match delivered.await {
            Ok(delivery) => delivery.map_err(|error| error.to_string()),
            Err(_) => Err("the producer ended".to_owned()),
        }
    }

    async fn sent(&self, message: &Message, why: &str, attempts: u32, most: usize) -> Sent {
        let (partition, offset) = (message.partition.to_string(), message.offset.to_string());
        let (attempts, bytes) = (attempts.to_string(), message.payload.len().to_string());
        let mut headers: Vec<(&str, &[u8])> =
            message.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        headers.extend([
            ("skald-reason", why.as_bytes()),
            ("skald-attempts", attempts.as_bytes()),
            ("skald-origin-topic", message.topic.as_bytes()),
            ("skald-origin-partition", partition.as_bytes()),
            ("skald-origin-offset", offset.as_bytes()),
        ]);
        if message.payload.len() > most {
            headers.push(("skald-cut-from-bytes", bytes.as_bytes()));
        }
        let (told, delivered) = oneshot::channel();
        let record = Record {
            topic: &topics::dead_letters(&message.topic),
            partition: None,
            key: message.key.as_deref().unwrap_or_default(),
            payload: &message.payload[..message.payload.len().min(most)],
            headers: &headers,
        };
        match self.producer.send(record, told) {
            Err((SendError::TooLarge, _)) => Sent::TooLarge,
            Err(_) => Sent::NotNow,
            Ok(()) => match delivered.await {
                Ok(Ok(())) => Sent::Yes,
                Ok(Err(error)) if error.code == RDKafkaErrorCode::MessageSizeTooLarge => Sent::TooLarge,
                _ => Sent::NotNow,
            },
        }
    }
}
