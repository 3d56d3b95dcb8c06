//! Nothing is left behind: no dead letter, nothing that asks for a person, no open intent, no goods set aside; and the world was told
//! of each end.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context as _, Result};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _},
    message::Headers as _,
};

use super::{Findings, lost::Ended};
use crate::world::{PREFIX, World, service::Who};

/// One question to the brokers.
const ASK: Duration = Duration::from_secs(20);

pub(super) async fn judge(world: &World, ended: &Ended, findings: &mut Findings) -> Result<()> {
    let queries = [
        (Who::Orchestrator, "entries for a person", "select count(*) from public.attention"),
        (Who::Orchestrator, "dead letters", "select count(*) from public.dead_letter"),
        (Who::Orchestrator, "sagas beyond every partition", "select count(*) from public.saga_default"),
        (Who::Inventory, "open intents", "select count(*) from skald.barrier where verdict = 'I'"),
        (
            Who::Inventory,
            "SKUs with goods set aside",
            "select count(*) from public.stock where reserved <> 0",
        ),
        (Who::Payment, "open intents", "select count(*) from skald.barrier where verdict = 'I'"),
        (
            Who::Payment,
            "charges that nobody knows",
            "select count(*) from public.charge where state in ('I', 'U')",
        ),
    ];
    for (who, what, query) in queries {
        let left: i64 = sqlx::query_scalar(query).fetch_one(&mut world.sql(who).await?).await?;
        findings.check("leftovers", left == 0, || format!("{}: {left} {what}", who.name()));
    }
    let brokers = world.brokers.clone();
    let (letters, told) = tokio::task::spawn_blocking(move || topics(&brokers)).await??;
    for (topic, messages) in letters {
        findings.check("leftovers", messages == 0, || format!("{messages} dead letters in {topic}"));
    }
    let mut untold = Vec::new();
    for (id, reason) in ended {
        let last = if reason.is_none() { "order.completed" } else { "order.cancelled" };
        for kind in ["order.created", last] {
            if !told.contains(&(id.to_string(), kind.to_owned())) {
                untold.push(format!("{id} {kind}"));
            }
        }
    }
    findings.check("lost", untold.is_empty(), || {
        format!("nobody was told of {} events: {:?}", untold.len(), &untold[..untold.len().min(5)])
    });
    Ok(())
}

type Told = BTreeSet<(String, String)>;

/// Messages in each topic of dead letters, and what `orders.events` says: keys and types.
fn topics(brokers: &str) -> Result<(BTreeMap<String, i64>, Told)> {
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", format!("{PREFIX}judge"))
        .set("enable.auto.commit", "false")
        .set_log_level(RDKafkaLogLevel::Emerg)
        .create()?;
    let all = client.fetch_metadata(None, ASK)?;
    let (mut letters, mut left, mut from) = (BTreeMap::new(), BTreeMap::new(), TopicPartitionList::new());
    for topic in all.topics().iter().filter(|topic| topic.name().starts_with(PREFIX)) {
        let name = topic.name();
        for partition in topic.partitions().iter().map(|partition| partition.id()) {
            if name.ends_with(".dlq") {
                let (first, end) = client.fetch_watermarks(name, partition, ASK)?;
                *letters.entry(name.to_owned()).or_default() += end - first;
            } else if name.ends_with("orders.events") {
                let (first, end) = client.fetch_watermarks(name, partition, ASK)?;
                if end > first {
                    from.add_partition_offset(name, partition, Offset::Offset(first))?;
                    left.insert(partition, end);
                }
            }
        }
    }
    client.assign(&from)?;
    let mut told = Told::new();
    while !left.is_empty() {
        let message = client.poll(ASK).context("the brokers have more")??;
        let kind = message.headers().and_then(|all| all.iter().find(|header| header.key == "ce_type"));
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        told.insert((text(message.key()), text(kind.and_then(|header| header.value))));
        if left.get(&message.partition()).is_some_and(|end| message.offset() + 1 >= *end) {
            left.remove(&message.partition());
        }
    }
    Ok((letters, told))
}
