//! The servers below the services: a private PostgreSQL or one that was named, and one of three kinds of broker.

use anyhow::Context as _;
use skald_kit::{
    config::{Kafka as KafkaConfig, Secret},
    pg,
};
use skald_local::{Kafka, KafkaOptions, Postgres, PostgresOptions, install_postgres};
use sqlx::{AssertSqlSafe, Connection as _};

use super::{Args, broker::Broker};
use crate::{exit::Failure, migrate::with_database, output::screen::Screen, topics};

const DATABASES: [&str; 3] = ["skald_orchestrator", "skald_inventory", "skald_payment"];

/// The mock broker answers a fetch that found nothing only when its time is over, not when something comes: what is waited
/// here is the latency of every hop. Shorter costs processor time while nothing happens.
const MOCK_FETCH_WAIT_MS: &str = "10";

/// What runs below the services.
pub(super) struct Servers {
    postgres: Database,
    broker: Bus,
    /// How the services reach the broker.
    pub(super) kafka: KafkaConfig,
}

enum Database {
    /// Ours.
    Private(Box<Postgres>),
    /// Someone's; a URL without the database.
    Named(Secret),
}

enum Bus {
    Inside(Broker),
    Native(Box<Kafka>),
    Named(String),
}

impl Servers {
    /// Starts what is not named, makes databases and topics.
    ///
    /// # Errors
    /// A server can't be started or reached.
    pub(super) async fn start(
        args: &Args,
        folder: &std::path::Path,
        screen: &Screen,
    ) -> Result<Servers, Failure> {
        let (postgres, broker) = tokio::try_join!(database(args, folder, screen), bus(args, folder, screen))?;
        let mut kafka = KafkaConfig::default();
        match &broker {
            Bus::Inside(broker) => {
                kafka.bootstrap_servers = broker.bootstrap_servers();
                kafka.create_topics = false;
                kafka.properties.insert("fetch.wait.max.ms".into(), MOCK_FETCH_WAIT_MS.into());
                broker.create(&topics::all(&kafka, &[skald_core::Definition::order()]))?;
            }
            Bus::Native(native) => kafka.bootstrap_servers = native.bootstrap_servers(),
            Bus::Named(servers) => kafka.bootstrap_servers.clone_from(servers),
        }
        let servers = Servers { postgres, broker, kafka };
        servers.create_databases().await?;
        Ok(servers)
    }

    /// The URL of a service's database.
    pub(super) fn url(&self, database: &str) -> Secret {
        match &self.postgres {
            Database::Private(postgres) => Secret::new(postgres.url(database)),
            Database::Named(url) => Secret::new(with_database(url.expose(), database)),
        }
    }

    /// Where PostgreSQL is, for a person.
    pub(super) fn postgres_shown(&self) -> String {
        match &self.postgres {
            Database::Private(postgres) => {
                format!("{}  (data in {})", postgres.url("").trim_end_matches('/'), shown(postgres.folder()))
            }
            Database::Named(url) => url.url_without_password(),
        }
    }

    /// Where the broker is and what it promises, for a person.
    pub(super) fn broker_shown(&self) -> (String, &'static str) {
        let servers = self.kafka.bootstrap_servers.clone();
        match &self.broker {
            Bus::Inside(_) => (
                format!("{servers}  (librdkafka's mock broker, in this process)"),
                "This broker is for trying out: it keeps messages in memory and loses them when\n\
                 it stops. No order is lost with them: orders are in PostgreSQL, and commands\n\
                 in flight are sent again at the next start. --native-kafka starts a real one.",
            ),
            Bus::Native(_) => (format!("{servers}  (Apache Kafka, native)"), ""),
            Bus::Named(_) => (servers, ""),
        }
    }

    /// Ends what was started here.
    ///
    /// # Errors
    /// A server does not stop.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        if let Bus::Native(mut kafka) = self.broker {
            kafka.stop().await?;
        }
        if let Database::Private(mut postgres) = self.postgres {
            postgres.stop().await?;
        }
        Ok(())
    }

    async fn create_databases(&self) -> anyhow::Result<()> {
        let maintenance = match &self.postgres {
            Database::Private(_) => self.url("postgres"),
            Database::Named(url) => url.clone(),
        };
        let shown = || format!("PostgreSQL at {}", maintenance.url_without_password());
        let mut conn = pg::connection(&maintenance).await.with_context(shown)?;
        let there: Vec<String> = sqlx::query_scalar("SELECT datname::text FROM pg_database")
            .fetch_all(&mut conn)
            .await
            .with_context(shown)?;
        for database in DATABASES.into_iter().filter(|name| !there.iter().any(|known| known == name)) {
            // A constant: nothing in it needs quoting.
            let made =
                sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {database}"))).execute(&mut conn).await;
            made.with_context(|| format!("{}: creating the database {database}", shown()))?;
        }
        Ok(conn.close().await?)
    }
}

async fn database(args: &Args, folder: &std::path::Path, screen: &Screen) -> anyhow::Result<Database> {
    if let Some(url) = &args.postgres {
        return Ok(Database::Named(Secret::new(url.clone())));
    }
    install_postgres(|line| screen.say(line)).await?;
    let folder = folder.join("postgres");
    if !folder.join("data").is_dir() {
        screen.say("Making a PostgreSQL cluster; this happens once.");
    }
    let started = Postgres::start(PostgresOptions::new(folder)).await?;
    Ok(Database::Private(Box::new(started)))
}

async fn bus(args: &Args, folder: &std::path::Path, screen: &Screen) -> anyhow::Result<Bus> {
    if let Some(servers) = &args.kafka {
        return Ok(Bus::Named(servers.clone()));
    }
    if args.native_kafka {
        screen.say("Starting Apache Kafka; the first time it is fetched, 46 MB.");
        let started = Kafka::start(KafkaOptions::new(folder.join("kafka"))).await?;
        return Ok(Bus::Native(Box::new(started)));
    }
    Ok(Bus::Inside(Broker::start()?))
}

/// A folder as a person would write it from here.
fn shown(folder: &std::path::Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    folder.strip_prefix(here).unwrap_or(folder).display().to_string()
}
