//! A fresh installation for each test, instances of payment in it (tasks, or processes that can be frozen and killed), commands as
//! the orchestrator sends them, and a look into the gateway's own books.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prost::{Message as _, Name};
use prost_types::Any;
use skald_harness::{Database, Process, database, eventually, free_port, kafka, unique};
use skald_kit::{
    config::{Secret, load},
    ids,
    kafka::{Batch, Consumer, Message, Options, Producer, Record},
    lifecycle::Shutdown,
};
use skald_local::child::Signal;
use skald_payment::Config;
use skald_proto::{
    order::v1::{OrderInput, PaymentMethod},
    participant::v1::{
        Command, DescribeRequest, ExecuteRequest, StepResult, Verb, outcome::Answer,
        participant_service_client::ParticipantServiceClient,
    },
    payment::v1::{Charge, GetChargeRequest, payment_service_client::PaymentServiceClient},
};
use sqlx::{Connection as _, PgConnection};
use tokio::sync::mpsc::Receiver;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;
use uuid::Uuid;

pub(crate) const SOON: Duration = Duration::from_secs(60);
/// Says to the test binary that it is to be payment.
const CHILD: &str = "SKALD_TEST_PAYMENT_CHILD";

/// One installation: a database and a topic prefix of its own.
pub(crate) struct Installation {
    pub(crate) database: Database,
    pub(crate) config: Config,
}

impl Installation {
    pub(crate) async fn new() -> Self {
        let database = database("payment").await;
        let mut config = Config::default();
        config.postgres.url = Secret::new(database.url.clone());
        config.kafka.bootstrap_servers = kafka();
        config.kafka.topic_prefix = format!("{}.", unique("pay"));
        config.kafka.partitions = 2;
        config.calls.sweep_ms = 50;
        Self { database, config }
    }

    /// Starts an instance as a task of this process and waits until it answers.
    pub(crate) async fn start(&self) -> Instance {
        let mut config = self.config.clone();
        config.listen.grpc = ([127, 0, 0, 1], free_port()).into();
        config.listen.http = ([127, 0, 0, 1], free_port()).into();
        let (grpc, http) = (config.listen.grpc, config.listen.http);
        let shutdown = Shutdown::new();
        let task = tokio::spawn(skald_payment::run(config, shutdown.clone()));
        let channel = eventually("payment to answer", SOON, async || connect(grpc).await).await;
        Instance { channel, http, life: Life::Task(shutdown, task) }
    }

    /// Starts an instance as a process of its own, this test binary in another role.
    pub(crate) async fn spawn(&self) -> Instance {
        self.spawn_with(&[]).await
    }

    /// Like [`spawn`](Self::spawn), with further settings: `SECTION__FIELD=value`.
    pub(crate) async fn spawn_with(&self, further: &[&str]) -> Instance {
        let (grpc, http): (SocketAddr, SocketAddr) =
            (([127, 0, 0, 1], free_port()).into(), ([127, 0, 0, 1], free_port()).into());
        let config = &self.config;
        let settings = [
            ("POSTGRES__URL", self.database.url.clone()),
            ("KAFKA__BOOTSTRAP_SERVERS", config.kafka.bootstrap_servers.clone()),
            ("KAFKA__TOPIC_PREFIX", config.kafka.topic_prefix.clone()),
            ("KAFKA__PARTITIONS", config.kafka.partitions.to_string()),
            ("LISTEN__GRPC", grpc.to_string()),
            ("LISTEN__HTTP", http.to_string()),
            ("CALLS__SWEEP_MS", config.calls.sweep_ms.to_string()),
            ("CALLS__KEY_MARGIN_SECONDS", config.calls.key_margin_seconds.to_string()),
            ("GATEWAY__KEY_LIFETIME_SECONDS", config.gateway.key_lifetime_seconds.to_string()),
            ("GATEWAY__LATENCY_MS", config.gateway.latency_ms.to_string()),
        ];
        let program = std::env::current_exe().expect("this binary");
        let mut process = Process::builder("payment", program)
            .args(["--exact", "support::the_child", "--nocapture"])
            .env(CHILD, "1");
        for (name, value) in settings {
            process = process.env(format!("SKALD_{name}"), value);
        }
        for (name, value) in further.iter().filter_map(|setting| setting.split_once('=')) {
            process = process.env(format!("SKALD_{name}"), value);
        }
        let process = process.spawn();
        let channel = eventually("the payment process to answer", SOON, async || connect(grpc).await).await;
        Instance { channel, http, life: Life::Process(process) }
    }

    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.database.url).await.expect("connects")
    }

    /// The movements by our reference of this order: kind and reference, in order.
    pub(crate) async fn movements(&self, order: Uuid) -> Vec<(String, String)> {
        sqlx::query_as("select kind, reference from gateway.movement where our_ref like $1 || '/%' order by at, reference")
            .bind(order.to_string())
            .fetch_all(&mut self.connect().await)
            .await
            .expect("the gateway's books")
    }

    /// Just their kinds.
    pub(crate) async fn kinds(&self, order: Uuid) -> Vec<String> {
        self.movements(order).await.into_iter().map(|(kind, _)| kind).collect()
    }

    /// Calls that arrived for this order: kind and answer, in order.
    pub(crate) async fn calls(&self, order: Uuid) -> Vec<(String, String)> {
        sqlx::query_as("select kind, answer from gateway.call where our_ref like $1 || '/%' order by id")
            .bind(order.to_string())
            .fetch_all(&mut self.connect().await)
            .await
            .expect("the gateway's books")
    }

    /// All that run now count as dead, as they would seconds later without a beat; one that only was frozen says so again.
    pub(crate) async fn forget_instances(&self) {
        let forget = sqlx::query("delete from skald.instance");
        forget.execute(&mut self.connect().await).await.expect("deleted");
    }

    /// Waits until the intent to charge is committed and its call was begun.
    pub(crate) async fn intent_is_open(&self, order: Uuid) {
        eventually("the intent", SOON, async || {
            let calls: Option<i32> =
                sqlx::query_scalar("select calls from skald.intent where saga_id = $1 and verb = 'R'")
                    .bind(order)
                    .fetch_optional(&mut self.connect().await)
                    .await
                    .expect("answers");
            calls.filter(|calls| *calls > 0)
        })
        .await;
    }
}

/// Not a test: what a process started by [`Installation::spawn`] runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let config: Config = load(None, "SKALD_").expect("settings");
    let _telemetry = skald_kit::telemetry::init(&config.log, &config.otlp, "payment").expect("telemetry");
    let shutdown = Shutdown::on_signals(config.shutdown.deadline()).expect("signals");
    skald_payment::run(config, shutdown).await.expect("a clean end");
}

async fn connect(address: SocketAddr) -> Result<Channel, String> {
    let endpoint = Channel::from_shared(format!("http://{address}")).expect("an address");
    let channel = endpoint.connect().await.map_err(|error| error.to_string())?;
    let mut client = ParticipantServiceClient::new(channel.clone());
    client.describe(DescribeRequest {}).await.map_err(|status| status.to_string())?;
    Ok(channel)
}

enum Life {
    Task(Shutdown, tokio::task::JoinHandle<anyhow::Result<()>>),
    Process(Process),
}

/// A running payment.
pub(crate) struct Instance {
    pub(crate) channel: Channel,
    pub(crate) http: SocketAddr,
    life: Life,
}

impl Instance {
    pub(crate) fn api(&self) -> PaymentServiceClient<Channel> {
        PaymentServiceClient::new(self.channel.clone())
    }

    /// Executes one command. `None`: its answer waits for the gateway.
    pub(crate) async fn execute(&self, command: Command) -> Option<Answer> {
        let mut client = ParticipantServiceClient::new(self.channel.clone());
        let (saga, verb) = (command.saga_id.clone(), command.verb);
        let request = tokio_stream::iter([ExecuteRequest { commands: vec![command], ..Default::default() }]);
        let mut answers = client.execute(request).await.expect("a stream").into_inner();
        let mut outcomes = Vec::new();
        while let Some(answer) = answers.message().await.expect("an answer") {
            // What earlier streams asked for and this instance settled meanwhile is told here, too.
            outcomes.extend(answer.outcomes.into_iter().filter(|o| (&o.saga_id, o.verb) == (&saga, verb)));
        }
        outcomes.dedup();
        assert!(outcomes.len() <= 1, "{outcomes:?}");
        outcomes.pop().map(|outcome| outcome.answer.expect("an answer"))
    }

    /// Sends a command again and again until it is answered, as the orchestrator does.
    pub(crate) async fn answer(&self, command: &Command) -> Answer {
        let what = format!("an answer to {:?}", command.verb());
        eventually(&what, SOON, async || self.execute(command.clone()).await).await
    }

    /// The order's only charge.
    pub(crate) async fn charge(&self, order: Uuid) -> Charge {
        let request = GetChargeRequest { order_id: order.to_string() };
        let mut charges = self.api().get_charge(request).await.expect("a charge").into_inner().charges;
        assert_eq!(charges.len(), 1, "{charges:?}");
        charges.remove(0)
    }

    /// Stops softly; an error fails the test.
    pub(crate) async fn stop(self) {
        match self.life {
            Life::Task(shutdown, task) => {
                shutdown.request();
                task.await.expect("no panic").expect("a clean stop");
            }
            Life::Process(process) => {
                process.sigterm();
                assert!(process.wait(SOON).await.success(), "{}", process.log());
            }
        }
    }

    fn process(&self) -> &Process {
        match &self.life {
            Life::Process(process) => process,
            Life::Task(..) => panic!("not a process of its own"),
        }
    }

    pub(crate) fn freeze(&self) {
        self.process().signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.process().signal(Signal::CONT);
    }

    pub(crate) async fn kill9(&self) {
        self.process().kill9().await;
    }

    /// What `/metrics` says.
    pub(crate) async fn metrics(&self) -> String {
        self.get("metrics").await
    }

    /// What an HTTP address answers, headers included.
    pub(crate) async fn get(&self, path: &str) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(self.http).await.expect("connects");
        let request = format!("GET /{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("text");
        text
    }
}

/// Everything that comes on one topic.
pub(crate) struct Listener {
    _consumer: Consumer,
    batches: Receiver<Batch>,
    seen: Vec<Message>,
}

impl Listener {
    pub(crate) fn new(installation: &Installation, topic: &str) -> Self {
        let kafka = &installation.config.kafka;
        let options = Options::new(unique("listener"), vec![kafka.topic(topic)]);
        let (consumer, batches) = Consumer::start(kafka, options).expect("a consumer");
        Self { _consumer: consumer, batches, seen: Vec::new() }
    }

    /// Waits until so many messages came in all.
    pub(crate) async fn until(&mut self, count: usize) -> &[Message] {
        let Self { batches, seen, .. } = self;
        tokio::time::timeout(SOON, async {
            while seen.len() < count {
                seen.extend(batches.recv().await.expect("a batch").messages);
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{} messages of {count}", seen.len()));
        seen
    }
}

/// Commands over Kafka.
pub(crate) struct Sender {
    producer: Producer<()>,
    topic: String,
}

impl Sender {
    pub(crate) fn new(installation: &Installation) -> Self {
        let kafka = &installation.config.kafka;
        let producer = Producer::new(kafka, |(), _| {}).expect("a producer");
        Self { producer, topic: kafka.topic("skald.payment.commands") }
    }

    pub(crate) fn send(&self, command: &Command) {
        let record = Record {
            topic: &self.topic,
            partition: None,
            key: command.saga_id.as_bytes(),
            payload: &command.encode_to_vec(),
            headers: &[],
        };
        self.producer.send(record, ()).map_err(|(error, ())| error).expect("sent");
    }
}

/// The fields that an answer says are bad.
pub(crate) fn bad_fields(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let bad = status.get_details_bad_request().expect("google.rpc.BadRequest");
    bad.field_violations.into_iter().map(|violation| violation.field).collect()
}

/// A new order's id.
pub(crate) fn order() -> Uuid {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    ids::mint(i64::try_from(now.as_millis()).expect("fits"))
}

pub(crate) fn any<M: Name>(message: &M) -> Any {
    Any { type_url: format!("type.googleapis.com/{}", M::full_name()), value: message.encode_to_vec() }
}

fn command(saga: Uuid, verb: Verb, action: &str, total_minor: i64) -> Command {
    let input =
        OrderInput { customer_id: "bob".into(), currency: "EUR".into(), total_minor, ..Default::default() };
    Command {
        protocol: 1,
        saga_id: saga.to_string(),
        step: "charge".to_owned(),
        verb: verb.into(),
        epoch: 1,
        attempt: 1,
        action: action.to_owned(),
        input: Some(any(&input)),
        needs: Vec::new(),
        command_id: String::new(),
    }
}

/// Charges 500 cents with this token.
pub(crate) fn charge(saga: Uuid, token: &str) -> Command {
    charge_of(saga, token, 500)
}

pub(crate) fn charge_of(saga: Uuid, token: &str, total_minor: i64) -> Command {
    let method = PaymentMethod { token: token.to_owned() };
    let needs = vec![StepResult { step: "pay".to_owned(), result: Some(any(&method)) }];
    Command { needs, ..command(saga, Verb::Run, "charge", total_minor) }
}

pub(crate) fn refund(saga: Uuid) -> Command {
    refund_of(saga, 500)
}

pub(crate) fn refund_of(saga: Uuid, total_minor: i64) -> Command {
    command(saga, Verb::Undo, "refund", total_minor)
}
