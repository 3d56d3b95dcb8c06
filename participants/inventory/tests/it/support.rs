//! A fresh installation for each test, instances of inventory in it, and commands as the orchestrator sends them.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prost::Name;
use prost_types::Any;
use skald_harness::{Database, database, eventually, free_port, kafka, unique};
use skald_inventory::Config;
use skald_kit::{config::Secret, ids, lifecycle::Shutdown};
use skald_proto::{
    inventory::v1::{
        Reserved, RestockRequest, RestockResponse, Stock, inventory_service_client::InventoryServiceClient,
    },
    order::v1::{OrderInput, OrderLine},
    participant::v1::{
        Command, DescribeRequest, ExecuteRequest, Outcome, StepResult, Verb, outcome::Answer,
        participant_service_client::ParticipantServiceClient,
    },
};
use sqlx::{Connection as _, PgConnection};
use tonic::{Status, transport::Channel};
use uuid::Uuid;

pub(crate) const SOON: Duration = Duration::from_secs(60);

/// One installation: a database and a topic prefix of its own.
pub(crate) struct Installation {
    pub(crate) database: Database,
    pub(crate) config: Config,
}

impl Installation {
    pub(crate) async fn new() -> Self {
        let database = database("inventory").await;
        let mut config = Config::default();
        config.postgres.url = Secret::new(database.url.clone());
        config.kafka.bootstrap_servers = kafka();
        config.kafka.topic_prefix = format!("{}.", unique("inv"));
        config.kafka.partitions = 2;
        Self { database, config }
    }

    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.database.url).await.expect("connects")
    }

    /// Starts an instance and waits until it answers.
    pub(crate) async fn start(&self) -> Instance {
        let mut config = self.config.clone();
        config.listen.grpc = ([127, 0, 0, 1], free_port()).into();
        config.listen.http = ([127, 0, 0, 1], free_port()).into();
        let address = config.listen.grpc;
        let shutdown = Shutdown::new();
        let task = tokio::spawn(skald_inventory::run(config, shutdown.clone()));
        let channel = eventually("inventory to answer", SOON, async || connect(address).await).await;
        Instance { channel, shutdown, task }
    }
}

async fn connect(address: SocketAddr) -> Result<Channel, String> {
    let endpoint = Channel::from_shared(format!("http://{address}")).expect("an address");
    let channel = endpoint.connect().await.map_err(|error| error.to_string())?;
    let mut client = ParticipantServiceClient::new(channel.clone());
    client.describe(DescribeRequest {}).await.map_err(|status| status.to_string())?;
    Ok(channel)
}

/// A running inventory.
pub(crate) struct Instance {
    pub(crate) channel: Channel,
    shutdown: Shutdown,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Instance {
    pub(crate) fn api(&self) -> InventoryServiceClient<Channel> {
        InventoryServiceClient::new(self.channel.clone())
    }

    /// Executes commands over one stream; the outcomes in order of arrival.
    pub(crate) async fn execute(&self, commands: Vec<Command>) -> Vec<Outcome> {
        execute(self.channel.clone(), commands).await
    }

    /// Executes one command.
    pub(crate) async fn one(&self, command: Command) -> Answer {
        let mut outcomes = self.execute(vec![command]).await;
        assert_eq!(outcomes.len(), 1, "{outcomes:?}");
        outcomes.remove(0).answer.expect("an answer")
    }

    pub(crate) async fn restock(
        &self,
        request_id: &str,
        sku: &str,
        delta: i64,
    ) -> Result<RestockResponse, Status> {
        let request = RestockRequest {
            sku: sku.to_owned(),
            delta,
            request_id: request_id.to_owned(),
            actor: "tester".to_owned(),
            reason: "a test".to_owned(),
        };
        self.api().restock(request).await.map(tonic::Response::into_inner)
    }

    /// Stocked, available, reserved, committed.
    pub(crate) async fn stock(&self, sku: &str) -> (i64, i64, i64, i64) {
        let request = skald_proto::inventory::v1::GetStockRequest { sku: sku.to_owned() };
        let Stock { stocked, available, reserved, committed, .. } =
            self.api().get_stock(request).await.expect("a known SKU").into_inner().stock.expect("stock");
        (stocked, available, reserved, committed)
    }

    /// Asserts that reservations and counters agree.
    pub(crate) async fn assert_audit_is_clean(&self) {
        let audit = self.api().audit(skald_proto::inventory::v1::AuditRequest {}).await.expect("an audit");
        assert_eq!(audit.into_inner().discrepancies, []);
    }

    /// Stops softly; an error fails the test.
    pub(crate) async fn stop(self) {
        self.shutdown.request();
        self.task.await.expect("no panic").expect("a clean stop");
    }
}

/// Executes commands over one stream; the outcomes in order of arrival.
pub(crate) async fn execute(channel: Channel, commands: Vec<Command>) -> Vec<Outcome> {
    let mut client = ParticipantServiceClient::new(channel);
    let request = tokio_stream::iter([ExecuteRequest { commands, ..Default::default() }]);
    let mut answers = client.execute(request).await.expect("a stream").into_inner();
    let mut outcomes = Vec::new();
    while let Some(answer) = answers.message().await.expect("an answer") {
        outcomes.extend(answer.outcomes);
    }
    outcomes
}

/// A new order's id.
pub(crate) fn order() -> Uuid {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    ids::mint(i64::try_from(now.as_millis()).expect("fits"))
}

pub(crate) fn any<M: Name>(message: &M) -> Any {
    Any { type_url: format!("type.googleapis.com/{}", M::full_name()), value: message.encode_to_vec() }
}

fn command(saga: Uuid, step: &str, verb: Verb, action: &str) -> Command {
    Command {
        protocol: 1,
        saga_id: saga.to_string(),
        step: step.to_owned(),
        verb: verb.into(),
        epoch: 1,
        attempt: 1,
        action: action.to_owned(),
        input: Some(any(&OrderInput::default())),
        needs: Vec::new(),
        command_id: String::new(),
    }
}

pub(crate) fn reserve(saga: Uuid, lines: &[(&str, i64)]) -> Command {
    let line = |(sku, quantity): &(&str, i64)| OrderLine {
        sku: (*sku).to_owned(),
        quantity: *quantity,
        ..Default::default()
    };
    let input = OrderInput { lines: lines.iter().map(line).collect(), ..Default::default() };
    Command { input: Some(any(&input)), ..command(saga, "reserve", Verb::Run, "reserve") }
}

pub(crate) fn release(saga: Uuid) -> Command {
    command(saga, "reserve", Verb::Undo, "release")
}

pub(crate) fn commit(saga: Uuid) -> Command {
    let reserved = Reserved { step: "reserve".to_owned(), epoch: 1, units: 1 };
    let needs = vec![StepResult { step: "reserve".to_owned(), result: Some(any(&reserved)) }];
    Command { needs, ..command(saga, "commit", Verb::Run, "commit") }
}
