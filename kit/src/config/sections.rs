//! The sections that all services share, each with its defaults and its rules.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize, Serializer};

use super::{Problems, Secret, Validate};

/// `[postgres]`: the service's own database.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Postgres {
    /// `postgres://user:password@host:port/database?…` (libpq's form); the password is hidden when it is
    /// shown.
    #[serde(serialize_with = "without_password")]
    pub url: Secret,
    /// Connections of the pool for reads, 1 to 100. Workers have one writing connection each besides it.
    pub max_read_connections: u32,
}

fn without_password<S: Serializer>(url: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&url.url_without_password())
}

impl Default for Postgres {
    fn default() -> Self {
        Self { url: Secret::new("postgres://postgres@127.0.0.1:5432/postgres"), max_read_connections: 8 }
    }
}

impl Validate for Postgres {
    fn validate(&self, problems: &mut Problems) {
        let url = self.url.expose();
        if !(url.starts_with("postgres://") || url.starts_with("postgresql://")) {
            problems.add("url", "is no PostgreSQL URL; expected postgres://user:password@host:port/database");
        } else if url.parse::<sqlx::postgres::PgConnectOptions>().is_err() {
            // The parser's own message may quote the password.
            problems.add("url", "cannot be parsed; expected postgres://user:password@host:port/database");
        }
        range(problems, "max_read_connections", self.max_read_connections, 1, 100);
    }
}

/// `[kafka]`: the brokers and the shape of our topics.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kafka {
    /// `host:port`, several separated by commas.
    pub bootstrap_servers: String,
    /// Put before every topic's name, so that several installations can share brokers. May be empty.
    pub topic_prefix: String,
    /// Partitions of each topic, 1 to 1000; commands and outcomes must have the same number, for it routes
    /// everything.
    pub partitions: i32,
    /// Copies of each partition that topics are created with, 1 to 100.
    pub replication_factor: i32,
    /// Create topics that are missing at start; else a missing topic stops the start.
    pub create_topics: bool,
    /// Handed to librdkafka as they are, last: they win over what Skald sets. In a variable:
    /// `{"security.protocol"="SASL_SSL"}`.
    ///
    /// Values of those that are or may be secrets are hidden when they are shown.
    #[serde(deserialize_with = "scalars", serialize_with = "without_secrets")]
    pub properties: BTreeMap<String, String>,
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            bootstrap_servers: "127.0.0.1:9092".to_owned(),
            topic_prefix: String::new(),
            partitions: 4,
            replication_factor: 1,
            create_topics: true,
            properties: BTreeMap::new(),
        }
    }
}

impl Kafka {
    /// The full name of a topic: the prefix and `name`.
    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.topic_prefix)
    }
}

/// What the promises rest on.
const OWNED_PROPERTIES: &[&str] = &[
    "acks",
    "auto.offset.reset",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "group.id",
    "partition.assignment.strategy",
    "partitioner",
    "request.required.acks",
];

impl Validate for Kafka {
    fn validate(&self, problems: &mut Problems) {
        let servers_ok = self.bootstrap_servers.split(',').all(|server| {
            server
                .trim()
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        });
        problems.check(
            servers_ok,
            "bootstrap_servers",
            format!("{:?} is no list of host:port", self.bootstrap_servers),
        );
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let prefix_ok = self.topic_prefix.chars().all(legal) && self.topic_prefix.len() <= 100;
        problems.check(
            prefix_ok,
            "topic_prefix",
            "may have only letters, digits, '.', '_', '-', 100 at most",
        );
        range(problems, "partitions", self.partitions, 1, 1000);
        range(problems, "replication_factor", self.replication_factor, 1, 100);
        for owned in OWNED_PROPERTIES {
            problems.check(
                !self.properties.contains_key(*owned),
                "properties",
                format!("{owned} is Skald's own; what is promised depends on it"),
            );
        }
    }
}

/// Words in the names of librdkafka's properties whose values nobody should see: passwords, keys, tokens and what makes them.
const HIDDEN_PROPERTIES: &[&str] =
    &["password", "secret", "passphrase", "pem", "key", "token", "oauthbearer", "jaas"];

fn without_secrets<S: Serializer>(
    properties: &BTreeMap<String, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let hidden = |name: &str| HIDDEN_PROPERTIES.iter().any(|word| name.to_ascii_lowercase().contains(word));
    let shown = |(name, value)| if hidden(name) { (name, "***") } else { (name, value) };
    serializer.collect_map(properties.iter().map(|(name, value)| shown((name.as_str(), value.as_str()))))
}

/// librdkafka takes strings; a person may write `5` or `true`.
fn scalars<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Scalar {
        Bool(bool),
        Integer(i64),
        Float(f64),
        Text(String),
    }
    let map = BTreeMap::<String, Scalar>::deserialize(deserializer)?;
    let text = |scalar| match scalar {
        Scalar::Bool(value) => value.to_string(),
        Scalar::Integer(value) => value.to_string(),
        Scalar::Float(value) => value.to_string(),
        Scalar::Text(value) => value,
    };
    Ok(map.into_iter().map(|(key, value)| (key, text(value))).collect())
}

/// `[listen]`: where the service is reached.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// gRPC: the service's API, health and reflection. Port 0 takes a free one.
    pub grpc: SocketAddr,
    /// HTTP: `/metrics`, `/health/live`, `/health/ready`. Port 0 takes a free one.
    pub http: SocketAddr,
}

impl Default for Listen {
    fn default() -> Self {
        Self { grpc: (Ipv4Addr::LOCALHOST, 7400).into(), http: (Ipv4Addr::LOCALHOST, 7401).into() }
    }
}

impl Validate for Listen {
    fn validate(&self, problems: &mut Problems) {
        let same = self.grpc == self.http && self.grpc.port() != 0;
        problems.check(!same, "http", format!("is {}, which grpc has; each needs its own", self.http));
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For eyes.
    #[default]
    Human,
    /// One JSON object per line.
    Json,
}

/// `[log]`: what is written to standard error.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `human` or `json`.
    pub format: LogFormat,
    /// tracing's filter directives, for example `info,skald_server=debug`.
    pub filter: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Human, filter: "info".to_owned() }
    }
}

impl Validate for Log {
    fn validate(&self, problems: &mut Problems) {
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.filter) {
            problems.add(
                "filter",
                format!("{:?} is no filter ({error}); for example \"info,skald_server=debug\"", self.filter),
            );
        }
    }
}

/// `[otlp]`: where spans are sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Otlp {
    /// gRPC endpoint of a collector, `http://host:4317`; absent: no span is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Share of new traces that are sampled, 0 to 1. A caller's own decision is followed.
    pub sample_ratio: f64,
}

impl Default for Otlp {
    fn default() -> Self {
        Self { endpoint: None, sample_ratio: 0.01 }
    }
}

impl Validate for Otlp {
    fn validate(&self, problems: &mut Problems) {
        if let Some(endpoint) = &self.endpoint {
            let url = endpoint.starts_with("http://") || endpoint.starts_with("https://");
            problems.check(url, "endpoint", format!("{endpoint:?} is no URL; expected http://host:port"));
        }
        range(problems, "sample_ratio", self.sample_ratio, 0.0, 1.0);
    }
}

/// `[shutdown]`: how a service stops.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shutdown {
    /// Seconds between the first signal and a hard exit, 1 to 3600.
    pub deadline_seconds: u32,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { deadline_seconds: 20 }
    }
}

impl Shutdown {
    /// The deadline as a duration.
    pub fn deadline(&self) -> std::time::Duration {
        std::time::Duration::from_secs(self.deadline_seconds.into())
    }
}

impl Validate for Shutdown {
    fn validate(&self, problems: &mut Problems) {
        range(problems, "deadline_seconds", self.deadline_seconds, 1, 3600);
    }
}

fn range<N: PartialOrd + std::fmt::Display>(problems: &mut Problems, field: &str, value: N, low: N, high: N) {
    if !(value >= low && value <= high) {
        problems.add(field, format!("is {value}; allowed are {low} to {high}"));
    }
}
