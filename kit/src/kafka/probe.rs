//! Keeps a service's health informed about Kafka. Only asks and tells.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;

use super::client_config;
use crate::config;
use crate::health::{Health, Status};
use crate::lifecycle::Shutdown;

/// How often, and how long an answer may take.
const EVERY: Duration = Duration::from_secs(2);

/// Asks for metadata every two seconds and sets `kafka` to UP or DEGRADED (what was accepted is safe; it only
/// waits), until the stop is asked for.
///
/// # Errors
/// librdkafka does not accept the configuration.
pub async fn run(kafka: config::Kafka, health: Health, shutdown: Shutdown) -> anyhow::Result<()> {
    let client: Arc<AdminClient<DefaultClientContext>> = Arc::new(client_config(&kafka).create()?);
    loop {
        let asked = Arc::clone(&client);
        let asking = tokio::task::spawn_blocking(move || {
            asked.inner().fetch_metadata(None, EVERY).map(|m| m.brokers().len())
        });
        let answer = tokio::select! {
            answer = asking => answer?,
            () = shutdown.requested() => return Ok(()),
        };
        match answer {
            Ok(brokers) => health.set("kafka", Status::Up, format!("{brokers} brokers")),
            Err(error) => health.set(
                "kafka",
                Status::Degraded,
                format!("{} does not answer: {error}", kafka.bootstrap_servers),
            ),
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = shutdown.requested() => return Ok(()),
        }
    }
}
