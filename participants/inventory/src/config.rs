//! The settings of inventory: those of every participant, with addresses of its own.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Deserializer, Serialize};
use skald_kit::config::{Grpc, Kafka, Listen, Log, Otlp, Postgres, Problems, ServerTls, Shutdown, Validate};
use skald_participant::{Calls, Commands, ParticipantConfig};

/// Everything that can be set; `SKALD_<SECTION>__<FIELD>` in the environment.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Inventory's own database.
    pub postgres: Postgres,
    /// Brokers and topics.
    pub kafka: Kafka,
    /// Where it is reached; 127.0.0.1:7080 (gRPC) and 127.0.0.1:7081 (HTTP) unless set.
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
        }
    }
}

fn default_listen() -> Listen {
    Listen { grpc: (Ipv4Addr::LOCALHOST, 7080).into(), http: (Ipv4Addr::LOCALHOST, 7081).into() }
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
    }
}

impl From<Config> for ParticipantConfig {
    fn from(config: Config) -> Self {
        Self {
            postgres: config.postgres,
            kafka: config.kafka,
            listen: config.listen,
            grpc: config.grpc,
            tls: config.tls,
            shutdown: config.shutdown,
            log: config.log,
            otlp: config.otlp,
            commands: config.commands,
            // Inventory calls nobody.
            calls: Calls::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_a_file_changes_only_what_it_names() {
        let config: Config = toml::from_str("listen.http = \"127.0.0.1:1\"").expect("readable");
        let mut problems = Problems::default();
        Config::default().validate(&mut problems);
        assert!(problems.is_empty(), "{problems}");
        assert_eq!((config.listen.grpc.port(), config.listen.http.port()), (7080, 1));
    }
}
