//! The inventory service: stock and reservations, all-or-nothing per order, never oversold.
//!
//! Actions: `reserve` (undone by `release`) and `commit` (not undone). It expires nothing by itself: the orchestrator's
//! deadlines do. [`run()`] is the whole service; `domain` has the rules, `allocation` the arithmetic, `store` the SQL.

pub mod allocation;
mod api;
mod config;
pub mod domain;
mod events;
pub mod input;
mod service;
pub mod store;

use anyhow::{Context as _, Result};
use skald_kit::{
    config::{Kafka, Secret},
    grpc::MAX_MESSAGE_BYTES,
    kafka::Topic,
    lifecycle::Shutdown,
    migrate::Set,
};
use skald_participant::{Api, Handles, Needs};
use skald_proto::inventory::v1::inventory_service_server::InventoryServiceServer;
use sqlx::migrate::Migrator;
use tonic::service::Routes;

pub use config::Config;

static MIGRATOR: Migrator = sqlx::migrate!("../../migrations/inventory");

/// Brings the database at `url` up to date: kit's tables, the participant's, inventory's. Can be run again, and by several at
/// once.
///
/// # Errors
/// The database cannot be reached, or a newer program has migrated it.
pub async fn migrate(url: &Secret) -> Result<()> {
    skald_participant::migrate(url, &[Set::service(&MIGRATOR)]).await.context("inventory's database")
}

/// The topics that inventory needs: commands, outcomes, dead letters, events.
#[must_use]
pub fn topics(kafka: &Kafka) -> Vec<Topic> {
    [skald_participant::topics_of("inventory", kafka), needs(kafka).topics].concat()
}

fn needs(kafka: &Kafka) -> Needs {
    Needs {
        migrations: vec![Set::service(&MIGRATOR)],
        topics: vec![skald_participant::event_topic(events::TOPIC, kafka)],
    }
}

/// Runs inventory until the stop is asked for: migrates its database, takes commands, serves its API.
///
/// # Errors
/// The database cannot be migrated, a topic is missing, an address is taken, or a task failed.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<()> {
    let events = events::Events::new(config.kafka.topic(events::TOPIC));
    let needs = needs(&config.kafka);
    let build = |handles: Handles| {
        let api = InventoryServiceServer::new(api::Api::new(handles.pool, events.clone(), handles.outbox))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let api = Api { routes: Routes::new(api), services: &["skald.inventory.v1.InventoryService"] };
        Ok((service::Inventory::new(events), api))
    };
    skald_participant::run(config.into(), needs, build, shutdown).await
}
