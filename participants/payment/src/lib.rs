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
pub mod calls;
mod config;
pub mod domain;
pub mod events;
pub mod gateway;
mod input;
mod reconcile;
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
use skald_proto::payment::v1::payment_service_server::PaymentServiceServer;
use sqlx::migrate::Migrator;
use tonic::service::Routes;

pub use config::{Breaker, Config, Gateway};
use gateway::{guarded::Guarded, simulated::Simulated};

static MIGRATOR: Migrator = sqlx::migrate!("../../migrations/payment");

/// Brings the database at `url` up to date: kit's tables, the participant's, payment's, the simulated gateway's. Can be run again,
/// and by several at once.
///
/// # Errors
/// The database cannot be reached, or a newer program has migrated it.
pub async fn migrate(url: &Secret) -> Result<()> {
    skald_participant::migrate(url, &[Set::service(&MIGRATOR)]).await.context("payment's database")
}

/// The topics that payment needs: commands, outcomes, dead letters, events.
#[must_use]
pub fn topics(kafka: &Kafka) -> Vec<Topic> {
    [skald_participant::topics_of("payment", kafka), needs(kafka).topics].concat()
}

fn needs(kafka: &Kafka) -> Needs {
    Needs {
        migrations: vec![Set::service(&MIGRATOR)],
        topics: vec![skald_participant::event_topic(events::TOPIC, kafka)],
    }
}

/// Runs payment until the stop is asked for: migrates its database, takes commands, calls the gateway, serves its API.
///
/// # Errors
/// The database cannot be migrated, a topic is missing, an address is taken, or a task failed.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<()> {
    let events = events::Events::new(config.kafka.topic(events::TOPIC));
    let (participant, needs) = (config.participant(), needs(&config.kafka));
    let build = |handles: Handles| {
        let simulated =
            Simulated::start(config.gateway_url(), config.gateway.key_lifetime(), config.gateway.mood());
        let guarded = Guarded::new(simulated.clone(), config.breaker_settings(), handles.health);
        let payment = service::Payment::new(guarded, events);
        let api = api::Api::new(handles.pool, payment.clone(), handles.by_hand, Some(simulated));
        let api = PaymentServiceServer::new(api)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let api = Api { routes: Routes::new(api), services: &["skald.payment.v1.PaymentService"] };
        Ok((payment, api))
    };
    skald_participant::run(participant, needs, build, shutdown).await
}
