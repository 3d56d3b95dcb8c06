//! A participant under test: a real process on a database, topics and ports of its own, that can be killed and started again.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use skald_conformance::{Brokers, Hooks};
use skald_harness::{Process, ProcessBuilder, database, eventually, free_port, kafka, unique};
use skald_kit::config;
use skald_proto::{
    inventory::v1::{RestockRequest, inventory_service_client::InventoryServiceClient},
    participant::v1::{DescribeRequest, participant_service_client::ParticipantServiceClient},
};
use sqlx::{Connection as _, PgConnection};
use tokio::{process::Command, sync::Mutex};
use tonic::transport::Channel;

const SOON: Duration = Duration::from_secs(60);

/// Which participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Inventory,
    Payment,
    Python,
}

impl Who {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Who::Inventory => "inventory",
            Who::Payment => "payment",
            Who::Python => "loyalty",
        }
    }

    pub(crate) fn samples(self) -> PathBuf {
        root().join(match self {
            Who::Inventory => "testing/conformance/samples/inventory.toml",
            Who::Payment => "testing/conformance/samples/payment.toml",
            Who::Python => "participants/examples/python/loyalty.toml",
        })
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace")
}

pub(crate) struct Subject {
    pub(crate) who: Who,
    grpc: u16,
    prefix: String,
    builder: ProcessBuilder,
    process: Process,
}

impl Subject {
    /// Returns when it answers, and has what its samples ask for.
    pub(crate) async fn start(who: Who) -> Subject {
        let url = database(who.name()).await.url;
        let prefix = format!("{}.", unique("conformance"));
        let grpc = free_port();
        let builder = match who {
            Who::Python => python(&url, grpc, &prefix).await,
            _ => skald(who, &url, grpc, &prefix),
        };
        let process = builder.clone().spawn();
        let subject = Subject { who, grpc, prefix, builder, process };
        subject.answers().await;
        subject.prepare(&url).await;
        subject
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.grpc)
    }

    pub(crate) fn brokers(&self) -> Brokers {
        let kafka = config::Kafka {
            bootstrap_servers: kafka(),
            topic_prefix: self.prefix.clone(),
            ..Default::default()
        };
        Brokers { kafka, group: None }
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// SIGKILL; it is gone when this returns.
    pub(crate) async fn kill(&self) {
        self.process.kill9().await;
    }

    /// Starts it again; whoever needs it waits for it.
    pub(crate) fn restart(&mut self) {
        self.process = self.builder.clone().spawn();
    }

    fn channel(&self) -> Channel {
        let address = Channel::from_shared(format!("http://{}", self.address()));
        address.expect("an address").connect_lazy()
    }

    async fn answers(&self) {
        eventually(&format!("{} to answer", self.who.name()), SOON, async || {
            assert!(
                self.process.status().is_none(),
                "{} has ended:\n{}",
                self.who.name(),
                self.process.log()
            );
            let mut client = ParticipantServiceClient::new(self.channel());
            client.describe(DescribeRequest {}).await.map_err(|status| status.to_string())
        })
        .await;
    }

    async fn prepare(&self, url: &str) {
        match self.who {
            Who::Inventory => {
                let restock = RestockRequest {
                    sku: "conformance-tea".into(),
                    delta: 1_000_000,
                    request_id: unique("restock"),
                    actor: "the test".into(),
                    reason: "conformance".into(),
                };
                InventoryServiceClient::new(self.channel()).restock(restock).await.expect("stocked");
            }
            Who::Python => {
                let mut conn = PgConnection::connect(url).await.expect("connects");
                let enrol = sqlx::query("insert into member (customer_id) values ('conformance')");
                enrol.execute(&mut conn).await.expect("a member");
            }
            Who::Payment => {}
        }
    }
}

fn skald(who: Who, url: &str, grpc: u16, prefix: &str) -> ProcessBuilder {
    let builder = Process::builder(who.name(), skald_harness::binary("skald"))
        .args(["serve", who.name()])
        .env("SKALD_POSTGRES__URL", url)
        .env("SKALD_KAFKA__BOOTSTRAP_SERVERS", kafka())
        .env("SKALD_KAFKA__TOPIC_PREFIX", prefix)
        .env("SKALD_KAFKA__PROPERTIES", r#"{"session.timeout.ms"="6000"}"#)
        .env("SKALD_LISTEN__GRPC", format!("127.0.0.1:{grpc}"))
        .env("SKALD_LISTEN__HTTP", format!("127.0.0.1:{}", free_port()));
    match who {
        // who was killed with calls under way is missed that much sooner
        Who::Payment => builder.env("SKALD_CALLS__TIMEOUT_MS", "1000").env("SKALD_CALLS__SWEEP_MS", "100"),
        _ => builder,
    }
}

async fn python(url: &str, grpc: u16, prefix: &str) -> ProcessBuilder {
    let folder = root().join("participants/examples/python");
    let environment = root().join(".skald/python");
    let made = Command::new(folder.join("setup")).arg(&environment).output().await.expect("bash runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Process::builder("loyalty", environment.join("bin/python"))
        .args(["-m", "loyalty", "--postgres", url, "--topic-prefix", prefix, "--kafka", &kafka()])
        .args(["--grpc".to_owned(), format!("127.0.0.1:{grpc}")])
        .dir(folder)
}

/// Hooks that really kill and start it.
pub(crate) fn hooks(subject: &Arc<Mutex<Subject>>) -> Hooks {
    let (killed, started) = (Arc::clone(subject), Arc::clone(subject));
    let kill = move || {
        let subject = Arc::clone(&killed);
        let kill = async move {
            subject.lock().await.kill().await;
            Ok(())
        };
        Box::pin(kill) as skald_conformance::Doing
    };
    let start = move || {
        let subject = Arc::clone(&started);
        let start = async move {
            subject.lock().await.restart();
            Ok(())
        };
        Box::pin(start) as skald_conformance::Doing
    };
    Hooks::new(Box::new(kill), Box::new(start))
}
