//! The topics that the orchestrator needs, and how they must be.

use std::collections::{BTreeMap, BTreeSet};

use skald_kit::{config::Kafka, kafka::topics::Topic};

use crate::store::retention;

/// Commands and outcomes must outlive any outage that is survived.
const INTERNAL_RETENTION_MS: i64 = 7 * 86_400_000;
/// Dead letters wait for a person.
const DEAD_RETENTION_MS: i64 = 45 * 86_400_000;

/// Where a participant's commands go.
pub fn commands(kafka: &Kafka, participant: &str) -> String {
    kafka.topic(&format!("skald.{participant}.commands"))
}

/// Where its outcomes come from.
pub fn outcomes(kafka: &Kafka, participant: &str) -> String {
    kafka.topic(&format!("skald.{participant}.outcomes"))
}

/// Where a topic's dead letters go.
pub fn dead_letters(topic: &str) -> String {
    format!("{topic}.dlq")
}

/// Where order events go.
pub fn order_events(kafka: &Kafka) -> String {
    kafka.topic("orders.events")
}

/// Where every accepted input goes.
pub fn audit(kafka: &Kafka) -> String {
    kafka.topic("orders.audit")
}

/// Every topic that must be there: commands and outcomes with the same number of partitions, for it routes everything.
/// The dead letters of commands are their participant's business.
pub fn needed(kafka: &Kafka, participants: &BTreeSet<String>) -> Vec<Topic> {
    let topic = |name: String, partitions, retention_ms| Topic {
        name,
        partitions,
        retention_ms: Some(retention_ms),
        config: BTreeMap::new(),
    };
    let mut topics = vec![
        topic(order_events(kafka), kafka.partitions, INTERNAL_RETENTION_MS),
        // As long as the history that it is derived from.
        topic(audit(kafka), kafka.partitions, retention::HORIZON_MS),
    ];
    for participant in participants {
        let outcomes = outcomes(kafka, participant);
        topics.push(topic(commands(kafka, participant), kafka.partitions, INTERNAL_RETENTION_MS));
        let mut letters = topic(dead_letters(&outcomes), 1, DEAD_RETENTION_MS);
        letters.config.insert("max.message.bytes".into(), super::dead_letters::LARGEST.to_string());
        topics.push(letters);
        topics.push(topic(outcomes, kafka.partitions, INTERNAL_RETENTION_MS));
    }
    topics
}
