//! The world: PostgreSQL, three brokers, two processes of each service, and the wires between them. It starts, kills, freezes and
//! parts them; whether they do right is judged elsewhere.

pub(crate) mod disk;
pub(crate) mod service;
pub(crate) mod wire;
pub(crate) mod wires;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use futures::future::try_join_all;
use skald_local::{Cluster, ClusterOptions, Postgres, PostgresOptions, child::Launch, free_port};
use skald_proto::{
    inventory::v1::{RestockRequest, inventory_service_client::InventoryServiceClient},
    payment::v1::{SetGatewayMoodRequest, payment_service_client::PaymentServiceClient},
};
use sqlx::{Connection as _, PgConnection};
use tokio::sync::Mutex;

use disk::Disk;
use service::{Service, Who};
use wire::{Requests, Wire};
use wires::{Ends, Far, Near, Wires};

/// The brokers' numbers.
pub(crate) const NODES: [u8; 3] = Cluster::NODES;
/// Processes of each service.
pub(crate) const EACH: usize = 2;
/// Before every topic's and group's name.
pub(crate) const PREFIX: &str = "chaos.";

/// What a world is to be like.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// For data and logs; empty.
    pub(crate) folder: PathBuf,
    /// The binary that everything is, once it is upgraded.
    pub(crate) skald: PathBuf,
    /// The one that it begins with.
    pub(crate) older: PathBuf,
    /// Participants whose commands go over gRPC.
    pub(crate) grpc: BTreeSet<Who>,
}

/// Everything that runs. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct World {
    services: BTreeMap<Who, Vec<Mutex<Service>>>,
    pub(crate) wires: Wires,
    pub(crate) cluster: Mutex<Cluster>,
    pub(crate) postgres: Mutex<Postgres>,
    /// Which PostgreSQL has for itself, where the machine allows.
    pub(crate) disk: Option<Disk>,
    postgres_url: String,
    /// gRPC ports of the processes themselves, behind the wires.
    ports: BTreeMap<(Who, usize), u16>,
    /// Through no wire.
    pub(crate) brokers: String,
    pub(crate) grpc: BTreeSet<Who>,
}

impl World {
    /// A disk for its PostgreSQL alone.
    ///
    /// # Errors
    /// The machine allows none.
    pub(crate) async fn disk(plan: &Plan) -> Result<Disk> {
        Disk::mount(&plan.folder).await
    }

    /// Starts it all; returns when every process takes work.
    ///
    /// # Errors
    /// Something does not start; its log's end is in the text.
    pub(crate) async fn start(plan: &Plan, disk: Option<Disk>) -> Result<World> {
        let mut wires = Wires::default();
        let postgres = postgres(plan, disk.as_ref()).await?;
        let cluster = cluster(&plan.folder, &mut wires).await?;
        let mut world = World {
            services: BTreeMap::new(),
            postgres_url: postgres.url(""),
            brokers: cluster.direct(),
            wires,
            cluster: Mutex::new(cluster),
            postgres: Mutex::new(postgres),
            disk,
            ports: BTreeMap::new(),
            grpc: plan.grpc.clone(),
        };
        world.lay_wires().await?;
        for who in [Who::Inventory, Who::Payment, Who::Orchestrator] {
            let mut all = Vec::new();
            for n in 0..EACH {
                all.push(Mutex::new(world.spawn(plan, who, n).await?));
            }
            world.services.insert(who, all);
        }
        world.all_ready().await?;
        Ok(world)
    }

    async fn lay_wires(&mut self) -> Result<()> {
        let postgres = self.postgres.get_mut().port();
        for who in Who::ALL {
            for n in 0..EACH {
                let grpc = free_port()?;
                self.ports.insert((who, n), grpc);
                let wire = Wire::lay(free_port()?, postgres, Requests::Commits).await?;
                self.wires.add(Ends { near: Near::Service(who, n), far: Far::Postgres }, wire);
                let far = if who == Who::Orchestrator { Far::Clients } else { Far::Peers };
                self.wires.add(
                    Ends { near: Near::Service(who, n), far },
                    Wire::lay(free_port()?, grpc, Requests::All).await?,
                );
            }
        }
        Ok(())
    }

    async fn spawn(&self, plan: &Plan, who: Who, n: usize) -> Result<Service> {
        let http = free_port()?;
        let older = self.launch(&plan.older, who, n, http).await?;
        let binaries = [older, self.launch(&plan.skald, who, n, http).await?];
        Service::start(format!("{}-{n}", who.name()), binaries, http, &plan.folder)
    }

    async fn launch(&self, program: &Path, who: Who, n: usize, http: u16) -> Result<Launch> {
        let port = |far| {
            self.wires.port(Ends { near: Near::Service(who, n), far }).context("every process has its wires")
        };
        let database = who.database();
        let mut launch = Launch::new(program)
            .args(["serve", who.name()])
            .env(
                "SKALD_POSTGRES__URL",
                format!("postgres://postgres@127.0.0.1:{}/{database}", port(Far::Postgres)?),
            )
            .env("SKALD_KAFKA__BOOTSTRAP_SERVERS", self.cluster.lock().await.bootstrap(&listener(who, n)))
            .env("SKALD_KAFKA__TOPIC_PREFIX", PREFIX)
            .env("SKALD_KAFKA__REPLICATION_FACTOR", NODES.len().to_string())
            // The shortest that a broker allows by default: who was killed is missed that much later.
            .env("SKALD_KAFKA__PROPERTIES", r#"{"session.timeout.ms"="6000"}"#)
            .env("SKALD_LISTEN__GRPC", format!("127.0.0.1:{}", self.ports[&(who, n)]))
            .env("SKALD_LISTEN__HTTP", format!("127.0.0.1:{http}"));
        if who == Who::Orchestrator {
            launch = launch.env("SKALD_DRIVER__RESEND_GAPS_MS", "[1000, 2000, 5000, 15000]");
            for participant in [Who::Inventory, Who::Payment] {
                launch = self.told_of(launch, participant)?;
            }
        } else if self.grpc.contains(&who) {
            launch = launch.env("SKALD_COMMANDS__KAFKA", "false");
        }
        if who == Who::Payment {
            // Another company's books: no wire of ours leads there.
            launch = launch
                .env("SKALD_GATEWAY__URL", self.url(who))
                // What an instance left open is taken by the other one six of them later.
                .env("SKALD_CALLS__TIMEOUT_MS", "3000");
        }
        Ok(launch)
    }

    /// Tells an orchestrator where a participant is.
    fn told_of(&self, launch: Launch, participant: Who) -> Result<Launch> {
        let name = format!("SKALD_PARTICIPANTS__{}", participant.name().to_uppercase());
        if !self.grpc.contains(&participant) {
            return Ok(launch.env(name, format!("127.0.0.1:{}", self.ports[&(participant, 0)])));
        }
        let port = |n| self.wires.port(Ends { near: Near::Service(participant, n), far: Far::Peers });
        let ports: Option<Vec<u16>> = (0..EACH).map(port).collect();
        let ports = ports.context("every participant has a wire")?;
        let addresses: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        Ok(launch
            .env(format!("{name}__TRANSPORT"), "grpc")
            .env(format!("{name}__ADDRESS"), addresses.join(",")))
    }

    /// A process.
    pub(crate) fn service(&self, who: Who, n: usize) -> &Mutex<Service> {
        &self.services[&who][n]
    }

    /// All processes of a service.
    pub(crate) fn all(&self, who: Who) -> &[Mutex<Service>] {
        &self.services[&who]
    }

    /// Waits until every process takes work.
    ///
    /// # Errors
    /// One does not.
    pub(crate) async fn all_ready(&self) -> Result<()> {
        let all = self.services.values().flatten();
        try_join_all(all.map(|service| async {
            let (name, http) = {
                let service = service.lock().await;
                (service.name.clone(), service.http())
            };
            match service::ready(&name, http).await {
                Ok(()) => Ok(()),
                Err(error) => Err(error.context(service.lock().await.tail())),
            }
        }))
        .await?;
        Ok(())
    }

    /// A service's database, through no wire.
    pub(crate) fn url(&self, who: Who) -> String {
        format!("{}{}", self.postgres_url, who.database())
    }

    /// A connection to a service's database, through no wire.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) async fn sql(&self, who: Who) -> Result<PgConnection> {
        Ok(PgConnection::connect(&self.url(who)).await?)
    }

    /// Where clients reach an orchestrator: through a wire.
    pub(crate) fn door(&self, n: usize) -> Option<u16> {
        self.wires.port(Ends { near: Near::Service(Who::Orchestrator, n), far: Far::Clients })
    }

    /// Puts goods on the shelf, through the API.
    ///
    /// # Errors
    /// Inventory refuses.
    pub(crate) async fn stock(&self, goods: &[(&str, i64)]) -> Result<()> {
        let mut client = InventoryServiceClient::connect(self.direct(Who::Inventory, 0)).await?;
        for (sku, units) in goods {
            let request = RestockRequest {
                sku: (*sku).to_owned(),
                delta: *units,
                request_id: format!("opening-{sku}"),
                actor: "skald-chaos".into(),
                reason: "something to sell".into(),
            };
            client.restock(request).await?;
        }
        Ok(())
    }

    /// How all payments' gateway behaves from now on.
    ///
    /// # Errors
    /// A payment does not answer.
    pub(crate) async fn gateway(&self, mood: SetGatewayMoodRequest) -> Result<()> {
        for n in 0..EACH {
            let mut client = PaymentServiceClient::connect(self.direct(Who::Payment, n)).await?;
            client.set_gateway_mood(mood).await?;
        }
        Ok(())
    }

    fn direct(&self, who: Who, n: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports[&(who, n)])
    }
}

/// The name of the brokers' listener that is a process's own.
fn listener(who: Who, n: usize) -> String {
    format!("{}{n}", who.name().to_uppercase())
}

async fn postgres(plan: &Plan, disk: Option<&Disk>) -> Result<Postgres> {
    let folder = disk.map_or(plan.folder.as_path(), |disk| disk.at.as_path()).join("postgres");
    let options = PostgresOptions::new(folder)
        .setting("max_connections", "200")
        .setting("max_wal_size", "512MB")
        // A process that hangs may hold locks no longer than the others can wait.
        .setting("tcp_keepalives_idle", "5");
    let postgres = Postgres::start(options).await?;
    for who in Who::ALL {
        postgres.create_database(&who.database()).await?;
    }
    Ok(postgres)
}

/// Three brokers; each process has a listener of its own, and a wire to it.
async fn cluster(folder: &Path, wires: &mut Wires) -> Result<Cluster> {
    let all = || Who::ALL.into_iter().flat_map(|who| (0..EACH).map(move |n| (who, n)));
    let names: Vec<String> = all().map(|(who, n)| listener(who, n)).collect();
    let mut options = ClusterOptions::new(folder.join("kafka"));
    for name in &names {
        options = options.listener(name);
    }
    let mut cluster = Cluster::prepare(options).await?;
    for ((who, n), name) in all().zip(&names) {
        for node in NODES {
            let ends = Ends { near: Near::Service(who, n), far: Far::Broker(node) };
            wires.add(ends, wire(&mut cluster, name, node).await?);
        }
    }
    for from in NODES {
        for name in [Cluster::replication(from), Cluster::quorum(from)] {
            for to in NODES.into_iter().filter(|to| *to != from) {
                let ends = Ends { near: Near::Broker(from), far: Far::Broker(to) };
                wires.add(ends, wire(&mut cluster, &name, to).await?);
            }
        }
    }
    cluster.start().await?;
    Ok(cluster)
}

/// A wire to a broker's listener, which from now on says that it is where the wire begins.
async fn wire(cluster: &mut Cluster, listener: &str, node: u8) -> Result<Wire> {
    let wire = Wire::lay(free_port()?, cluster.port(listener, node), Requests::All).await?;
    cluster.advertise(listener, node, wire.port);
    Ok(wire)
}
