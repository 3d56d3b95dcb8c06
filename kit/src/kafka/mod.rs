//! The Kafka client: which partition a key has, producing, consuming, topics. Knows no topic of ours.

pub mod consumer;
mod partition;
mod poller;
mod positions;
pub mod probe;
pub mod producer;
pub mod topics;
pub mod watermark;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::config;

pub use consumer::{Ack, Assigned, Batch, Consumer, Lag, Message, Options};
pub use partition::{partition_for, partition_for_id};
pub use producer::{DeliveryError, Producer, Record, SendError, Unflushed};
pub use topics::Topic;
pub use watermark::Watermark;

/// What every client of ours has in common, the person's own properties last.
pub fn client_config(kafka: &config::Kafka) -> ClientConfig {
    let mut config = base_config(kafka);
    own_properties(&mut config, kafka);
    config
}

fn base_config(kafka: &config::Kafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &kafka.bootstrap_servers)
        .set("client.id", "skald")
        .set("socket.keepalive.enable", "true")
        .set("socket.nagle.disable", "true")
        // A broker that restarts is found again within a second, not within the default of ten.
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("allow.auto.create.topics", "false")
        .set("statistics.interval.ms", "0")
        .set_log_level(RDKafkaLogLevel::Warning);
    config
}

/// The person's own. librdkafka knows some properties by two names; the one that it is given last must win
/// whatever its name.
fn own_properties(config: &mut ClientConfig, kafka: &config::Kafka) {
    for (name, value) in &kafka.properties {
        let name = match name.as_str() {
            "delivery.timeout.ms" => "message.timeout.ms",
            "queue.buffering.max.ms" => "linger.ms",
            "message.send.max.retries" => "retries",
            "metadata.broker.list" => "bootstrap.servers",
            name => name,
        };
        config.set(name, value);
    }
}
