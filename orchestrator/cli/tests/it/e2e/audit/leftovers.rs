//! Nothing is left behind: no dead letter, nothing that asks for a person, no open intent; and the world was told of each end.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    message::Headers as _,
};
use uuid::Uuid;

use super::{Ended, Findings, Kind, World};

/// One question to the broker.
const ASK: Duration = Duration::from_secs(20);

pub(super) async fn judge(world: &World, ended: &BTreeMap<Uuid, Ended>, findings: &mut Findings) {
    let queries = [
        (Kind::Orchestrator, "entries for a person", "select count(*) from public.attention"),
        (Kind::Orchestrator, "sagas beyond every partition", "select count(*) from public.saga_default"),
        (Kind::Inventory, "open intents", "select count(*) from skald.barrier where verdict = 'I'"),
        (Kind::Payment, "open intents", "select count(*) from skald.barrier where verdict = 'I'"),
    ];
    for (kind, what, query) in queries {
        let left: i64 = sqlx::query_scalar(query).fetch_one(&mut world.sql(kind).await).await.expect(query);
        findings.check(left == 0, || format!("{}: {left} {what}", kind.name()));
    }
    let (brokers, prefix) = (world.brokers.clone(), world.prefix.clone());
    let asked = tokio::task::spawn_blocking(move || Topics::read(&brokers, &prefix));
    let topics = asked.await.expect("the broker answers");
    for (topic, messages) in &topics.dead_letters {
        findings.check(*messages == 0, || format!("{messages} dead letters in {topic}"));
    }
    for (id, how) in ended {
        let kind = if how.reason.is_none() { "order.completed" } else { "order.cancelled" };
        for kind in ["order.created", kind] {
            let told = topics.events.contains(&(id.to_string(), kind.to_owned()));
            findings.check(told, || format!("order {id}: nobody was told {kind}"));
        }
    }
}

/// What the topics of a world hold.
struct Topics {
    dead_letters: BTreeMap<String, i64>,
    /// Order id and type of each event of an order.
    events: BTreeSet<(String, String)>,
}

impl Topics {
    fn read(brokers: &str, prefix: &str) -> Topics {
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", format!("{prefix}audit"))
            .set("enable.auto.commit", "false")
            .create()
            .expect("a client");
        let all = client.fetch_metadata(None, ASK).expect("the broker answers");
        let mut topics = Topics { dead_letters: BTreeMap::new(), events: BTreeSet::new() };
        for topic in all.topics().iter().filter(|topic| topic.name().starts_with(prefix)) {
            let partitions: Vec<(i32, i64, i64)> = (topic.partitions().iter())
                .map(|p| {
                    let marks =
                        client.fetch_watermarks(topic.name(), p.id(), ASK).expect("the broker answers");
                    (p.id(), marks.0, marks.1)
                })
                .collect();
            if topic.name().ends_with(".dlq") {
                let messages = partitions.iter().map(|(_, low, high)| high - low).sum();
                topics.dead_letters.insert(topic.name().to_owned(), messages);
            } else if topic.name().ends_with("orders.events") {
                topics.events = events(&client, topic.name(), &partitions);
            }
        }
        topics
    }
}

/// Every event from the beginning to the present end.
fn events(client: &BaseConsumer, topic: &str, partitions: &[(i32, i64, i64)]) -> BTreeSet<(String, String)> {
    let mut from = TopicPartitionList::new();
    let mut left: BTreeMap<i32, i64> = BTreeMap::new();
    for (partition, low, high) in partitions.iter().filter(|(_, low, high)| high > low) {
        from.add_partition_offset(topic, *partition, Offset::Offset(*low)).expect("an offset");
        left.insert(*partition, *high);
    }
    client.assign(&from).expect("assigned");
    let mut events = BTreeSet::new();
    while !left.is_empty() {
        let message = client.poll(ASK).expect("the broker has more").expect("a message");
        let kind = message.headers().and_then(|headers| headers.iter().find(|h| h.key == "ce_type"));
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        events.insert((text(message.key()), text(kind.and_then(|h| h.value))));
        if left.get(&message.partition()).is_some_and(|high| message.offset() + 1 >= *high) {
            left.remove(&message.partition());
        }
    }
    events
}
