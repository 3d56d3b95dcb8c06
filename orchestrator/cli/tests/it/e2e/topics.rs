//! The topics of a world, looked at from outside: how much is in them, how far the consumer groups are.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    message::Headers as _,
};

use super::{
    LIMIT,
    world::{Kind, World},
};

/// One question to the broker.
const ASK: Duration = Duration::from_secs(20);

/// The consumer groups by [`Kind`], and the topics that each reads.
pub(crate) const GROUPS: [(&str, &[&str]); 3] = [
    ("skald-orchestrator", &OUTCOMES),
    ("skald.inventory", &[COMMANDS[0]]),
    ("skald.payment", &[COMMANDS[1]]),
];
pub(crate) const COMMANDS: [&str; 2] = ["skald.inventory.commands", "skald.payment.commands"];
pub(crate) const OUTCOMES: [&str; 2] = ["skald.inventory.outcomes", "skald.payment.outcomes"];

/// A partition, its first offset and the one behind its last message.
struct End {
    topic: String,
    partition: i32,
    first: i64,
    offset: i64,
}

/// A message as it lies there.
pub(crate) struct Record {
    pub(crate) key: String,
    pub(crate) payload: Vec<u8>,
    /// The CloudEvents type, if it has one.
    pub(crate) kind: String,
    /// All of them, in order.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

/// A client that looks at a group's offsets and, while nobody is in the group, sets them. Its questions block; clones share it.
#[derive(Clone)]
pub(crate) struct Topics {
    client: Arc<BaseConsumer>,
    prefix: String,
}

impl Topics {
    /// As this group sees them.
    pub(crate) fn of(world: &World, group: &str) -> Topics {
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &world.brokers)
            .set("group.id", format!("{}{group}", world.prefix))
            .set("enable.auto.commit", "false")
            .create()
            .expect("a client");
        Topics { client: Arc::new(client), prefix: world.prefix.clone() }
    }

    fn ends(&self, topics: &[&str]) -> Vec<End> {
        let mut ends = Vec::new();
        for topic in topics {
            let topic = format!("{}{topic}", self.prefix);
            let metadata = self.client.fetch_metadata(Some(&topic), ASK).expect("the broker answers");
            for partition in metadata.topics()[0].partitions() {
                let partition = partition.id();
                let marks = self.client.fetch_watermarks(&topic, partition, ASK).expect("the broker answers");
                ends.push(End { topic: topic.clone(), partition, first: marks.0, offset: marks.1 });
            }
        }
        ends
    }

    /// How many messages there ever were.
    pub(crate) fn messages(&self, topics: &[&str]) -> i64 {
        self.ends(topics).iter().map(|end| end.offset).sum()
    }

    /// Names of the world's topics with this end, without the world's prefix.
    pub(crate) fn named(&self, end: &str) -> Vec<String> {
        let all = self.client.fetch_metadata(None, ASK).expect("the broker answers");
        let ours = all.topics().iter().filter_map(|topic| topic.name().strip_prefix(&self.prefix));
        ours.filter(|name| name.ends_with(end)).map(str::to_owned).collect()
    }

    /// Everything from the beginning to the present end.
    pub(crate) fn read(&self, topics: &[&str]) -> Vec<Record> {
        let mut from = TopicPartitionList::new();
        let mut left = BTreeMap::new();
        for end in self.ends(topics).iter().filter(|end| end.offset > end.first) {
            from.add_partition_offset(&end.topic, end.partition, Offset::Offset(end.first))
                .expect("an offset");
            left.insert((end.topic.clone(), end.partition), end.offset);
        }
        self.client.assign(&from).expect("assigned");
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        let mut records = Vec::new();
        while !left.is_empty() {
            let message = self.client.poll(ASK).expect("the broker has more").expect("a message");
            let headers: Vec<(String, Vec<u8>)> = (message.headers().iter())
                .flat_map(|headers| headers.iter())
                .map(|h| (h.key.to_owned(), h.value.unwrap_or_default().to_vec()))
                .collect();
            let kind = headers.iter().find(|(name, _)| name == "ce_type");
            records.push(Record {
                key: text(message.key()),
                payload: message.payload().unwrap_or_default().to_vec(),
                kind: text(kind.map(|(_, value)| value.as_slice())),
                headers,
            });
            let place = (message.topic().to_owned(), message.partition());
            if left.get(&place).is_some_and(|end| message.offset() + 1 >= *end) {
                left.remove(&place);
            }
        }
        self.client.unassign().expect("unassigned");
        records
    }

    /// Messages that the group has not finished.
    pub(crate) fn lag(&self, topics: &[&str]) -> i64 {
        let ends = self.ends(topics);
        let mut asked = TopicPartitionList::new();
        ends.iter().for_each(|end| {
            asked.add_partition(&end.topic, end.partition);
        });
        let committed = self.client.committed_offsets(asked, ASK).expect("the broker answers");
        let finished =
            |end: &End| match committed.find_partition(&end.topic, end.partition).map(|p| p.offset()) {
                Some(Offset::Offset(offset)) => offset,
                _ => 0,
            };
        ends.iter().map(|end| end.offset - finished(end)).sum()
    }

    /// Sets the group back to the beginning.
    pub(crate) fn reset(&self, topics: &[&str]) {
        let mut offsets = TopicPartitionList::new();
        for end in self.ends(topics) {
            offsets.add_partition_offset(&end.topic, end.partition, Offset::Offset(0)).expect("an offset");
        }
        self.client.commit(&offsets, CommitMode::Sync).expect("nobody is in the group");
    }
}

/// Removes a world's topics when its processes are gone: a shared broker carries those of many tests.
#[derive(Debug)]
pub(crate) struct Cleared {
    pub(crate) brokers: String,
    pub(crate) prefix: String,
}

impl Drop for Cleared {
    fn drop(&mut self) {
        let (brokers, prefix) = (self.brokers.clone(), self.prefix.clone());
        // Not on this thread: it may be driving a runtime. A broker that is gone has nothing to remove.
        let removing = std::thread::spawn(move || remove(&brokers, &prefix));
        let _ = removing.join();
    }
}

fn remove(brokers: &str, prefix: &str) -> Option<()> {
    let client: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set_log_level(RDKafkaLogLevel::Emerg)
        .create()
        .ok()?;
    let all = client.inner().fetch_metadata(None, ASK / 4).ok()?;
    let ours: Vec<&str> =
        all.topics().iter().map(|t| t.name()).filter(|name| name.starts_with(prefix)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(client.delete_topics(&ours, &AdminOptions::new())).ok().map(|_| ())
}

/// Waits until every group has finished everything.
pub(crate) async fn quiet(world: &World) {
    for kind in Kind::ALL {
        finished(world, kind).await;
    }
}

/// Waits until the instances of a service have finished every message that there is for them.
pub(crate) async fn finished(world: &World, kind: Kind) {
    let (name, topics) = GROUPS[kind as usize];
    let group = Topics::of(world, name);
    skald_harness::eventually(&format!("{name} to finish every message"), LIMIT, async || {
        match group.lag(topics) {
            0 => Ok(()),
            lag => Err(lag),
        }
    })
    .await;
}
