//! The servers: one shared pair for a test process (from the environment, in containers, or native ones that
//! live as long as the process), and private native ones that a test may kill.

use std::future::Future;
use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::mpsc::sync_channel;

use skald_local::{Kafka, KafkaOptions, Postgres, PostgresOptions};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::choice::{self, Wish};
use crate::{container, scratch, unique};

/// The address of a database on the shared PostgreSQL: `SKALD_TEST_POSTGRES`, else one in a container, else
/// a native one. The database need not exist.
///
/// # Panics
/// When no server can be started.
#[must_use]
pub fn postgres_url(database: &str) -> String {
    static SHARED: OnceLock<String> = OnceLock::new();
    let server = SHARED.get_or_init(|| {
        let container = || for_ever("postgres", container::postgres);
        let native = || {
            for_ever("postgres", async || {
                let options = PostgresOptions::new(scratch("postgres")).setting("max_connections", "400");
                let server = Postgres::start(options).await.map_err(|error| error.to_string())?;
                Ok((server.url(""), server))
            })
        };
        shared("PostgreSQL", "SKALD_TEST_POSTGRES", container, native)
    });
    format!("{}/{database}", server.trim_end_matches('/'))
}

/// The bootstrap servers of the shared Kafka: `SKALD_TEST_KAFKA`, else one in a container, else a native one.
///
/// # Panics
/// When no server can be started.
#[must_use]
pub fn kafka() -> String {
    static SHARED: OnceLock<String> = OnceLock::new();
    let server = SHARED.get_or_init(|| {
        let container = || for_ever("kafka", container::kafka);
        let native = || {
            for_ever("kafka", async || {
                let options = KafkaOptions::new(scratch("kafka"));
                let server = Kafka::start(options).await.map_err(|error| error.to_string())?;
                Ok((server.bootstrap_servers(), server))
            })
        };
        shared("Kafka", "SKALD_TEST_KAFKA", container, native)
    });
    server.clone()
}

/// One of the three ways, said in one line.
fn shared(
    name: &str,
    variable: &str,
    container: impl FnOnce() -> Result<String, String>,
    native: impl FnOnce() -> Result<String, String>,
) -> String {
    let wish = Wish::read(std::env::var(choice::CONTAINERS).ok().as_deref());
    let chosen = choice::choose(std::env::var(variable).ok(), wish, container, native)
        .unwrap_or_else(|why| panic!("the shared {name} could not be started: {why}"));
    // Not eprintln: the test framework would keep it from those who read along.
    let _ = writeln!(std::io::stderr(), "skald-harness: {name} {} at {}", chosen.way, chosen.address);
    if let Some(why) = chosen.no_container {
        tracing::debug!(server = name, %why, "not in a container");
    }
    chosen.address
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
fn for_ever<S, F>(name: &str, start: impl FnOnce() -> F + Send + 'static) -> Result<String, String>
where
    F: Future<Output = Result<(String, S), String>>,
{
    let (sender, receiver) = sync_channel(1);
    std::thread::Builder::new()
        .name(format!("shared-{name}"))
        .spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let started = runtime.block_on(start());
            let (address, server) = started.map_or_else(|why| (Err(why), None), |(a, s)| (Ok(a), Some(s)));
            sender.send(address).expect("someone waits for the address");
            while server.is_some() {
                std::thread::park();
            }
        })
        .expect("a thread");
    receiver.recv().unwrap_or_else(|_| Err("it panicked; the reason stands above".into()))
}
