//! Commands into the participant's topic; its outcomes and dead letters read without a consumer group, so that nobody's offsets
//! move.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use prost::Message as _;
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, StreamConsumer},
    error::{KafkaResult, RDKafkaErrorCode},
    message::{BorrowedMessage, Header, Headers as _, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};
use skald_kit::{
    config,
    kafka::{client_config, partition_for},
};
use skald_proto::participant::v1::Outcome;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::{
    inbox::Inbox,
    script::{Arrival, DeadLetter, Sent},
    transport::Lanes,
};

/// One question to the brokers.
const ASK: Duration = Duration::from_secs(10);
/// Until it is asked once more.
const AGAIN: Duration = Duration::from_millis(100);
/// The header that says why.
const REASON: &str = "skald-reason";

/// Where the topics are.
#[derive(Clone, Debug, Default)]
pub struct Brokers {
    /// Servers, prefix of topics, properties of the client; partitions are asked for.
    pub kafka: config::Kafka,
    /// The participant's consumer group, without the prefix; `None`: `skald.<participant>`.
    pub group: Option<String>,
}

pub(super) struct Kafka {
    brokers: config::Kafka,
    group: String,
    commands: String,
    partitions: i32,
    producer: FutureProducer,
    reader: JoinHandle<()>,
    pub(super) inbox: Inbox,
}

impl std::fmt::Debug for Kafka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kafka").field("commands", &self.commands).finish_non_exhaustive()
    }
}

impl Kafka {
    pub(super) async fn new(brokers: Brokers, participant: &str) -> Result<Self, String> {
        let Brokers { kafka, group } = brokers;
        let topic = |what: &str| kafka.topic(&format!("skald.{participant}.{what}"));
        let (commands, outcomes) = (topic("commands"), topic("outcomes"));
        let consumer: StreamConsumer = client_config(&kafka)
            .set("group.id", kafka.topic("skald-conformance"))
            .set("enable.auto.commit", "false")
            .create()
            .map_err(|e| format!("a Kafka client: {e}"))?;
        let consumer = Arc::new(consumer);
        let asked = (Arc::clone(&consumer), commands.clone(), outcomes.clone());
        let partitions = spawn_blocking(move || listen(&asked.0, &asked.1, &asked.2))
            .await
            .map_err(|e| e.to_string())??;
        let producer = client_config(&kafka)
            .set("acks", "all")
            .set("linger.ms", "0")
            .set("message.timeout.ms", "10000")
            .create()
            .map_err(|e| format!("a Kafka client: {e}"))?;
        let inbox = Inbox::default();
        let reader = tokio::spawn(read(consumer, outcomes, inbox.clone()));
        let group = kafka.topic(&group.unwrap_or_else(|| format!("skald.{participant}")));
        Ok(Self { brokers: kafka, group, commands, partitions, producer, reader, inbox })
    }

    pub(super) async fn send(&mut self, lanes: Lanes) -> Vec<Sent> {
        let commands =
            lanes.into_iter().flat_map(|(lane, commands)| commands.into_iter().map(move |c| (lane, c)));
        let sends = commands.map(|(lane, command)| {
            let behind = i32::try_from(lane).unwrap_or(0);
            let partition =
                (partition_for(command.saga_id.as_bytes(), self.partitions) + behind) % self.partitions;
            let bytes = command.encode_to_vec();
            // the record is in librdkafka's queue before this returns: order is kept
            let (key, sent) = (command.saga_id.clone(), self.record(partition, &command.saga_id, &bytes));
            async move {
                let place = sent.await.map_err(|e| format!("{key}: {e}"))?;
                Ok(Sent { command, place: Some(place) })
            }
        });
        let sends: Vec<_> = sends.collect();
        let mut all = Vec::new();
        for sent in join_all(sends).await {
            match sent {
                Ok(sent) => all.push(sent),
                Err::<_, String>(error) => self.inbox.trouble(error),
            }
        }
        all
    }

    pub(super) async fn garbage(&mut self, key: &str, bytes: Vec<u8>) {
        let partition = partition_for(key.as_bytes(), self.partitions);
        if let Err(error) = self.record(partition, key, &bytes).await {
            self.inbox.trouble(error);
        }
    }

    fn record(
        &self,
        partition: i32,
        key: &str,
        bytes: &[u8],
    ) -> impl Future<Output = Result<(i32, i64), String>> + use<> {
        let content = Header { key: "content-type", value: Some("application/protobuf") };
        let record = FutureRecord::to(&self.commands)
            .partition(partition)
            .key(key)
            .payload(bytes)
            .headers(OwnedHeaders::new().insert(content));
        let queued = self.producer.send_result(record).map_err(|(error, _)| error.to_string());
        async move {
            match queued?.await {
                Ok(Ok(delivery)) => Ok((delivery.partition, delivery.offset)),
                Ok(Err((error, _))) => Err(error.to_string()),
                Err(_) => Err("the producer has ended".to_owned()),
            }
        }
    }

    pub(super) async fn committed(&mut self) -> Vec<(i32, i64)> {
        let (brokers, group) = (self.brokers.clone(), self.group.clone());
        let (topic, partitions) = (self.commands.clone(), self.partitions);
        let asked = spawn_blocking(move || {
            let consumer: BaseConsumer = client_config(&brokers).set("group.id", group).create().ok()?;
            let mut list = TopicPartitionList::new();
            list.add_partition_range(&topic, 0, partitions - 1);
            let told = consumer.committed_offsets(list, ASK).ok()?;
            let offset = |e: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match e.offset() {
                Offset::Offset(offset) => Some((e.partition(), offset)),
                _ => None,
            };
            Some(told.elements().iter().filter_map(offset).collect::<Vec<_>>())
        });
        asked.await.ok().flatten().unwrap_or_default()
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Assigns outcomes and dead letters from their present end, which is read first: what is sent afterwards is not missed. Returns
/// the number of partitions.
fn listen(consumer: &StreamConsumer, commands: &str, outcomes: &str) -> Result<i32, String> {
    let count = |topic: &str| {
        let metadata = consumer.fetch_metadata(Some(topic), ASK).map_err(|e| format!("the brokers: {e}"))?;
        let count = metadata.topics().first().map_or(0, |t| t.partitions().len());
        Ok::<_, String>(i32::try_from(count).unwrap_or(0))
    };
    let partitions = count(commands)?;
    for (topic, found) in [(commands, partitions), (outcomes, count(outcomes)?)] {
        if found == 0 {
            return Err(format!("there is no topic {topic}"));
        }
        if found != partitions {
            return Err(format!(
                "{topic} has {found} partitions, and {commands} {partitions}: they must be as many"
            ));
        }
    }
    let letters = format!("{commands}.dlq");
    let mut list = TopicPartitionList::new();
    for (topic, partitions) in [(outcomes, partitions), (&letters, count(&letters).unwrap_or(0))] {
        for partition in 0..partitions {
            let end = end(consumer, topic, partition).map_err(|e| format!("{topic}: {e}"))?;
            list.add_partition_offset(topic, partition, Offset::Offset(end)).map_err(|e| e.to_string())?;
        }
    }
    consumer.assign(&list).map_err(|e| e.to_string())?;
    Ok(partitions)
}

/// Where a partition ends. One that has just been made has no leader for a moment.
fn end(consumer: &StreamConsumer, topic: &str, partition: i32) -> KafkaResult<i64> {
    use RDKafkaErrorCode::{LeaderNotAvailable, NotLeaderForPartition, UnknownTopicOrPartition};
    let deadline = Instant::now() + ASK;
    loop {
        let error = match consumer.fetch_watermarks(topic, partition, ASK) {
            Ok((_, end)) => return Ok(end),
            Err(error) => error,
        };
        let young = [LeaderNotAvailable, NotLeaderForPartition, UnknownTopicOrPartition];
        if Instant::now() > deadline || !error.rdkafka_error_code().is_some_and(|code| young.contains(&code))
        {
            return Err(error);
        }
        std::thread::sleep(AGAIN);
    }
}

async fn read(consumer: Arc<StreamConsumer>, outcomes: String, inbox: Inbox) {
    loop {
        match consumer.recv().await {
            Ok(message) if message.topic() == outcomes => match outcome(&message) {
                Ok(arrival) => inbox.arrived(arrival),
                Err(error) => inbox.trouble(format!("an outcome that can't be decoded: {error}")),
            },
            Ok(message) => inbox.letter(letter(&message)),
            Err(error) => {
                inbox.trouble(error.to_string());
                // librdkafka reconnects by itself; its errors come at the pace of its own back-off
                tokio::task::yield_now().await;
            }
        }
    }
}

fn outcome(message: &BorrowedMessage<'_>) -> Result<Arrival, prost::DecodeError> {
    let outcome = Outcome::decode(message.payload().unwrap_or_default())?;
    let key = message.key().unwrap_or_default().to_vec();
    Ok(Arrival { outcome, place: Some((key, message.partition())) })
}

fn letter(message: &BorrowedMessage<'_>) -> DeadLetter {
    let reason =
        message.headers().and_then(|headers| headers.iter().find(|h| h.key == REASON)).and_then(|h| h.value);
    DeadLetter {
        key: message.key().unwrap_or_default().to_vec(),
        payload: message.payload().unwrap_or_default().to_vec(),
        reason: String::from_utf8_lossy(reason.unwrap_or_default()).into_owned(),
    }
}
