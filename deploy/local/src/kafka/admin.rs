//! What is asked of brokers beside messages: making topics, and which replicas are in sync.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode;

use super::ready::Silent;
use crate::Result;

/// Makes a topic unless it exists.
pub(super) async fn create_topic(servers: &str, name: &str, partitions: i32, copies: i32) -> Result<()> {
    let admin: AdminClient<_> =
        ClientConfig::new().set("bootstrap.servers", servers).create_with_context(Silent)?;
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(copies));
    for result in admin.create_topics([&topic], &AdminOptions::new()).await? {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => return Err(rdkafka::error::KafkaError::AdminOp(code).into()),
        }
    }
    Ok(())
}

/// The partitions that lack one of `copies` replicas in sync, as one broker sees it; a text each.
/// Blocks for a second at most.
pub(super) fn out_of_sync(server: &str, copies: usize) -> Result<Vec<String>> {
    // A new client each time: one that knows more brokers would ask any of them.
    let client: BaseConsumer<Silent> =
        ClientConfig::new().set("bootstrap.servers", server).create_with_context(Silent)?;
    let metadata = client.fetch_metadata(None, Duration::from_secs(1))?;
    let mut lacking = Vec::new();
    for topic in metadata.topics() {
        for partition in topic.partitions() {
            if partition.isr().len() != copies {
                let (topic, number) = (topic.name(), partition.id());
                lacking.push(format!(
                    "{topic}/{number} has {:?} of {:?}",
                    partition.isr(),
                    partition.replicas()
                ));
            }
        }
    }
    Ok(lacking)
}
