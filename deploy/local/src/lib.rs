//! Native PostgreSQL and Kafka on this machine, without containers: for development, tests and benchmarks.
//!
//! Nothing here is for production. Servers listen on 127.0.0.1, have no passwords, and die with the
//! process that started them, even when that one is killed with SIGKILL.
//!
//! ```no_run
//! # async fn example() -> skald_local::Result<()> {
//! use skald_local::{Kafka, KafkaOptions, Postgres, PostgresOptions};
//!
//! let mut postgres = Postgres::start(PostgresOptions::new(".skald/postgres")).await?;
//! postgres.create_database("shop").await?;
//! let mut kafka = Kafka::start(KafkaOptions::new(".skald/kafka-data")).await?;
//! println!("{} {}", postgres.url("shop"), kafka.bootstrap_servers());
//! kafka.stop().await?;
//! postgres.stop().await?;
//! # Ok(()) }
//! ```

pub mod child;
mod error;
mod kafka;
mod place;
mod port;
mod postgres;

pub use error::{Error, Result};
pub use kafka::{Cluster, ClusterOptions, Jvm, Kafka, KafkaOptions, await_kafka, kafka_settings};
pub use place::home;
pub use port::{free_port, free_ports};
pub use postgres::{Postgres, PostgresOptions, install_postgres};
