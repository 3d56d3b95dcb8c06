//! PostgreSQL and Kafka: private ones that live as long as the run, or given ones in which databases and topics of our
//! own are made and removed again.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use skald_kit::config;
use skald_local::{Jvm, Kafka, KafkaOptions, Postgres, PostgresOptions};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::usage::Who;
use super::{Args, services::NAMES};

/// A private PostgreSQL is as durable as one in production: fsync and synchronous_commit stay on, wal_level is the
/// default that replicas and backups need. Beyond the defaults it gets memory, and room for WAL, so that it does not write
/// a checkpoint every few seconds.
const SETTINGS: &[(&str, &str)] = &[
    ("shared_buffers", "512MB"),
    ("max_wal_size", "4GB"),
    ("min_wal_size", "1GB"),
    ("max_connections", "100"),
];

/// Both servers, and what is ours in them.
pub(super) struct Servers {
    postgres: Option<Postgres>,
    kafka: Option<Kafka>,
    url: String,
    folder: PathBuf,
    /// What our databases and topics begin with.
    name: String,
    /// How Kafka is reached, and the topics' prefix.
    pub(super) client: config::Kafka,
    admin: PgConnection,
}

impl Servers {
    /// Starts those that were not given, and makes the databases. `name` is unique.
    pub(super) async fn start(args: &Args, folder: &Path, name: String) -> Result<Self> {
        let postgres = async {
            if args.postgres.is_some() {
                return Ok(None);
            }
            let mut options = PostgresOptions::new(folder.join("postgres"));
            for (setting, value) in SETTINGS {
                options = options.setting(*setting, *value);
            }
            anyhow::Ok(Some(Postgres::start(options).await?))
        };
        let kafka = async {
            if args.kafka.is_some() {
                return Ok(None);
            }
            let options = KafkaOptions::new(folder.join("kafka")).jvm(Jvm::Throughput);
            anyhow::Ok(Some(Kafka::start(options).await?))
        };
        let (postgres, kafka) = tokio::try_join!(postgres, kafka)?;
        let own = postgres.as_ref().map(|server| server.url(""));
        let url = args.postgres.clone().or(own).context("no PostgreSQL")?;
        let own = kafka.as_ref().map(Kafka::bootstrap_servers);
        let bootstrap_servers = args.kafka.clone().or(own).context("no Kafka")?;
        let client = config::Kafka {
            bootstrap_servers,
            topic_prefix: format!("{name}."),
            partitions: i32::try_from(args.partitions)?,
            ..config::Kafka::default()
        };
        let admin = PgConnection::connect(&with_database(&url, "postgres"))
            .await
            .context("connecting to PostgreSQL")?;
        let folder = folder.to_owned();
        let mut servers = Self { postgres, kafka, url, folder, name, client, admin };
        for service in NAMES {
            servers.statement(&format!("CREATE DATABASE {}", servers.database(service))).await?;
        }
        Ok(servers)
    }

    fn database(&self, service: &str) -> String {
        format!("{}_{service}", self.name)
    }

    /// The address of a service's database.
    pub(super) fn database_url(&self, service: &str) -> String {
        with_database(&self.url, &self.database(service))
    }

    /// Whose cost is known: servers that are ours.
    pub(super) fn processes(&self) -> Vec<(String, Who)> {
        let postgres = self.postgres.as_ref().map(|p| ("postgres".to_owned(), Who::Family(p.pid())));
        let kafka = self.kafka.as_ref().map(|k| ("kafka".to_owned(), Who::One(k.pid())));
        postgres.into_iter().chain(kafka).collect()
    }

    /// Bytes of WAL that were ever written, and those on their way.
    pub(super) async fn wal_bytes(&mut self) -> Option<i64> {
        sqlx::query_scalar("select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint")
            .fetch_one(&mut self.admin)
            .await
            .ok()
    }

    /// Bytes in the broker's logs, batch headers and compression included; `None` when its disk is not ours.
    pub(super) fn kafka_bytes(&self) -> Option<u64> {
        self.kafka.as_ref()?;
        Some(log_bytes(&self.folder.join("kafka").join("data"), &self.client.topic_prefix))
    }

    /// What makes the figures comparable.
    pub(super) async fn durability(&mut self) -> String {
        let setting =
            "select 'PostgreSQL ' || current_setting('server_version_num')::int / 10000 || ', fsync '
            || current_setting('fsync') || ', synchronous_commit ' || current_setting('synchronous_commit')";
        let told: Result<String, _> = sqlx::query_scalar(setting).fetch_one(&mut self.admin).await;
        told.unwrap_or_else(|_| "unknown".to_owned())
    }

    /// Removes what is ours from given servers; ends private ones. All services must have ended.
    pub(super) async fn stop(mut self) -> Result<()> {
        if self.postgres.is_none() {
            for service in NAMES {
                self.statement(&format!("DROP DATABASE {} WITH (FORCE)", self.database(service))).await?;
            }
        }
        if self.kafka.is_none() {
            self.delete_topics().await?;
        }
        self.admin.close().await?;
        // Their data go away with the folder: there is nothing to be gained from a clean stop.
        if let Some(postgres) = &mut self.postgres {
            postgres.kill().await?;
        }
        if let Some(kafka) = &mut self.kafka {
            kafka.kill().await?;
        }
        Ok(())
    }

    /// A statement made of names that we made ourselves.
    async fn statement(&mut self, sql: &str) -> Result<()> {
        sqlx::query(AssertSqlSafe(sql.to_owned())).execute(&mut self.admin).await.context(sql.to_owned())?;
        Ok(())
    }

    async fn delete_topics(&self) -> Result<()> {
        let admin: AdminClient<DefaultClientContext> =
            skald_kit::kafka::client_config(&self.client).create()?;
        let metadata = admin.inner().fetch_metadata(None, std::time::Duration::from_secs(10))?;
        let names = metadata.topics().iter().map(|topic| topic.name());
        let ours: Vec<&str> = names.filter(|name| name.starts_with(&self.client.topic_prefix)).collect();
        admin.delete_topics(&ours, &AdminOptions::new()).await?;
        Ok(())
    }
}

/// The same server, another database.
fn with_database(url: &str, database: &str) -> String {
    let (address, parameters) = url.split_once('?').map_or((url, None), |(a, p)| (a, Some(p)));
    let start = address.find("://").map_or(0, |at| at + 3);
    let server = address[start..].find('/').map_or(address, |at| &address[..start + at]);
    let parameters = parameters.map_or(String::new(), |p| format!("?{p}"));
    format!("{server}/{database}{parameters}")
}

/// The size of all segments of topics that begin so.
fn log_bytes(data: &Path, prefix: &str) -> u64 {
    let folders = std::fs::read_dir(data).into_iter().flatten().flatten();
    let ours = folders.filter(|f| f.file_name().to_str().is_some_and(|name| name.starts_with(prefix)));
    let files = ours.flat_map(|folder| std::fs::read_dir(folder.path()).into_iter().flatten().flatten());
    files
        .filter(|file| file.path().extension().is_some_and(|extension| extension == "log"))
        .filter_map(|file| Some(file.metadata().ok()?.len()))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_replaces_another() {
        for (url, expected) in [
            ("postgres://me@host:5432", "postgres://me@host:5432/shop"),
            ("postgres://me@host:5432/", "postgres://me@host:5432/shop"),
            ("postgres://me:pw@host/other?sslmode=require", "postgres://me:pw@host/shop?sslmode=require"),
            ("postgres://host?user=me", "postgres://host/shop?user=me"),
        ] {
            assert_eq!(with_database(url, "shop"), expected);
        }
    }

    #[test]
    fn only_our_segments_count() {
        let data = std::env::temp_dir().join(format!("skald-log-bytes-{}", std::process::id()));
        for (folder, file, bytes) in [
            ("bench_1.orders.events-0", "00.log", 7),
            ("bench_1.orders.events-1", "00.log", 5),
            ("bench_1.orders.events-1", "00.index", 100),
            ("bench_2.orders.events-0", "00.log", 100),
        ] {
            std::fs::create_dir_all(data.join(folder)).unwrap();
            std::fs::write(data.join(folder).join(file), vec![0; bytes]).unwrap();
        }
        assert_eq!(log_bytes(&data, "bench_1."), 12);
        assert_eq!(log_bytes(&data.join("nowhere"), "bench_1."), 0);
        std::fs::remove_dir_all(data).unwrap();
    }
}
