//! What could not be understood: kept whole in the topic's own dead letters, with the reason. Its offset is finished
//! only when the broker has it.

use std::{sync::Arc, time::Duration};

use skald_kit::{
    config::Kafka,
    kafka::{Ack, Message, Producer, Record},
};

use super::{Outcomes, topics};

/// A refused or failed dead letter is tried again after this.
const AGAIN: Duration = Duration::from_millis(500);

/// Where dead letters go.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    producer: Producer<tokio::sync::oneshot::Sender<bool>>,
    outcomes: Outcomes,
}

impl DeadLetters {
    /// A producer of its own: dead letters are rare and must not wait behind commands.
    ///
    /// # Errors
    /// librdkafka does not accept the configuration.
    pub fn start(kafka: &Kafka, outcomes: Outcomes) -> anyhow::Result<DeadLetters> {
        let producer = Producer::new(kafka, |told: tokio::sync::oneshot::Sender<bool>, result| {
            let _ = told.send(result.is_ok());
        })?;
        Ok(DeadLetters { producer, outcomes })
    }

    /// Keeps a message as a dead letter, however long it takes, and then finishes its offset.
    pub fn put(&self, message: Message, why: impl Into<String>) {
        let (this, why) = (self.clone(), why.into());
        metrics::counter!("skald_dead_letters_total", "topic" => message.topic.to_string()).increment(1);
        tracing::warn!(topic = %message.topic, partition = message.partition, offset = message.offset, why, "dead letter");
        let message = Arc::new(message);
        tokio::spawn(async move {
            while !this.sent(&message, &why).await {
                tokio::time::sleep(AGAIN).await;
            }
            let ack: Ack = message.ack();
            this.outcomes.done(&[ack]);
        });
    }

    async fn sent(&self, message: &Message, why: &str) -> bool {
        let (partition, offset) = (message.partition.to_string(), message.offset.to_string());
        let mut headers: Vec<(&str, &[u8])> =
            message.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        headers.extend([
            ("skald-reason", why.as_bytes()),
            ("skald-attempts", b"1".as_slice()),
            ("skald-origin-topic", message.topic.as_bytes()),
            ("skald-origin-partition", partition.as_bytes()),
            ("skald-origin-offset", offset.as_bytes()),
        ]);
        let (told, delivered) = tokio::sync::oneshot::channel();
        let record = Record {
            topic: &topics::dead_letters(&message.topic),
            partition: None,
            key: message.key.as_deref().unwrap_or_default(),
            payload: &message.payload,
            headers: &headers,
        };
        self.producer.send(record, told).is_ok() && delivered.await.unwrap_or(false)
    }
}
