//! Consumer groups, set back to the earliest message while nobody is in them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
};

use crate::world::{PREFIX, World, service::Who};

/// One question to the brokers.
const ASK: Duration = Duration::from_secs(20);
/// How long a group may take to notice that its members are gone: their session, 6 s, and a rebalance.
const EMPTY: Duration = Duration::from_secs(60);

/// The group of a service, and the ends of the names of what it reads.
fn group(who: Who) -> (&'static str, &'static [&'static str]) {
    match who {
        Who::Orchestrator => ("skald-orchestrator", &["skald.inventory.outcomes", "skald.payment.outcomes"]),
        Who::Inventory => ("skald.inventory", &["skald.inventory.commands"]),
        Who::Payment => ("skald.payment", &["skald.payment.commands"]),
    }
}

/// Sets it back; gives how many messages will come again. Nobody may be in it.
///
/// # Errors
/// The brokers do not answer, or somebody is still in it after a minute.
pub(crate) async fn reset(world: &World, who: Who) -> Result<u64> {
    let brokers = world.brokers.clone();
    tokio::task::spawn_blocking(move || {
        let (name, topics) = group(who);
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &brokers)
            .set("group.id", format!("{PREFIX}{name}"))
            .set("enable.auto.commit", "false")
            .set_log_level(RDKafkaLogLevel::Emerg)
            .create()?;
        let (mut offsets, mut again) = (TopicPartitionList::new(), 0);
        for topic in topics {
            let topic = format!("{PREFIX}{topic}");
            let metadata = client.fetch_metadata(Some(&topic), ASK)?;
            let found = metadata.topics().first().context("a topic")?;
            for partition in found.partitions() {
                let (first, end) = client.fetch_watermarks(&topic, partition.id(), ASK)?;
                offsets.add_partition_offset(&topic, partition.id(), Offset::Offset(first))?;
                again += (end - first).unsigned_abs();
            }
        }
        let end = Instant::now() + EMPTY;
        loop {
            match client.commit(&offsets, CommitMode::Sync) {
                Ok(()) => return Ok(again),
                Err(error) if Instant::now() > end => return Err(error).context("setting offsets back"),
                // Somebody is still in it.
                Err(_) => std::thread::sleep(Duration::from_millis(200)),
            }
        }
    })
    .await?
}
