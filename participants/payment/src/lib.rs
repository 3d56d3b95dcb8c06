//! The payment service: charges and refunds through a gateway, each at most once.
//!
//! Action: `charge` (undone by `refund`). The intent is committed before the gateway is called; whatever happens to this process
//! or to the answer, what became of the call is searched for before it is repeated, and a call whose end can't be learned any
//! more is never repeated but waits for a person. An order that costs nothing succeeds without a gateway, a row or an event.
//!
//! [`run()`] is the whole service; `domain` has the rules, `calls` says what a call means, `store` the SQL, [`gateway`] the port and
//! the simulated gateway behind it, [`breaker`] the circuit breaker between them.

mod api;
pub mod breaker;
mod calls;
mod config;
mod domain;
mod events;
pub mod gateway;
mod input;
mod service;
mod startup;
mod store;

use std::time::Duration;

use anyhow::{Context as _, Result};
use skald_kit::{
    config::{Kafka, Secret},
    grpc::MAX_MESSAGE_BYTES,
    kafka::Topic,
    lifecycle::Shutdown,
    pg,
};
use skald_participant::Api;
use skald_proto::payment::v1::payment_service_server::PaymentServiceServer;
use tonic::service::Routes;

pub use config::{Breaker, Config, Gateway};
use gateway::{guarded::Guarded, simulated::Simulated};

/// How often the breaker is told the time.
const TICK: Duration = Duration::from_millis(500);

/// Brings the database at `url` up to date: kit's tables, the participant's, payment's, the simulated gateway's. Can be run again,
/// and by several at once.
///
/// # Errors
/// The database cannot be reached, or a newer program has migrated it.
pub async fn migrate(url: &Secret) -> Result<()> {
    startup::migrations(url).await.context("payment's database")
}

/// The topics that payment needs: commands, outcomes, dead letters, events.
#[must_use]
pub fn topics(kafka: &Kafka) -> Vec<Topic> {
    let mut topics = skald_participant::topics_of("payment", kafka);
    topics.push(startup::topic(kafka));
    topics
}

/// Runs payment until the stop is asked for: migrates its database, takes commands, calls the gateway, serves its API.
///
/// # Errors
/// The database cannot be migrated, a topic is missing, an address is taken, or a task failed.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<()> {
    if !startup::prepare(&config.postgres.url, &config.kafka, &shutdown).await? {
        return Ok(());
    }
    let simulated =
        Simulated::start(config.gateway_url(), config.gateway.key_lifetime(), config.gateway.mood());
    let guarded = Guarded::new(simulated.clone(), config.breaker_settings(), |_| {});
    let ticks = tokio::spawn(tick(guarded.clone()));
    let pool = pg::read_pool(&config.postgres).context("payment's database")?;
    let api = PaymentServiceServer::new(api::Api::new(pool, Some(simulated)))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let api = Api { routes: Routes::new(api), services: &["skald.payment.v1.PaymentService"] };
    let events = events::Events::new(config.kafka.topic(events::TOPIC));
    let payment = service::Payment::new(guarded, events);
    let ended = skald_participant::run(payment, config.participant(), api, shutdown).await;
    ticks.abort();
    ended
}

async fn tick<G>(guarded: Guarded<G>) {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        ticks.tick().await;
        guarded.tick();
    }
}
