//! The servers: one shared pair for a test process (from the environment, or native ones that live as long
//! as the process), and private ones that a test may kill.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::mpsc::sync_channel;

use skald_local::{Kafka, KafkaOptions, Postgres, PostgresOptions};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::{scratch, unique};

/// The address of a database on the shared PostgreSQL: `SKALD_TEST_POSTGRES`, else a native one.
/// The database need not exist.
///
/// # Panics
/// When no server can be started.
#[must_use]
pub fn postgres_url(database: &str) -> String {
    static SHARED: OnceLock<String> = OnceLock::new();
    let server = SHARED.get_or_init(|| {
        std::env::var("SKALD_TEST_POSTGRES").unwrap_or_else(|_| {
            for_ever("postgres", async || {
                let options = PostgresOptions::new(scratch("postgres")).setting("max_connections", "400");
                let server = Postgres::start(options).await.unwrap_or_else(|error| panic!("{error}"));
                (server.url(""), server)
            })
        })
    });
    format!("{}/{database}", server.trim_end_matches('/'))
}

/// The bootstrap servers of the shared Kafka: `SKALD_TEST_KAFKA`, else a native one.
///
/// # Panics
/// When no server can be started.
#[must_use]
pub fn kafka() -> String {
    static SHARED: OnceLock<String> = OnceLock::new();
    SHARED
        .get_or_init(|| {
            std::env::var("SKALD_TEST_KAFKA").unwrap_or_else(|_| {
                for_ever("kafka", async || {
                    let server = Kafka::start(KafkaOptions::new(scratch("kafka")))
                        .await
                        .unwrap_or_else(|error| panic!("{error}"));
                    (server.bootstrap_servers(), server)
                })
            })
        })
        .clone()
}

/// A database of a test.
#[derive(Debug, Clone)]
pub struct Database {
    /// Its address.
    pub url: String,
    /// Its name.
    pub name: String,
}

/// A fresh empty database with a unique name on the shared server. Migrations are the caller's business.
///
/// # Panics
/// When it cannot be created; `prefix` must be lower-case letters, digits and `_`, a letter first.
pub async fn database(prefix: &str) -> Database {
    let name = unique(prefix);
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    assert!(
        prefix.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(plain),
        "{prefix:?} is no plain name"
    );
    let mut connection =
        PgConnection::connect(&postgres_url("postgres")).await.expect("the shared PostgreSQL answers");
    // The name was checked above: nothing in it needs quoting.
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&mut connection)
        .await
        .expect("a database can be created");
    connection.close().await.expect("the connection closes");
    Database { url: postgres_url(&name), name }
}

/// A PostgreSQL of this test's own: it may be killed and restarted. Killed and removed when dropped.
///
/// # Panics
/// When it cannot be started.
pub async fn owned_postgres() -> Postgres {
    let started = Postgres::start(PostgresOptions::new(scratch("postgres"))).await;
    started.unwrap_or_else(|error| panic!("{error}")).remove_on_drop()
}

/// A Kafka of this test's own: it may be killed and restarted. Killed and removed when dropped.
///
/// # Panics
/// When it cannot be started.
pub async fn owned_kafka() -> Kafka {
    let started = Kafka::start(KafkaOptions::new(scratch("kafka"))).await;
    started.unwrap_or_else(|error| panic!("{error}")).remove_on_drop()
}

/// Starts a server on a thread that keeps it until the process ends, and gives its address. The caller may
/// be inside a runtime of its own.
fn for_ever<S, F>(name: &str, start: impl FnOnce() -> F + Send + 'static) -> String
where
    F: Future<Output = (String, S)>,
{
    let (sender, receiver) = sync_channel(1);
    std::thread::Builder::new()
        .name(format!("shared-{name}"))
        .spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let (address, server) = runtime.block_on(start());
            sender.send(address).expect("someone waits for the address");
            loop {
                std::thread::park();
                let _ = &server;
            }
        })
        .expect("a thread");
    receiver
        .recv()
        .unwrap_or_else(|_| panic!("the shared {name} could not be started; the reason stands above"))
}
