//! The settings of a participant: one section each, with defaults and rules.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use skald_kit::config::{Grpc, Kafka, Listen, Log, Otlp, Postgres, Problems, ServerTls, Shutdown, Validate};

use crate::startup::Needs;

/// Everything that a participant without settings of its own needs. A service with more sections repeats these and converts.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ParticipantConfig {
    /// The participant's own database.
    pub postgres: Postgres,
    /// Brokers and topics.
    pub kafka: Kafka,
    /// Where it is reached.
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
    /// Calls to the outside world.
    pub calls: Calls,
}

impl ParticipantConfig {
    /// Whether there is a topic that it reads or writes.
    pub(crate) fn needs_kafka(&self, needs: &Needs) -> bool {
        self.commands.kafka || !needs.topics.is_empty()
    }
}

impl Validate for ParticipantConfig {
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
    }
}

/// `[commands]`: how commands come. Both ways at once is fine: they meet the same barrier.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Commands {
    /// From the participant's topic of commands. Without it the participant needs no topics of commands, outcomes and dead
    /// letters; its events go out over Kafka all the same.
    pub kafka: bool,
    /// Over `skald.participant.v1.ParticipantService/Execute`.
    pub grpc: bool,
}

impl Default for Commands {
    fn default() -> Self {
        Self { kafka: true, grpc: true }
    }
}

impl Validate for Commands {
    fn validate(&self, problems: &mut Problems) {
        problems.check(self.kafka || self.grpc, "kafka", "and grpc are both off: no command could come");
    }
}

/// `[calls]`: how the outside world is called.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Calls {
    /// Calls under way at once, 1 to 4096.
    pub concurrency: u32,
    /// Milliseconds that one call may take, its own repeats included, 10 to 300000.
    pub timeout_ms: u64,
    /// Milliseconds between two looks for intents that nobody works on, 10 to 60000. Another instance's are taken when its
    /// calls must have ended, which is at least five timeouts later.
    pub sweep_ms: u64,
    /// Seconds before the end of a gateway key's life from which on nothing is sent with it: clocks differ, networks delay.
    pub key_margin_seconds: u64,
}

impl Default for Calls {
    fn default() -> Self {
        Self { concurrency: 64, timeout_ms: 10_000, sweep_ms: 1_000, key_margin_seconds: 600 }
    }
}

impl Calls {
    /// What one call may take.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// Calls that may wait in memory for a place: each place four times, so that none waits longer than four timeouts.
    pub(crate) fn queue(&self) -> usize {
        self.concurrency as usize * 4
    }

    /// After this a call that was begun has ended or its process is frozen: the wait in the queue and the call itself.
    pub(crate) fn lease(&self) -> Duration {
        self.timeout() * 6
    }
}

impl Validate for Calls {
    fn validate(&self, problems: &mut Problems) {
        problems.check((1..=4096).contains(&self.concurrency), "concurrency", "allowed are 1 to 4096");
        problems.check((10..=300_000).contains(&self.timeout_ms), "timeout_ms", "allowed are 10 to 300000");
        problems.check((10..=60_000).contains(&self.sweep_ms), "sweep_ms", "allowed are 10 to 60000");
        problems.check(self.key_margin_seconds <= 86_400, "key_margin_seconds", "allowed are 0 to 86400");
    }
}
