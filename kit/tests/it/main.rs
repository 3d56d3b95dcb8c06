//! Kit against real PostgreSQL and Kafka: what the pure tests cannot show.

mod consuming;
mod database;
mod outbox;
mod producing;
mod serving;

use std::time::Duration;

use skald_kit::config::{Kafka, Secret};
use skald_kit::kafka::{Topic, topics};
use skald_kit::migrate::{self, Set};
use sqlx::PgConnection;

/// For whatever should happen soon, on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// The shared broker, with a topic prefix of the test's own.
fn kafka() -> Kafka {
    Kafka {
        bootstrap_servers: skald_harness::kafka(),
        topic_prefix: format!("{}.", skald_harness::unique("kit")),
        ..Kafka::default()
    }
}

/// Creates a topic and gives its full name.
async fn topic(kafka: &Kafka, name: &str, partitions: i32) -> String {
    let name = kafka.topic(name);
    let topic = Topic { name: name.clone(), partitions, retention_ms: None, config: [].into() };
    topics::create_missing(kafka, &[topic]).await.expect("created");
    name
}

/// A database of the test's own with kit's tables.
async fn database() -> (Secret, PgConnection) {
    let url = Secret::new(skald_harness::database("kit").await.url);
    migrate::run(&url, &[Set::kit()]).await.expect("migrated");
    let connection = skald_kit::pg::worker_connection(&url).await.expect("connected");
    (url, connection)
}
