//! Three Kafka nodes: what was acknowledged outlives any one of them, and without two nothing is acknowledged.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use skald_local::child::Signal;
use skald_local::{Cluster, ClusterOptions};

use crate::folder;

pub(crate) const TOPIC: &str = "orders";
pub(crate) const LONG: Duration = Duration::from_secs(120);

async fn three() -> Cluster {
    let options = ClusterOptions::new(folder("cluster")).listener("SHOP");
    let mut cluster = Cluster::prepare(options).await.expect("prepared").remove_on_drop();
    cluster.start().await.expect("starts");
    cluster.create_topic(TOPIC, 3).await.expect("a topic");
    cluster.wait_in_sync(LONG).await.expect("in sync");
    cluster
}

pub(crate) fn producer(cluster: &Cluster, patience: Duration) -> FutureProducer {
    ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap("SHOP"))
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", patience.as_millis().to_string())
        .create()
        .expect("a producer")
}

/// What was said to be kept, and what was not.
#[derive(Default)]
pub(crate) struct Told {
    kept: BTreeSet<String>,
    unsure: BTreeSet<String>,
}

impl Told {
    pub(crate) async fn send(&mut self, producer: &FutureProducer, name: &str) -> usize {
        let mut kept = 0;
        for number in 0..50 {
            let value = format!("{name}-{number}");
            let record = FutureRecord::<str, str>::to(TOPIC).payload(&value).partition(number % 3);
            let acknowledged = producer.send(record, Duration::ZERO).await.is_ok();
            kept += usize::from(acknowledged);
            if acknowledged { &mut self.kept } else { &mut self.unsure }.insert(value);
            if !acknowledged {
                break; // each costs the producer's whole patience
            }
        }
        kept
    }
}

/// Every message that the topic has.
fn messages(servers: &str) -> Vec<String> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", "judge")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let mut wanted = 0;
    let mut all = TopicPartitionList::new();
    for partition in 0..3 {
        let (low, high) = consumer.fetch_watermarks(TOPIC, partition, LONG).expect("watermarks");
        wanted += high - low;
        all.add_partition_offset(TOPIC, partition, Offset::Beginning).expect("an offset");
    }
    consumer.assign(&all).expect("assigned");
    let end = Instant::now() + LONG;
    let mut found = Vec::new();
    while i64::try_from(found.len()).expect("few") < wanted {
        assert!(Instant::now() < end, "{} of {wanted} messages came", found.len());
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            let message = message.expect("a message");
            found.push(String::from_utf8_lossy(message.payload().expect("a payload")).into_owned());
        }
    }
    found
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_with_one_killed_and_nothing_is_acknowledged_without_two() {
    let mut cluster = three().await;
    let mut told = Told::default();
    let patient = producer(&cluster, LONG);
    assert_eq!(told.send(&patient, "all").await, 50);

    let first = cluster.pid(1);
    cluster.kill(1).await.expect("killed");
    assert!(!std::path::Path::new(&format!("/proc/{first}")).exists(), "no zombie remains");
    assert!(!cluster.runs(1).expect("told"));
    assert_eq!(told.send(&patient, "one is killed").await, 50);
    let lacking = cluster.wait_in_sync(Duration::ZERO).await.expect_err("a node is away").to_string();
    assert!(lacking.contains("node 1 does not answer"), "{lacking}");
    cluster.launch(1).await.expect("back again");
    cluster.wait_in_sync(LONG).await.expect("in sync again");

    cluster.kill(2).await.expect("killed");
    cluster.kill(3).await.expect("killed");
    let hasty = producer(&cluster, Duration::from_secs(8));
    assert_eq!(told.send(&hasty, "two are killed").await, 0, "one of three must not acknowledge");
    cluster.launch(2).await.expect("back again");
    assert_eq!(told.send(&patient, "two are back").await, 50);
    cluster.launch(3).await.expect("back again");
    cluster.wait_in_sync(LONG).await.expect("in sync again");

    cluster.stop_all().await.expect("stopped");
    assert_eq!(Cluster::NODES.map(|node| cluster.pid(node)), [0; 3]);
    // A lone node never becomes a live broker: nobody may wait for it.
    cluster.spawn(1).await.expect("started");
    cluster.await_ready(1, Duration::from_secs(2)).await.expect_err("there is no quorum");
    cluster.start().await.expect("the others start");
    cluster.wait_in_sync(LONG).await.expect("in sync again");
    assert_eq!(told.send(&patient, "all were stopped").await, 50);

    for node in Cluster::NODES {
        cluster.kill(node).await.expect("killed");
    }
    cluster.start().await.expect("starts again");
    cluster.wait_in_sync(LONG).await.expect("in sync again");
    assert_eq!(told.send(&patient, "all were killed").await, 50);
    let found = messages(&cluster.bootstrap("SHOP"));
    let set: BTreeSet<String> = found.iter().cloned().collect();
    assert_eq!(set.len(), found.len(), "an idempotent producer repeats nothing");
    assert_eq!(
        told.kept.difference(&set).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "acknowledged and lost"
    );
    let made_up: Vec<_> = set.difference(&told.kept).filter(|text| !told.unsure.contains(*text)).collect();
    assert!(made_up.is_empty(), "nobody sent {made_up:?}");
}

#[tokio::test]
async fn a_halted_node_is_out_of_sync_until_it_goes_on() {
    let mut cluster = three().await;
    let admin: AdminClient<_> =
        ClientConfig::new().set("bootstrap.servers", cluster.direct()).create().expect("a client");
    let asked = admin.describe_configs([&ResourceSpecifier::Topic(TOPIC)], &AdminOptions::new()).await;
    let topic = asked.expect("an answer").remove(0).expect("the topic");
    let least = topic.get("min.insync.replicas").and_then(|entry| entry.value.clone());
    assert_eq!(least.as_deref(), Some("2"));

    cluster.signal(2, Signal::STOP).expect("halted");
    let end = Instant::now() + LONG;
    while cluster.wait_in_sync(Duration::ZERO).await.is_ok() {
        assert!(Instant::now() < end, "a halted node stays in sync");
    }
    let mut told = Told::default();
    assert_eq!(told.send(&producer(&cluster, LONG), "one is halted").await, 50);
    cluster.signal(2, Signal::CONT).expect("goes on");
    cluster.wait_in_sync(LONG).await.expect("in sync again");
    assert_eq!(messages(&cluster.direct()).len(), 50);
    cluster.stop(2).await.expect("stopped");
    cluster.stop(2).await.expect("stopped already: no error");
}
