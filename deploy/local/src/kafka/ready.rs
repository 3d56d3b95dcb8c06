//! When a broker is ready: a metadata request is answered and names it as a live broker. An open port
//! says nothing.

use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;

use crate::child::Child;
use crate::{Error, Result};

/// A client that says nothing while it waits: that a broker is not up yet is no news.
#[derive(Debug, Clone, Copy)]
pub(super) struct Silent;

impl ClientContext for Silent {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ConsumerContext for Silent {}

/// Waits until a Kafka of one node that somebody else started answers at this address as a live broker.
///
/// # Errors
/// [`Error::Timeout`] after `limit`.
pub async fn await_kafka(servers: &str, limit: Duration) -> Result<()> {
    await_answer(servers, 1, None, limit).await
}

/// Waits until the node's broker answers and is live, has ended, or the time is over.
pub(super) async fn await_metadata(servers: &str, node: u8, child: &Child, limit: Duration) -> Result<()> {
    await_answer(servers, node, Some(child), limit).await
}

async fn await_answer(servers: &str, node: u8, child: Option<&Child>, limit: Duration) -> Result<()> {
    let client: BaseConsumer<Silent> = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "50")
        .create_with_context(Silent)?;
    let client = std::sync::Arc::new(client);
    let end = Instant::now() + limit;
    loop {
        if let Some(child) = child
            && let Some(status) = child.try_wait()?
        {
            let what = format!("Kafka at {servers} ended before it was ready");
            return Err(Error::Failed { what, status: status.to_string(), log: child.tail() });
        }
        let asked = client.clone();
        let live = tokio::task::spawn_blocking(move || {
            asked
                .fetch_metadata(None, Duration::from_millis(500))
                .is_ok_and(|metadata| metadata.brokers().iter().any(|broker| broker.id() == i32::from(node)))
        });
        if live.await.unwrap_or(false) {
            return Ok(());
        }
        if Instant::now() >= end {
            let what = format!("Kafka at {servers} answered no metadata request");
            return Err(Error::Timeout {
                what,
                seconds: limit.as_secs(),
                log: child.map(Child::tail).unwrap_or_default(),
            });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
