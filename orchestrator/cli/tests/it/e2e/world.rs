//! The world of a test: `skald serve` as separate processes, on databases, topics and ports of their own. It starts, kills and
//! freezes them; whether they do right is judged elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::ExitStatus,
};

use futures::future::join_all;
use skald_harness::{Process, ProcessBuilder};
use skald_local::{Kafka, Postgres, child::Signal};
use skald_proto::{
    inventory::v1::{RestockRequest, inventory_service_client::InventoryServiceClient},
    payment::v1::{SetGatewayMoodRequest, payment_service_client::PaymentServiceClient},
};
use sqlx::{Connection as _, PgConnection};
use tonic::transport::Channel;

use super::{LIMIT, topics};

/// Which service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Orchestrator,
    Inventory,
    Payment,
}

impl Kind {
    pub(crate) const ALL: [Kind; 3] = [Kind::Orchestrator, Kind::Inventory, Kind::Payment];

    /// As on the command line, in topics and in commands.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Orchestrator => "orchestrator",
            Kind::Inventory => "inventory",
            Kind::Payment => "payment",
        }
    }
}

/// What a world is to consist of.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    instances: BTreeMap<Kind, usize>,
    own_postgres: bool,
    own_kafka: bool,
    settings: Vec<(Kind, String, String)>,
    grpc: BTreeSet<Kind>,
}

/// Participants whose commands go over gRPC in every test that does not say so itself, separated by commas:
/// `SKALD_E2E_GRPC=payment`.
const GRPC: &str = "SKALD_E2E_GRPC";

fn by_environment() -> BTreeSet<Kind> {
    let names = std::env::var(GRPC).unwrap_or_default();
    let names: Vec<&str> = names.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    let known: BTreeSet<Kind> =
        [Kind::Inventory, Kind::Payment].into_iter().filter(|kind| names.contains(&kind.name())).collect();
    assert_eq!(known.len(), names.len(), "{GRPC} names participants: inventory, payment");
    known
}

impl Plan {
    /// With the commands of exactly these participants over gRPC; those have no topics of commands and outcomes.
    pub(crate) fn over_grpc(mut self, kinds: &[Kind]) -> Plan {
        self.grpc = kinds.iter().copied().collect();
        self
    }

    /// With two instances of a service instead of one.
    pub(crate) fn two(mut self, kind: Kind) -> Plan {
        self.instances.insert(kind, 2);
        self
    }

    /// With a PostgreSQL that may be killed.
    pub(crate) fn own_postgres(mut self) -> Plan {
        self.own_postgres = true;
        self
    }

    /// With a broker that may be killed.
    pub(crate) fn own_kafka(mut self) -> Plan {
        self.own_kafka = true;
        self
    }

    /// With the definitions of this folder.
    pub(crate) fn definitions(self, folder: &Path) -> Plan {
        self.set(Kind::Orchestrator, "DEFINITIONS__FOLDER", &folder.display().to_string())
    }

    /// With a collector of spans.
    pub(crate) fn spans(self, endpoint: &str) -> Plan {
        Kind::ALL.into_iter().fold(self, |plan, kind| plan.set(kind, "OTLP__ENDPOINT", endpoint))
    }

    /// With a setting, `SECTION__FIELD`.
    pub(crate) fn set(mut self, kind: Kind, name: &str, value: &str) -> Plan {
        self.settings.push((kind, name.to_owned(), value.to_owned()));
        self
    }

    /// Nobody looks into silence for a while: a saga that is broken on purpose is found by its message, and by no timer.
    pub(crate) fn patient(self) -> Plan {
        self.set(Kind::Orchestrator, "DRIVER__RESEND_GAPS_MS", "[20000]")
    }

    /// Starts it all; returns when every process is ready.
    pub(crate) async fn start(self) -> World {
        let postgres = if self.own_postgres { Some(skald_harness::owned_postgres().await) } else { None };
        let kafka = if self.own_kafka { Some(skald_harness::owned_kafka().await) } else { None };
        let brokers = kafka.as_ref().map_or_else(skald_harness::kafka, Kafka::bootstrap_servers);
        let mut urls = BTreeMap::new();
        for kind in Kind::ALL {
            urls.insert(kind, database(postgres.as_ref(), kind).await);
        }
        let prefix = format!("{}.", skald_harness::unique("e2e"));
        let mut world = World {
            services: BTreeMap::new(),
            _topics: topics::Cleared { brokers: brokers.clone(), prefix: prefix.clone() },
            kafka,
            postgres,
            brokers,
            prefix,
            urls,
            stocked: BTreeMap::new(),
            grpc: self.grpc.clone(),
        };
        // All at once: several may migrate one database and create one topic. Participants first: orchestrators are told where
        // they are.
        for kind in [Kind::Inventory, Kind::Payment, Kind::Orchestrator] {
            let some = (0..self.instances.get(&kind).copied().unwrap_or(1))
                .map(|n| Service::spawn(&self, &world, kind, n))
                .collect();
            world.services.insert(kind, some);
        }
        join_all(world.services.values().flatten().map(Service::ready)).await;
        world
    }
}

async fn database(postgres: Option<&Postgres>, kind: Kind) -> String {
    let Some(server) = postgres else { return skald_harness::database(kind.name()).await.url };
    server.create_database(kind.name()).await.expect("a database can be created");
    server.url(kind.name())
}

/// Running services. They end before the servers that they use.
#[derive(Debug)]
pub(crate) struct World {
    services: BTreeMap<Kind, Vec<Service>>,
    _topics: topics::Cleared,
    /// When it is the test's own.
    pub(crate) kafka: Option<Kafka>,
    /// When it is the test's own.
    pub(crate) postgres: Option<Postgres>,
    /// Bootstrap servers.
    pub(crate) brokers: String,
    /// Before every topic's and group's name.
    pub(crate) prefix: String,
    urls: BTreeMap<Kind, String>,
    /// Units that were stocked, by SKU.
    pub(crate) stocked: BTreeMap<String, i64>,
    grpc: BTreeSet<Kind>,
}

impl World {
    /// One process of each service, on the shared servers.
    pub(crate) fn plan() -> Plan {
        Plan {
            instances: BTreeMap::new(),
            own_postgres: false,
            own_kafka: false,
            settings: Vec::new(),
            grpc: by_environment(),
        }
    }

    /// An instance, counted from 0.
    pub(crate) fn service(&self, kind: Kind, n: usize) -> &Service {
        &self.services[&kind][n]
    }

    /// The same, to be started again.
    pub(crate) fn service_mut(&mut self, kind: Kind, n: usize) -> &mut Service {
        &mut self.services.get_mut(&kind).expect("every kind has services")[n]
    }

    /// Its commands go over gRPC.
    pub(crate) fn is_over_grpc(&self, kind: Kind) -> bool {
        self.grpc.contains(&kind)
    }

    /// All instances of a service.
    pub(crate) fn all(&self, kind: Kind) -> &[Service] {
        &self.services[&kind]
    }

    /// A service's database.
    pub(crate) fn url(&self, kind: Kind) -> &str {
        &self.urls[&kind]
    }

    /// A connection of the test's own to a service's database.
    pub(crate) async fn sql(&self, kind: Kind) -> PgConnection {
        PgConnection::connect(&self.urls[&kind]).await.expect("the database answers")
    }

    /// Which instance has this id in `skald.instance`.
    pub(crate) async fn instance(&self, kind: Kind, id: uuid::Uuid) -> Option<usize> {
        let address: Option<String> = sqlx::query_scalar("select address from skald.instance where id = $1")
            .bind(id)
            .fetch_optional(&mut self.sql(kind).await)
            .await
            .expect("the instances can be read");
        address.and_then(|address| self.all(kind).iter().position(|service| service.address() == address))
    }

    /// Puts goods on the shelf, through the API.
    pub(crate) async fn stock(&mut self, goods: &[(&str, i64)]) {
        let mut client = InventoryServiceClient::new(self.service(Kind::Inventory, 0).channel());
        for (sku, units) in goods {
            let request = RestockRequest {
                sku: (*sku).to_owned(),
                delta: *units,
                request_id: skald_harness::unique("restock"),
                actor: "the test".into(),
                reason: "something to sell".into(),
            };
            client.restock(request).await.expect("restocked");
            *self.stocked.entry((*sku).to_owned()).or_default() += units;
        }
    }

    /// Makes a payment instance's gateway slow from now on.
    pub(crate) async fn slow_gateway(&self, n: usize, latency_ms: u32) {
        self.gateway(n, SetGatewayMoodRequest { latency_ms, ..Default::default() }).await;
    }

    /// How a payment instance's gateway misbehaves from now on.
    pub(crate) async fn gateway(&self, n: usize, mood: SetGatewayMoodRequest) {
        let mut client = PaymentServiceClient::new(self.service(Kind::Payment, n).channel());
        client.set_gateway_mood(mood).await.expect("the mood is set");
    }
}

/// One process that can be killed and started again at the same address.
#[derive(Debug)]
pub(crate) struct Service {
    kind: Kind,
    grpc: u16,
    http: u16,
    builder: ProcessBuilder,
    process: Process,
    /// Kept for their logs.
    former: Vec<Process>,
}

impl Service {
    fn spawn(plan: &Plan, world: &World, kind: Kind, n: usize) -> Service {
        let (grpc, http) = (skald_harness::free_port(), skald_harness::free_port());
        let mut builder = Process::builder(format!("{}-{n}", kind.name()), skald_harness::binary("skald"))
            .args(["serve", kind.name()])
            .env("SKALD_POSTGRES__URL", &world.urls[&kind])
            .env("SKALD_KAFKA__BOOTSTRAP_SERVERS", &world.brokers)
            .env("SKALD_KAFKA__TOPIC_PREFIX", &world.prefix)
            // The shortest that a broker allows: who was killed is missed that much later.
            .env("SKALD_KAFKA__PROPERTIES", r#"{"session.timeout.ms"="6000"}"#)
            .env("SKALD_LISTEN__GRPC", format!("127.0.0.1:{grpc}"))
            .env("SKALD_LISTEN__HTTP", format!("127.0.0.1:{http}"));
        if kind == Kind::Orchestrator {
            // Times are configured down, or most of a test would be waiting for the next try.
            builder = builder
                .env("SKALD_DRIVER__RESEND_GAPS_MS", "[1000, 2000, 4000]")
                .env("SKALD_DRIVER__RESEND_CANARIES_PER_SECOND", "50");
            for kind in [Kind::Inventory, Kind::Payment] {
                let addresses: Vec<String> = world.all(kind).iter().map(Service::address).collect();
                let name = format!("SKALD_PARTICIPANTS__{}", kind.name().to_uppercase());
                builder = match world.is_over_grpc(kind) {
                    false => builder.env(name, world.service(kind, 0).address()),
                    true => builder
                        .env(format!("{name}__TRANSPORT"), "grpc")
                        .env(format!("{name}__ADDRESS"), addresses.join(",")),
                };
            }
        }
        if world.is_over_grpc(kind) {
            builder = builder.env("SKALD_COMMANDS__KAFKA", "false");
        }
        for (_, name, value) in plan.settings.iter().filter(|(of, ..)| *of == kind) {
            builder = builder.env(format!("SKALD_{name}"), value);
        }
        let process = builder.clone().spawn();
        Service { kind, grpc, http, builder, process, former: Vec::new() }
    }

    /// Waits until it takes work.
    pub(crate) async fn ready(&self) {
        self.process.wait_ready(&format!("http://127.0.0.1:{}/health/ready", self.http)).await;
    }

    /// Where its gRPC is; also in its row of `skald.instance`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.grpc)
    }

    /// Connects when it is used, and again when it broke.
    pub(crate) fn channel(&self) -> Channel {
        let address = format!("http://{}", self.address());
        Channel::from_shared(address).expect("an address").timeout(LIMIT / 4).connect_lazy()
    }

    /// SIGKILL; it is gone when this returns.
    pub(crate) async fn kill9(&self) {
        self.process.kill9().await;
    }

    /// SIGTERM.
    pub(crate) fn sigterm(&self) {
        self.process.sigterm();
    }

    /// SIGSTOP: from here on it does nothing, and what it was doing stays half done.
    pub(crate) fn freeze(&self) {
        self.process.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) {
        self.process.signal(Signal::CONT);
    }

    /// How it ended by itself.
    pub(crate) async fn ended(&self) -> ExitStatus {
        self.process.wait(LIMIT).await
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// It has not ended.
    pub(crate) fn is_running(&self) -> bool {
        self.process.status().is_none()
    }

    /// What it wrote since it was started last.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// Starts it again at the same address, and waits until it takes work.
    pub(crate) async fn restart(&mut self) {
        assert!(!self.is_running(), "{} still runs", self.kind.name());
        let process = self.builder.clone().spawn();
        self.former.push(std::mem::replace(&mut self.process, process));
        self.ready().await;
    }
}
