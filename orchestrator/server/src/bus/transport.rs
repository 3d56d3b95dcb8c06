//! The port through which commands go. A transport may lose, repeat, delay and reorder; it never alters. The saga's
//! state is the outbox, so a failed delivery only means: send it again.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use prost::Message;
use skald_kit::{
    config::Kafka,
    kafka::{Producer, Record, partition_for_id},
    trace,
};
use skald_proto::participant::v1::Command;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::topics;

/// While nothing gets through, one command a second goes out to find out whether it does again.
const PROBE_MS: i64 = 1_000;

/// A command on its way out.
#[derive(Debug)]
pub struct Outgoing {
    /// The saga's id.
    pub saga: Uuid,
    /// To whom.
    pub participant: String,
    /// What is asked.
    pub command: Command,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// It was sent before.
    pub resend: bool,
}

/// The port. Kafka is the first transport; gRPC `Execute` is the next one.
#[derive(Debug)]
pub enum Transport {
    /// `skald.<participant>.commands`.
    Kafka(KafkaTransport),
}

impl Transport {
    /// Hands commands to the client library; gives the sagas whose commands it did not take. What it took and could
    /// not deliver is told through the channels that it was made with.
    pub fn send(&self, commands: Vec<Outgoing>) -> Vec<Uuid> {
        match self {
            Transport::Kafka(kafka) => kafka.send(commands),
        }
    }

    /// The last delivery failed: nothing gets through.
    pub fn is_failing(&self) -> bool {
        match self {
            Transport::Kafka(kafka) => kafka.health.failing.load(Ordering::Relaxed),
        }
    }

    /// While nothing gets through, whether it is time to try again with one command; `now` in ms.
    pub fn may_probe(&self, now: i64) -> bool {
        match self {
            Transport::Kafka(kafka) => kafka.health.may_probe(now),
        }
    }

    /// Waits until what was taken is delivered; false when something was left, or could not be delivered last.
    pub async fn flush(&self, deadline: std::time::Duration) -> bool {
        match self {
            Transport::Kafka(kafka) => {
                let flushed = kafka.producer.flush(deadline).await;
                if let Err(left) = flushed {
                    tracing::warn!(%left, "commands were left; they will be sent again");
                }
                flushed.is_ok() && !self.is_failing()
            }
        }
    }
}

/// Commands over Kafka.
#[derive(Debug)]
pub struct KafkaTransport {
    producer: Producer<Uuid>,
    partitions: i32,
    topics: BTreeMap<String, String>,
    health: Arc<Health>,
}

#[derive(Debug, Default)]
struct Health {
    /// The last delivery failed.
    failing: AtomicBool,
    /// ms
    probed_at: AtomicI64,
}

impl Health {
    fn may_probe(&self, now: i64) -> bool {
        let probed = self.probed_at.load(Ordering::Relaxed);
        now - probed >= PROBE_MS
            && self.probed_at.compare_exchange(probed, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl KafkaTransport {
    /// `undelivered`: one channel per worker, told which sagas' commands were not delivered.
    ///
    /// # Errors
    /// librdkafka does not accept the configuration.
    pub fn start(
        kafka: &Kafka,
        participants: impl IntoIterator<Item = String>,
        undelivered: Vec<mpsc::UnboundedSender<Uuid>>,
    ) -> anyhow::Result<KafkaTransport> {
        let health = Arc::new(Health::default());
        let (seen, partitions) = (Arc::clone(&health), kafka.partitions);
        let producer = Producer::new(kafka, move |saga: Uuid, result| match result {
            Ok(()) => seen.failing.store(false, Ordering::Relaxed),
            Err(_) => {
                seen.failing.store(true, Ordering::Relaxed);
                metrics::counter!("skald_undelivered_total").increment(1);
                let worker = partition_for_id(saga, partitions) as usize % undelivered.len();
                let _ = undelivered[worker].send(saga);
            }
        })?;
        let topics = participants.into_iter().map(|p| (p.clone(), topics::commands(kafka, &p))).collect();
        Ok(KafkaTransport { producer, partitions, topics, health })
    }

    fn send(&self, commands: Vec<Outgoing>) -> Vec<Uuid> {
        let mut left = Vec::new();
        let (mut key, mut payload) = (Uuid::encode_buffer(), Vec::new());
        for Outgoing { saga, participant, command, traceparent, .. } in commands {
            let Some(topic) = self.topics.get(&participant) else {
                tracing::error!(
                    participant,
                    "no topic is known for this participant: restart to learn new definitions"
                );
                left.push(saga);
                continue;
            };
            payload.clear();
            command.encode(&mut payload).expect("a vector takes any message");
            let headers: [(&str, &[u8]); 2] = [
                ("content-type", b"application/protobuf"),
                (trace::HEADER, traceparent.as_deref().unwrap_or_default().as_bytes()),
            ];
            let record = Record {
                topic,
                partition: Some(partition_for_id(saga, self.partitions)),
                key: saga.hyphenated().encode_lower(&mut key).as_bytes(),
                payload: &payload,
                headers: if traceparent.is_some() { &headers } else { &headers[..1] },
            };
            if let Err((error, saga)) = self.producer.send(record, saga) {
                tracing::debug!(%error, %saga, "a command was not taken; it will be sent again");
                left.push(saga);
            }
        }
        left
    }
}
