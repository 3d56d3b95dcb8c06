//! The inventory service: stock and reservations, all-or-nothing per order, never oversold.
//!
//! Actions: `reserve` (undone by `release`) and `commit` (not undone). It expires nothing by itself: the orchestrator's
//! deadlines do. [`run()`] is the whole service; `domain` has the rules, `allocation` the arithmetic, `store` the SQL.

pub mod allocation;
mod api;
mod config;
mod domain;
mod events;
pub mod input;
mod service;
mod startup;
mod store;

use anyhow::{Context as _, Result};
use skald_kit::{
    config::{Kafka, Secret},
    grpc::MAX_MESSAGE_BYTES,
    kafka::Topic,
    lifecycle::Shutdown,
    pg,
};
use skald_participant::Api;
use skald_proto::inventory::v1::inventory_service_server::InventoryServiceServer;
use tonic::service::Routes;

pub use config::Config;

/// Brings the database at `url` up to date: kit's tables, the participant's, inventory's. Can be run again, and by several at
/// once.
///
/// # Errors
/// The database cannot be reached, or a newer program has migrated it.
pub async fn migrate(url: &Secret) -> Result<()> {
    startup::migrations(url).await.context("inventory's database")
}

/// The topics that inventory needs: commands, outcomes, dead letters, events.
#[must_use]
pub fn topics(kafka: &Kafka) -> Vec<Topic> {
    let mut topics = skald_participant::topics_of("inventory", kafka);
    topics.push(startup::topic(kafka));
    topics
}

/// Runs inventory until the stop is asked for: migrates its database, takes commands, serves its API.
///
/// # Errors
/// The database cannot be migrated, a topic is missing, an address is taken, or a task failed.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<()> {
    if !startup::prepare(&config.postgres.url, &config.kafka, &shutdown).await? {
        return Ok(());
    }
    let events = events::Events::new(config.kafka.topic(events::TOPIC));
    let pool = pg::read_pool(&config.postgres).context("inventory's database")?;
    let api = InventoryServiceServer::new(api::Api::new(pool, events.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let api = Api { routes: Routes::new(api), services: &["skald.inventory.v1.InventoryService"] };
    skald_participant::run(service::Inventory::new(events), config.into(), api, shutdown).await
}
