//! What the tests stand in: a database, topics, running participants, and ways to ask and to look.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use prost::Message as _;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
};
use skald_harness::{database, eventually, free_port, kafka, unique};
use skald_kit::{
    config, ids,
    kafka::{Consumer, Message, Options, Producer, Record, partition_for, partition_for_id, topics},
    lifecycle::Shutdown,
    migrate::{self, Set},
};
use skald_participant::{Api, Calls, Needs, ParticipantConfig, Verb, topics_of};
use skald_proto::participant::v1::{
    self as wire, ExecuteRequest, outcome::Answer, participant_service_client::ParticipantServiceClient,
};
use sqlx::{Connection as _, PgConnection};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::toy::{SCHEMA, Toy};

/// Longer than anything here takes on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(40);

type Ended = mpsc::UnboundedReceiver<Result<(), String>>;

pub(crate) struct House {
    pub(crate) config: ParticipantConfig,
    running: Mutex<Vec<(Shutdown, Ended)>>,
    producer: Producer<()>,
    /// The database itself, whatever stands between it and the participant.
    direct: String,
}

impl House {
    pub(crate) async fn new(name: &str) -> Self {
        Self::at(name, database(name).await.url).await
    }

    /// In an empty database of the caller's.
    pub(crate) async fn at(name: &str, url: String) -> Self {
        let mut config = ParticipantConfig::default();
        config.postgres.url = url.as_str().into();
        config.kafka.bootstrap_servers = kafka();
        config.kafka.topic_prefix = format!("{}.", unique(name));
        config.kafka.partitions = 2;
        config.calls.sweep_ms = 50;
        config.shutdown.deadline_seconds = 10;
        migrate::run(&config.postgres.url, &[Set::kit(), skald_participant::migrations()])
            .await
            .expect("migrated");
        topics::create_missing(&config.kafka, &topics_of("toy", &config.kafka)).await.expect("topics");
        let producer = Producer::new(&config.kafka, |(), _| {}).expect("a producer");
        let house = Self { config, running: Mutex::default(), producer, direct: url };
        sqlx::raw_sql(SCHEMA).execute(&mut house.sql().await).await.expect("the toy's tables");
        house
    }

    pub(crate) async fn sql(&self) -> PgConnection {
        PgConnection::connect(&self.direct).await.expect("a connection")
    }

    /// Starts a participant; returns where it is asked.
    pub(crate) async fn start(&self, toy: Toy) -> String {
        self.start_with(toy, |_| {}).await
    }

    pub(crate) async fn start_with(&self, toy: Toy, change: impl FnOnce(&mut Calls)) -> String {
        let (address, _) = self.launch_with(toy, change);
        self.wait_until_it_answers(&address).await;
        address
    }

    /// Starts a participant that may have to wait; returns where it and its health are asked.
    pub(crate) fn launch(&self, toy: Toy) -> (String, String) {
        self.launch_with(toy, |_| {})
    }

    fn launch_with(&self, toy: Toy, change: impl FnOnce(&mut Calls)) -> (String, String) {
        let (config, shutdown, address) = self.prepare(change);
        let http = config.listen.http.to_string();
        let (told, ended) = mpsc::unbounded_channel();
        let stop = shutdown.clone();
        tokio::spawn(async move {
            let result = run(toy, config, stop).await;
            let _ = told.send(result.map_err(|error| format!("{error:#}")));
        });
        self.running.lock().unwrap().push((shutdown, ended));
        (address, http)
    }

    /// Starts a participant on a thread of its own, which can be frozen whole.
    pub(crate) async fn start_on_a_thread(&self, toy: Toy) -> String {
        // its calls may take as long as the ice holds
        let (config, shutdown, address) = self.prepare(|calls| calls.timeout_ms = 60_000);
        let (told, ended) = mpsc::unbounded_channel();
        let stop = shutdown.clone();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let result = runtime.block_on(run(toy, config, stop));
            let _ = told.send(result.map_err(|error| format!("{error:#}")));
        });
        self.running.lock().unwrap().push((shutdown, ended));
        self.wait_until_it_answers(&address).await;
        address
    }

    fn prepare(&self, change: impl FnOnce(&mut Calls)) -> (ParticipantConfig, Shutdown, String) {
        let mut config = self.config.clone();
        change(&mut config.calls);
        config.listen.grpc.set_port(free_port());
        config.listen.http.set_port(free_port());
        let address = format!("http://{}", config.listen.grpc);
        (config, Shutdown::new(), address)
    }

    async fn wait_until_it_answers(&self, address: &str) {
        eventually("the participant to answer", LONG, async || {
            let mut client =
                ParticipantServiceClient::connect(address.to_owned()).await.map_err(|e| e.to_string())?;
            client.describe(wire::DescribeRequest {}).await.map_err(|e| e.to_string())
        })
        .await;
    }

    /// Stops everything softly and sees that it ended well.
    pub(crate) async fn stop(&self) {
        let stops = std::mem::take(&mut *self.running.lock().unwrap());
        stops.iter().for_each(|(shutdown, _)| shutdown.request());
        for (_, mut ended) in stops {
            let result = tokio::time::timeout(LONG, ended.recv()).await.expect("it stops in time");
            assert_eq!(result, Some(Ok(())));
        }
    }

    /// Hands bytes to the commands' topic, into the partition that the saga's id has.
    pub(crate) fn produce(&self, saga: Uuid, key: Option<&[u8]>, payload: &[u8], headers: &[(&str, &[u8])]) {
        let text = saga.to_string();
        let topic = self.config.kafka.topic("skald.toy.commands");
        let partition = Some(partition_for(text.as_bytes(), self.config.kafka.partitions));
        let key = key.unwrap_or(text.as_bytes());
        self.producer.send(Record { topic: &topic, partition, key, payload, headers }, ()).expect("taken");
    }

    pub(crate) async fn send(&self, commands: &[wire::Command]) {
        for command in commands {
            let saga = command.saga_id.parse().expect("a saga id");
            self.produce(saga, None, &command.encode_to_vec(), &[("traceparent", TRACE.as_bytes())]);
        }
        self.producer.flush(LONG).await.expect("delivered");
    }

    /// Reads a topic from its beginning until there are `n` messages.
    pub(crate) async fn read(&self, suffix: &str, n: usize) -> Vec<Message> {
        let topic = self.config.kafka.topic(&format!("skald.toy.{suffix}"));
        let options = Options::new(unique("reader"), vec![topic]);
        let (consumer, mut batches) = Consumer::start(&self.config.kafka, options).expect("a consumer");
        let mut messages = Vec::new();
        let deadline = Instant::now() + LONG;
        while messages.len() < n {
            let left = deadline.saturating_duration_since(Instant::now());
            let batch = tokio::time::timeout(left, batches.recv()).await;
            let batch = batch.unwrap_or_else(|_| panic!("{suffix}: {} of {n} messages came", messages.len()));
            messages.extend(batch.expect("the consumer lives").messages);
        }
        consumer.close(LONG).await;
        messages
    }

    /// Outcomes in the order of their partition.
    pub(crate) async fn outcomes(&self, n: usize) -> Vec<wire::Outcome> {
        let decode = |message: &Message| {
            let outcome = wire::Outcome::decode(message.payload.as_slice()).expect("an outcome");
            assert_eq!(message.key.as_deref(), Some(outcome.saga_id.as_bytes()));
            assert_eq!(message.header_str("traceparent"), Some(TRACE));
            assert_eq!(message.header_str("content-type"), Some("application/protobuf"));
            let partition = partition_for(outcome.saga_id.as_bytes(), self.config.kafka.partitions);
            assert_eq!(message.partition, partition, "the partition that the command came from");
            outcome
        };
        self.read("outcomes", n).await.iter().map(decode).collect()
    }

    /// The offset that the participant's group has committed for a saga's partition.
    pub(crate) async fn committed(&self, saga: Uuid) -> Option<i64> {
        let kafka = self.config.kafka.clone();
        let partition = partition_for_id(saga, kafka.partitions);
        let asked = tokio::task::spawn_blocking(move || {
            let topic = kafka.topic("skald.toy.commands");
            let mut list = TopicPartitionList::new();
            list.add_partition(&topic, partition);
            let consumer = plain_consumer(&kafka);
            let answer = consumer.committed_offsets(list, LONG).expect("the group's offsets");
            match answer.find_partition(&topic, partition).map(|p| p.offset()) {
                Some(Offset::Offset(offset)) => Some(offset),
                _ => None,
            }
        });
        asked.await.expect("asked")
    }

    /// How many messages a topic has.
    pub(crate) async fn length(&self, suffix: &str) -> i64 {
        let kafka = self.config.kafka.clone();
        let suffix = suffix.to_owned();
        let topic = kafka.topic(&format!("skald.toy.{suffix}"));
        let asked = tokio::task::spawn_blocking(move || {
            let consumer = plain_consumer(&kafka);
            let partitions = if suffix.ends_with("dlq") { 1 } else { kafka.partitions };
            let ends = (0..partitions).map(|p| consumer.fetch_watermarks(&topic, p, LONG).expect("an end").1);
            ends.sum()
        });
        asked.await.expect("asked")
    }

    pub(crate) async fn shelf(&self) -> (i64, i64) {
        sqlx::query_as("select free, held from public.shelf")
            .fetch_one(&mut self.sql().await)
            .await
            .expect("one")
    }

    /// Barrier rows of a saga, as letters: `RS UN`.
    pub(crate) async fn barrier(&self, saga: &str) -> String {
        let rows: Vec<String> = sqlx::query_scalar(
            "select verb::text || verdict::text from skald.barrier where saga_id = $1::uuid order by verb::text",
        )
        .bind(saga)
        .fetch_all(&mut self.sql().await)
        .await
        .expect("rows");
        rows.join(" ")
    }

    pub(crate) async fn barrier_is(&self, saga: &str, wanted: &str) {
        eventually(&format!("the barrier to be {wanted}"), LONG, async || {
            let now = self.barrier(saga).await;
            if now == wanted { Ok(()) } else { Err(now) }
        })
        .await;
    }

    /// State of the toy's row, and how often it was written.
    pub(crate) async fn thing(&self, saga: &str) -> Option<(String, i32)> {
        sqlx::query_as("select state, changes from public.thing where saga_id = $1::uuid")
            .bind(saga)
            .fetch_optional(&mut self.sql().await)
            .await
            .expect("rows")
    }

    pub(crate) async fn open_intents(&self) -> i64 {
        sqlx::query_scalar("select count(*) from skald.intent")
            .fetch_one(&mut self.sql().await)
            .await
            .expect("one")
    }
}

async fn run(toy: Toy, config: ParticipantConfig, stop: Shutdown) -> anyhow::Result<()> {
    skald_participant::run(config, Needs::default(), |_| Ok((toy, Api::default())), stop).await
}

fn plain_consumer(kafka: &config::Kafka) -> BaseConsumer {
    let servers = &kafka.bootstrap_servers;
    let group = kafka.topic("skald.toy");
    ClientConfig::new().set("bootstrap.servers", servers).set("group.id", group).create().expect("a consumer")
}

pub(crate) const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A saga of now.
pub(crate) fn saga() -> String {
    Uuid::now_v7().to_string()
}

/// A saga of that many days ago.
pub(crate) fn saga_of(days_ago: i64) -> String {
    let now = i64::try_from(Uuid::now_v7().as_u128() >> 80).expect("48 bits");
    ids::mint(now - days_ago * 86_400_000).to_string()
}

pub(crate) fn command(saga: &str, action: &str, verb: Verb) -> wire::Command {
    let step = if ["charge", "refund"].contains(&action) { "charge" } else { "reserve" };
    wire::Command {
        protocol: 1,
        saga_id: saga.to_owned(),
        step: step.to_owned(),
        verb: verb.wire().into(),
        epoch: 1,
        attempt: 1,
        action: action.to_owned(),
        ..wire::Command::default()
    }
}

/// Asks over gRPC, one request, and waits for its answers.
pub(crate) async fn ask(address: &str, commands: &[wire::Command]) -> Vec<wire::Outcome> {
    let mut client = ParticipantServiceClient::connect(address.to_owned()).await.expect("connected");
    let request = ExecuteRequest { commands: commands.to_vec(), ..Default::default() };
    let mut answers = client.execute(tokio_stream::once(request)).await.expect("taken").into_inner();
    // What was settled for streams that are gone is told here, too.
    let asked = |o: &wire::Outcome| {
        let is = |c: &wire::Command| {
            (&c.saga_id, &c.step, c.verb, c.epoch) == (&o.saga_id, &o.step, o.verb, o.epoch)
        };
        commands.iter().any(is)
    };
    let mut outcomes = Vec::new();
    let mut next =
        async || tokio::time::timeout(LONG, answers.message()).await.expect("in time").expect("no error");
    while let Some(answer) = next().await {
        outcomes.extend(answer.outcomes.into_iter().filter(asked));
    }
    outcomes
}

/// The answers' names, in order.
pub(crate) fn names(outcomes: &[wire::Outcome]) -> Vec<String> {
    outcomes.iter().map(name).collect()
}

pub(crate) fn name(outcome: &wire::Outcome) -> String {
    match outcome.answer.as_ref().expect("an answer") {
        Answer::Succeeded(_) => "succeeded".to_owned(),
        Answer::Rejected(rejected) => format!("rejected {}", rejected.code),
        Answer::Sealed(_) => "sealed".to_owned(),
        Answer::Undone(_) => "undone".to_owned(),
        Answer::NothingToUndo(_) => "nothing to undo".to_owned(),
        Answer::Fenced(_) => "fenced".to_owned(),
        Answer::Failed(failed) => {
            format!("failed {}{}", failed.code, if failed.retryable { "" } else { " final" })
        }
    }
}

/// Names by (saga, verb) for topics with several partitions, whose order between them is nobody's.
pub(crate) fn by_saga(outcomes: &[wire::Outcome]) -> HashMap<String, Vec<String>> {
    let mut by: HashMap<String, Vec<String>> = HashMap::new();
    for outcome in outcomes {
        by.entry(outcome.saga_id.clone()).or_default().push(name(outcome));
    }
    by
}
