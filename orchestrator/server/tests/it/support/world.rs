//! A running orchestrator in this process, and clients for it.

use std::time::Duration;

use skald_kit::{config::Secret, lifecycle::Shutdown};
use skald_proto::{
    admin::v1::admin_service_client::AdminServiceClient,
    order::v1::{self as order, order_service_client::OrderServiceClient},
    saga::v1::{self as saga, saga_service_client::SagaServiceClient},
};
use skald_server::Config;
use tonic::transport::Channel;

use super::{DEADLINE, Participant, yes};

/// One orchestrator with its own database and topics.
pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) shutdown: Shutdown,
    pub(crate) running: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl World {
    /// Starts one on a fresh database and fresh topics.
    pub(crate) async fn start() -> World {
        World::start_with(|_| {}).await
    }

    /// The same, with other settings.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> World {
        let mut config = Config::default();
        config.postgres.url = Secret::new(skald_harness::database("server").await.url);
        config.kafka.bootstrap_servers = skald_harness::kafka();
        config.kafka.topic_prefix = format!("{}.", skald_harness::unique("server"));
        // Two, so that what routes to the wrong one shows; few partitions, for the broker of all tests is small.
        config.kafka.partitions = 2;
        config.driver.workers = 2;
        // A slow day is no silence: what a test counts is not sent twice, unless it asks for that.
        config.driver.resend_gaps_ms = vec![20_000];
        change(&mut config);
        World::start_on(config).await
    }

    /// Starts one on what a config names; another may run there already.
    pub(crate) async fn start_on(config: Config) -> World {
        World::start_in(config, &tokio::runtime::Handle::current()).await
    }

    /// The same in a runtime of its own: shut that down in the background, and the instance vanishes.
    pub(crate) async fn start_doomed(config: Config) -> (World, tokio::runtime::Runtime) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let world = World::start_in(config, runtime.handle()).await;
        (world, runtime)
    }

    async fn start_in(mut config: Config, runtime: &tokio::runtime::Handle) -> World {
        config.listen.grpc.set_port(skald_harness::free_port());
        config.listen.http.set_port(skald_harness::free_port());
        super::log();
        let shutdown = Shutdown::new();
        let running = runtime.spawn(skald_server::run(config.clone(), shutdown.clone()));
        let world = World { config, shutdown, running };
        let ready = format!("http://{}/health/ready", world.config.listen.http);
        skald_harness::eventually("the orchestrator is ready", DEADLINE, async || {
            assert!(!world.running.is_finished(), "the orchestrator ended");
            let up = skald_harness::http_status(&ready).await.is_ok_and(|status| status == 200);
            if up && world.channel_now().await.is_some() { Some(()) } else { None }
        })
        .await;
        world
    }

    /// The page at a path of the HTTP server.
    async fn page(&self, path: &str) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(self.config.listen.http).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// What Prometheus would read.
    pub(crate) async fn metrics(&self) -> String {
        self.page("/metrics").await
    }

    /// How a dependency stands, and the detail.
    pub(crate) async fn health(&self, dependency: &str) -> (String, String) {
        let body = self.page("/health/live").await;
        let report: serde_json::Value = serde_json::from_str(&body).unwrap();
        let of = &report["dependencies"][dependency];
        let text = |field: &str| of[field].as_str().unwrap_or_default().to_owned();
        (text("status"), text("detail"))
    }

    async fn channel_now(&self) -> Option<Channel> {
        let channel = self.channel();
        let mut client = SagaServiceClient::new(channel.clone());
        let request = saga::GetRequest { saga_id: uuid::Uuid::nil().to_string() };
        let answer = client.get(request).await;
        answer.is_err_and(|s| s.code() == tonic::Code::NotFound).then_some(channel)
    }

    pub(crate) fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.config.listen.grpc)).unwrap().connect_lazy()
    }

    pub(crate) fn orders(&self) -> OrderServiceClient<Channel> {
        OrderServiceClient::new(self.channel())
    }

    pub(crate) fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel())
    }

    pub(crate) fn sagas(&self) -> SagaServiceClient<Channel> {
        SagaServiceClient::new(self.channel())
    }

    /// Stops it softly and waits for the end.
    pub(crate) async fn stop(self) {
        self.shutdown.request();
        self.running.await.unwrap().unwrap();
    }

    /// Submits an order that brings everything along; gives its id.
    pub(crate) async fn submit(&self, key: &str) -> String {
        self.place(order::SubmitOrderRequest { idempotency_key: key.into(), order: Some(draft()) }).await
    }

    /// Submits an order; gives its id.
    pub(crate) async fn place(&self, request: order::SubmitOrderRequest) -> String {
        self.orders().submit_order(request).await.unwrap().into_inner().order_id
    }

    /// A saga of another definition, with any input.
    pub(crate) async fn start_saga(&self, definition: &str, key: &str) -> String {
        let start = saga::StartRequest {
            definition: definition.into(),
            idempotency_key: key.into(),
            input: Some(Default::default()),
            ..Default::default()
        };
        self.sagas().start(start).await.unwrap().into_inner().saga_id
    }

    pub(crate) async fn order(&self, id: &str) -> order::Order {
        let request = order::GetOrderRequest { order_id: id.into() };
        self.orders().get_order(request).await.unwrap().into_inner().order.unwrap()
    }

    pub(crate) async fn saga(&self, id: &str) -> saga::Saga {
        let request = saga::GetRequest { saga_id: id.into() };
        self.sagas().get(request).await.unwrap().into_inner().saga.unwrap()
    }

    /// Waits until an order has this status.
    pub(crate) async fn until(&self, id: &str, status: order::OrderStatus) -> order::Order {
        skald_harness::eventually(&format!("order {id} is {status:?}"), DEADLINE, async || {
            let order = self.order(id).await;
            if order.status() == status { Ok(order) } else { Err(format!("{:?}", self.saga(id).await)) }
        })
        .await
    }

    /// Waits until a saga has this status.
    pub(crate) async fn until_saga(&self, id: &str, status: saga::SagaStatus) -> saga::Saga {
        skald_harness::eventually(&format!("saga {id} is {status:?}"), DEADLINE, async || {
            let saga = self.saga(id).await;
            if saga.status() == status { Ok(saga) } else { Err(format!("{saga:?}")) }
        })
        .await
    }

    /// One connection to the orchestrator's database.
    /// Lets the instances' hearts beat on for so long: what happens by itself would have happened by then.
    pub(crate) async fn beats(&self, seconds: u32) {
        let last = "select max(beat_at)::text from skald.instance";
        let began: String = sqlx::query_scalar(last).fetch_one(&mut self.sql().await).await.unwrap();
        skald_harness::eventually("hearts that go on beating", DEADLINE, async || {
            let later =
                "select max(beat_at) >= $1::timestamptz + make_interval(secs => $2) from skald.instance";
            let later = sqlx::query_scalar(later).bind(&began).bind(f64::from(seconds));
            later.fetch_one(&mut self.sql().await).await.unwrap_or(false).then_some(())
        })
        .await;
    }

    pub(crate) async fn sql(&self) -> sqlx::PgConnection {
        skald_kit::pg::connection(&self.config.postgres.url).await.unwrap()
    }

    /// Waits until the orchestrators have finished everything in a topic: its committed offsets are its ends.
    pub(crate) async fn all_finished(&self, topic: &str) {
        let what = format!("{} is finished", self.config.kafka.topic(topic));
        skald_harness::eventually(&what, DEADLINE, async || {
            let behind = unfinished(&self.config, topic).await;
            if behind.is_empty() { Ok(()) } else { Err(behind) }
        })
        .await;
    }

    /// Both participants of the order saga, answering yes to everything.
    pub(crate) async fn yes(&self) -> [Participant; 2] {
        [
            Participant::start(&self.config.kafka, "inventory", |c| Some(yes(c))).await,
            Participant::start(&self.config.kafka, "payment", |c| Some(yes(c))).await,
        ]
    }
}

/// What the orchestrators have not finished in a topic: partitions whose committed offset is not their end, with both.
pub(crate) async fn unfinished(config: &Config, topic: &str) -> Vec<(i32, rdkafka::Offset, i64)> {
    let kafka = &config.kafka;
    let (topic, group, partitions) =
        (kafka.topic(topic), kafka.topic("skald-orchestrator"), kafka.partitions);
    let client = skald_kit::kafka::client_config(kafka).set("group.id", group).clone();
    tokio::task::spawn_blocking(move || behind(&client, &topic, partitions)).await.unwrap()
}

fn behind(config: &rdkafka::ClientConfig, topic: &str, partitions: i32) -> Vec<(i32, rdkafka::Offset, i64)> {
    use rdkafka::consumer::{BaseConsumer, Consumer as _};
    let patience = Duration::from_secs(5);
    let consumer: BaseConsumer = config.create().unwrap();
    let mut list = rdkafka::TopicPartitionList::new();
    list.add_partition_range(topic, 0, partitions - 1);
    let committed = consumer.committed_offsets(list, patience).unwrap();
    let ends = committed.elements().into_iter().map(|p| {
        let (low, high) = consumer.fetch_watermarks(topic, p.partition(), patience).unwrap();
        let done = p.offset() == rdkafka::Offset::Offset(high) || low == high;
        (done, (p.partition(), p.offset(), high))
    });
    ends.filter(|(done, _)| !done).map(|(_, p)| p).collect()
}

/// An order with one line, paid by token, that needs no seller.
pub(crate) fn draft() -> order::OrderDraft {
    order::OrderDraft {
        customer_id: "customer".into(),
        lines: vec![order::OrderLine {
            sku: "A".into(),
            quantity: 1,
            unit_price_minor: 100,
            seller_id: String::new(),
        }],
        currency: "EUR".into(),
        payment_token: Some("tok_ok".into()),
        needs_fulfilment: false,
        note: String::new(),
    }
}

/// An order that is paid later.
pub(crate) fn later(key: &str) -> order::SubmitOrderRequest {
    let order = order::OrderDraft { payment_token: None, ..draft() };
    order::SubmitOrderRequest { idempotency_key: key.into(), order: Some(order) }
}
