//! Commands over Kafka, by one producer for all participants that use it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use prost::Message as _;
use skald_kit::{
    config::Kafka,
    kafka::{Producer, Record, partition_for_id},
    trace,
};
use uuid::Uuid;

use super::{Losses, Outgoing};
use crate::bus::topics;

/// While nothing gets through, one command a second goes out to find out whether it does again.
const PROBE_MS: i64 = 1_000;

/// Commands over Kafka.
#[derive(Debug)]
pub struct KafkaTransport {
    producer: Producer<(Uuid, Arc<str>)>,
    partitions: i32,
    /// By participant: the topic, and the name to tell losses by.
    topics: BTreeMap<Arc<str>, String>,
    health: Arc<Health>,
}

#[derive(Debug, Default)]
struct Health {
    /// The last delivery failed.
    failing: AtomicBool,
    /// ms
    probed_at: AtomicI64,
}

impl KafkaTransport {
    /// `losses`: told which sagas' commands were not delivered.
    ///
    /// # Errors
    /// librdkafka does not accept the configuration.
    pub fn start(
        kafka: &Kafka,
        participants: impl IntoIterator<Item = String>,
        losses: Losses,
    ) -> anyhow::Result<KafkaTransport> {
        let health = Arc::new(Health::default());
        let (seen, partitions) = (Arc::clone(&health), kafka.partitions);
        let producer =
            Producer::new(kafka, move |(saga, participant): (Uuid, Arc<str>), result| match result {
                Ok(()) => seen.failing.store(false, Ordering::Relaxed),
                Err(_) => {
                    seen.failing.store(true, Ordering::Relaxed);
                    losses.tell(saga, &participant);
                }
            })?;
        let topics =
            participants.into_iter().map(|p| (p.as_str().into(), topics::commands(kafka, &p))).collect();
        Ok(KafkaTransport { producer, partitions, topics, health })
    }

    /// Hands a participant's commands to the producer; gives the sagas of those that it did not take.
    pub(super) fn send(&self, commands: Vec<Outgoing>) -> Vec<Uuid> {
        let mut left = Vec::new();
        let (mut key, mut payload) = (Uuid::encode_buffer(), Vec::new());
        for Outgoing { saga, participant, command, traceparent, .. } in commands {
            let Some((name, topic)) = self.topics.get_key_value(participant.as_str()) else {
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
            if let Err((error, (saga, _))) = self.producer.send(record, (saga, Arc::clone(name))) {
                tracing::debug!(%error, %saga, "a command was not taken; it will be sent again");
                left.push(saga);
            }
        }
        left
    }

    /// The last delivery failed: nothing gets through.
    pub(super) fn is_failing(&self) -> bool {
        self.health.failing.load(Ordering::Relaxed)
    }

    /// Whether it is time to try with one command.
    pub(super) fn may_probe(&self, now: i64) -> bool {
        let probed = self.health.probed_at.load(Ordering::Relaxed);
        let probe = |at| {
            let (seen, order) = (&self.health.probed_at, Ordering::Relaxed);
            seen.compare_exchange(probed, at, order, order).is_ok()
        };
        now - probed >= PROBE_MS && probe(now)
    }

    /// Topic and partition.
    pub(super) fn place(&self, saga: Uuid, participant: &str) -> String {
        let topic = self.topics.get(participant).map(String::as_str).unwrap_or_default();
        format!("{topic}/{}", partition_for_id(saga, self.partitions))
    }

    /// Waits until what was taken is delivered; false when something was left, or could not be delivered last.
    pub(super) async fn flush(&self, deadline: Duration) -> bool {
        let flushed = self.producer.flush(deadline).await;
        if let Err(left) = flushed {
            tracing::warn!(%left, "commands were left; they will be sent again");
        }
        flushed.is_ok() && !self.is_failing()
    }
}
