//! What every service needs and none is about: config, telemetry, lifecycle, Kafka client, event outbox.
//! Knows no message.

pub mod backoff;
mod civil;
pub mod clock;
pub mod config;
pub mod grpc;
pub mod health;
pub mod http;
pub mod ids;
pub mod instance;
pub mod kafka;
pub mod lifecycle;
pub mod migrate;
pub mod outbox;
pub mod partitions;
pub mod pg;
pub mod telemetry;

pub use telemetry::trace;
