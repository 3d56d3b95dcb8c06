//! The settings of payment: those of every participant, the gateway, the circuit breaker.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use skald_kit::config::{
    Grpc, Kafka, Listen, Log, Otlp, Postgres, Problems, Secret, ServerTls, Shutdown, Validate,
};
use skald_participant::{Calls, Commands, ParticipantConfig};

use crate::{breaker::Settings, gateway::simulated::Mood};

/// Everything that can be set; `SKALD_<SECTION>__<FIELD>` in the environment.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Payment's own database.
    pub postgres: Postgres,
    /// Brokers and topics.
    pub kafka: Kafka,
    /// Where it is reached; 127.0.0.1:7090 (gRPC) and 127.0.0.1:7091 (HTTP) unless set.
    #[serde(deserialize_with = "listen")]
    pub listen: Listen,
    /// What clients may take of gRPC.
    pub grpc: Grpc,
    /// TLS on its gRPC; absent: plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTls>,
    /// How it stops.
    pub shutdown: Shutdown,
    /// Log lines.
    pub log: Log,
    /// Spans.
    pub otlp: Otlp,
    /// How commands come.
    pub commands: Commands,
    /// How the gateway is called.
    pub calls: Calls,
    /// The simulated gateway.
    pub gateway: Gateway,
    /// The circuit breaker before it.
    pub breaker: Breaker,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            postgres: Postgres::default(),
            kafka: Kafka::default(),
            listen: default_listen(),
            grpc: Grpc::default(),
            tls: None,
            shutdown: Shutdown::default(),
            log: Log::default(),
            otlp: Otlp::default(),
            commands: Commands::default(),
            calls: Calls::default(),
            gateway: Gateway::default(),
            breaker: Breaker::default(),
        }
    }
}

fn default_listen() -> Listen {
    Listen { grpc: (Ipv4Addr::LOCALHOST, 7090).into(), http: (Ipv4Addr::LOCALHOST, 7091).into() }
}

/// An address that is not set is ours, not that of kit's section.
fn listen<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Listen, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Partial {
        grpc: Option<SocketAddr>,
        http: Option<SocketAddr>,
    }
    let Partial { grpc, http } = Partial::deserialize(deserializer)?;
    let ours = default_listen();
    Ok(Listen { grpc: grpc.unwrap_or(ours.grpc), http: http.unwrap_or(ours.http) })
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        problems.part("postgres", &self.postgres);
        problems.part("kafka", &self.kafka);
        problems.part("listen", &self.listen);
        problems.part("grpc", &self.grpc);
        if let Some(tls) = &self.tls {
            problems.part("tls", tls);
        }
        problems.part("shutdown", &self.shutdown);
        problems.part("log", &self.log);
        problems.part("otlp", &self.otlp);
        problems.part("commands", &self.commands);
        problems.part("calls", &self.calls);
        problems.part("gateway", &self.gateway);
        problems.part("breaker", &self.breaker);
        let margin = self.calls.key_margin_seconds;
        problems.check(
            margin < self.gateway.key_lifetime_seconds,
            "calls.key_margin_seconds",
            format!(
                "is {margin}; must be less than gateway.key_lifetime_seconds, or nothing could ever be sent"
            ),
        );
    }
}

impl Config {
    /// What the runtime needs of it.
    pub(crate) fn participant(&self) -> ParticipantConfig {
        ParticipantConfig {
            postgres: self.postgres.clone(),
            kafka: self.kafka.clone(),
            listen: self.listen.clone(),
            grpc: self.grpc.clone(),
            tls: self.tls.clone(),
            shutdown: self.shutdown.clone(),
            log: self.log.clone(),
            otlp: self.otlp.clone(),
            commands: self.commands.clone(),
            calls: self.calls.clone(),
        }
    }

    /// The database of the gateway's books.
    pub(crate) fn gateway_url(&self) -> Secret {
        self.gateway.url.clone().unwrap_or_else(|| self.postgres.url.clone())
    }

    /// As the breaker wants them.
    pub(crate) fn breaker_settings(&self) -> Settings {
        let ms = Duration::from_millis;
        Settings {
            consecutive_failures: self.breaker.consecutive_failures,
            error_rate_percent: self.breaker.error_rate_percent,
            min_calls: self.breaker.min_calls,
            window: ms(self.breaker.window_ms),
            open: ms(self.breaker.open_ms),
            max_open: ms(self.breaker.max_open_ms),
            ramp: ms(self.breaker.ramp_ms),
            ramp_to: self.calls.concurrency,
        }
    }
}

/// `[gateway]`: the simulated payment gateway, and how it misbehaves from the start.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gateway {
    /// The database with schema `gateway`; absent: payment's own, over a connection of the gateway's.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "without_password")]
    pub url: Option<Secret>,
    /// For how long it remembers idempotency keys, 1 to 2592000 (30 days). Then they are really forgotten.
    pub key_lifetime_seconds: u64,
    /// Milliseconds added to each call, 0 to 60000.
    pub latency_ms: u32,
    /// Every call fails before it does anything.
    pub outage: bool,
    /// Out of 1,000 calls, how many do their work and then lose the answer, 0 to 1000.
    pub lost_answers_per_mille: u32,
}

fn without_password<S: Serializer>(url: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&url.as_ref().map(Secret::url_without_password).unwrap_or_default())
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            url: None,
            key_lifetime_seconds: 24 * 3_600,
            latency_ms: 0,
            outage: false,
            lost_answers_per_mille: 0,
        }
    }
}

impl Gateway {
    /// For how long keys are remembered.
    pub(crate) fn key_lifetime(&self) -> Duration {
        Duration::from_secs(self.key_lifetime_seconds)
    }

    /// How it misbehaves from the start.
    pub(crate) fn mood(&self) -> Mood {
        Mood {
            latency: Duration::from_millis(self.latency_ms.into()),
            outage: self.outage,
            lost_answers_per_mille: self.lost_answers_per_mille,
        }
    }
}

impl Validate for Gateway {
    fn validate(&self, problems: &mut Problems) {
        if let Some(url) = &self.url {
            let url = url.expose();
            let known = url.starts_with("postgres://") || url.starts_with("postgresql://");
            let parses = url.parse::<sqlx::postgres::PgConnectOptions>().is_ok();
            let wrong = "is no PostgreSQL URL; expected postgres://user:password@host:port/database";
            problems.check(known && parses, "url", wrong);
        }
        let lifetime = self.key_lifetime_seconds;
        problems.check(
            (1..=2_592_000).contains(&lifetime),
            "key_lifetime_seconds",
            "allowed are 1 to 2592000",
        );
        problems.check(self.latency_ms <= 60_000, "latency_ms", "allowed are 0 to 60000");
        problems.check(
            self.lost_answers_per_mille <= 1_000,
            "lost_answers_per_mille",
            "allowed are 0 to 1000",
        );
    }
}

/// `[breaker]`: when calls to the gateway stop, and how they start again.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Breaker {
    /// That many failures with no success between them open it, 1 to 1000.
    pub consecutive_failures: u32,
    /// So many of a hundred calls of one window open it, 1 to 100 …
    pub error_rate_percent: u32,
    /// … when the window had at least this many, 1 to 100000.
    pub min_calls: u32,
    /// Milliseconds of a window, 100 to 600000.
    pub window_ms: u64,
    /// Milliseconds that it stays open the first time, 10 to 600000; twice as long each time that it fails again.
    pub open_ms: u64,
    /// The longest that it stays open, in milliseconds; at least `open_ms`, at most 3600000.
    pub max_open_ms: u64,
    /// Milliseconds from the first success to all calls, 0 to 600000.
    pub ramp_ms: u64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            consecutive_failures: 10,
            error_rate_percent: 60,
            min_calls: 20,
            window_ms: 10_000,
            open_ms: 1_000,
            max_open_ms: 30_000,
            ramp_ms: 5_000,
        }
    }
}

impl Validate for Breaker {
    fn validate(&self, problems: &mut Problems) {
        let consecutive = self.consecutive_failures;
        problems.check((1..=1_000).contains(&consecutive), "consecutive_failures", "allowed are 1 to 1000");
        problems.check(
            (1..=100).contains(&self.error_rate_percent),
            "error_rate_percent",
            "allowed are 1 to 100",
        );
        problems.check((1..=100_000).contains(&self.min_calls), "min_calls", "allowed are 1 to 100000");
        problems.check((100..=600_000).contains(&self.window_ms), "window_ms", "allowed are 100 to 600000");
        problems.check((10..=600_000).contains(&self.open_ms), "open_ms", "allowed are 10 to 600000");
        let max_open = (self.open_ms..=3_600_000).contains(&self.max_open_ms);
        problems.check(max_open, "max_open_ms", "allowed are open_ms to 3600000");
        problems.check(self.ramp_ms <= 600_000, "ramp_ms", "allowed are 0 to 600000");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems_of(toml: &str) -> Vec<String> {
        let config: Config = toml::from_str(toml).expect("readable");
        let mut problems = Problems::default();
        config.validate(&mut problems);
        problems.lines().iter().map(|line| line.split(':').next().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(problems_of(""), Vec::<String>::new());
    }

    #[test]
    fn each_setting_has_its_limits() {
        for (toml, field) in [
            ("gateway.url = \"mysql://x\"", "gateway.url"),
            ("gateway.latency_ms = 60001", "gateway.latency_ms"),
            ("gateway.lost_answers_per_mille = 1001", "gateway.lost_answers_per_mille"),
            ("gateway.key_lifetime_seconds = 2592001", "gateway.key_lifetime_seconds"),
            ("gateway.key_lifetime_seconds = 600", "calls.key_margin_seconds"),
            ("breaker.consecutive_failures = 0", "breaker.consecutive_failures"),
            ("breaker.error_rate_percent = 101", "breaker.error_rate_percent"),
            ("breaker.min_calls = 0", "breaker.min_calls"),
            ("breaker.window_ms = 1", "breaker.window_ms"),
            ("breaker.open_ms = 1", "breaker.open_ms"),
            ("breaker.max_open_ms = 999", "breaker.max_open_ms"),
            ("breaker.ramp_ms = 600001", "breaker.ramp_ms"),
            ("calls.concurrency = 0", "calls.concurrency"),
            ("listen.http = \"127.0.0.1:7090\"", "listen.http"),
        ] {
            assert_eq!(problems_of(toml), [field], "{toml}");
        }
    }

    #[test]
    fn the_gateways_password_is_hidden() {
        let config: Config =
            toml::from_str("gateway.url = \"postgres://bob:hush@db/books\"").expect("readable");
        let shown = skald_kit::config::effective_toml(&config);
        assert!(shown.contains("postgres://bob:***@db/books") && !shown.contains("hush"), "{shown}");
    }
}
