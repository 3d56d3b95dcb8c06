//! The naive participant behind its topics: reads what there is, answers each, commits.

use std::time::Duration;

use futures::FutureExt as _;
use prost::Message as _;
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{CommitMode, Consumer as _, StreamConsumer},
    message::{Header, OwnedHeaders, OwnedMessage},
    producer::{FutureProducer, FutureRecord},
};
use skald_conformance::Brokers;
use skald_kit::{
    config,
    kafka::{Topic, client_config, partition_for, topics},
};
use skald_proto::participant::v1::Command;
use tokio::runtime::Runtime;

use super::{Dying, Life, Naive, Sin, runtime};

const PARTITIONS: i32 = 3;
/// Messages handled before the offsets are committed.
const BATCH: usize = 200;
/// For the broker.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Polling {
    naive: Naive,
    pub(crate) kafka: config::Kafka,
    runtime: Option<Runtime>,
}

impl Polling {
    pub(crate) async fn new(naive: Naive) -> Self {
        let kafka = config::Kafka {
            bootstrap_servers: skald_harness::kafka(),
            topic_prefix: format!("{}.", skald_harness::unique("naive")),
            partitions: PARTITIONS,
            ..Default::default()
        };
        let topic = |name: &str, partitions| Topic {
            name: kafka.topic(name),
            partitions,
            retention_ms: None,
            config: Default::default(),
        };
        let all = [
            topic("skald.naive.commands", PARTITIONS),
            topic("skald.naive.outcomes", PARTITIONS),
            topic("skald.naive.commands.dlq", 1),
        ];
        topics::create_missing(&kafka, &all).await.expect("topics");
        let mut polling = Self { naive, kafka, runtime: None };
        polling.start();
        polling
    }

    pub(crate) fn brokers(&self) -> Brokers {
        Brokers { kafka: self.kafka.clone(), group: None }
    }
}

impl Life for Polling {
    fn start(&mut self) {
        let runtime = runtime();
        runtime.spawn(poll(self.naive.clone(), self.kafka.clone()));
        self.runtime = Some(runtime);
    }

    fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            std::thread::spawn(move || drop(runtime)).join().expect("dropped");
        }
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn poll(naive: Naive, kafka: config::Kafka) {
    let topic = kafka.topic("skald.naive.commands");
    let consumer: StreamConsumer = client_config(&kafka)
        .set("group.id", kafka.topic("skald.naive"))
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .create()
        .expect("a consumer");
    let producer: FutureProducer = client_config(&kafka).set("linger.ms", "0").create().expect("a producer");
    consumer.subscribe(&[&topic]).expect("subscribed");
    loop {
        let mut batch = vec![consumer.recv().await.expect("a message").detach()];
        while let Some(Ok(more)) = consumer.recv().now_or_never().filter(|_| batch.len() < BATCH) {
            batch.push(more.detach());
        }
        let first = naive.sin == Sin::CommitsFirst;
        if first {
            commit(&consumer, &topic, &batch);
            if *naive.dying.borrow() == Dying::Soon {
                naive.dying.send_replace(Dying::Committed);
                std::future::pending::<()>().await;
            }
        }
        for message in &batch {
            handle(&naive, &kafka, &producer, message).await;
        }
        if !first {
            commit(&consumer, &topic, &batch);
        }
    }
}

fn commit(consumer: &StreamConsumer, topic: &str, batch: &[OwnedMessage]) {
    let mut list = TopicPartitionList::new();
    for message in batch {
        let next = Offset::Offset(message.offset() + 1);
        // the last one of each partition wins
        match list.find_partition(topic, message.partition()) {
            Some(mut found) => found.set_offset(next).expect("an offset"),
            None => list.add_partition_offset(topic, message.partition(), next).expect("an offset"),
        }
    }
    consumer.commit(&list, CommitMode::Sync).expect("committed");
}

async fn handle(naive: &Naive, kafka: &config::Kafka, producer: &FutureProducer, message: &OwnedMessage) {
    let bytes = message.payload().unwrap_or_default();
    let command = Command::decode(bytes).ok().filter(|c| c.saga_id != "no-uuid");
    let Some(command) = command else {
        if naive.sin != Sin::DropsNonsense {
            let reason = Header { key: "skald-reason", value: Some("no command") };
            let topic = kafka.topic("skald.naive.commands.dlq");
            let record = FutureRecord::to(&topic)
                .key(message.key().unwrap_or_default())
                .payload(bytes)
                .headers(OwnedHeaders::new().insert(reason));
            producer.send(record, PATIENCE).await.expect("produced");
        }
        return;
    };
    let outcome = naive.outcome(&command).await.encode_to_vec();
    let own = partition_for(command.saga_id.as_bytes(), PARTITIONS);
    let partition = if naive.sin == Sin::OwnPartition { own } else { message.partition() };
    let topic = kafka.topic("skald.naive.outcomes");
    let record = FutureRecord::to(&topic).partition(partition).key(&command.saga_id).payload(&outcome);
    producer.send(record, PATIENCE).await.expect("produced");
}
