//! What every room of one instance shares.

use std::sync::atomic::AtomicI64;

use skald_kit::{clock::DbClock, health::Health, outbox::Relay};
use uuid::Uuid;

use crate::{
    audit::AtOnce,
    bus::{Budget, DeadLetters, Outcomes, Transports},
    config::Config,
    definitions::Registry,
    frozen::Frozen,
    watch::Watchers,
};

/// One instance's own things.
#[derive(Debug)]
pub struct Shared {
    /// As it was started with.
    pub config: Config,
    /// This instance's id: new with each start.
    pub instance: Uuid,
    /// The definitions that it knows.
    pub registry: Registry,
    /// The database's clock.
    pub clock: DbClock,
    /// What stands how.
    pub health: Health,
    /// Commands go out here.
    pub transports: Transports,
    /// Where outcomes come from; told when they are finished.
    pub outcomes: Outcomes,
    /// What could not be understood goes here.
    pub dead_letters: DeadLetters,
    /// Re-sendings are paid from here.
    pub budget: Budget,
    /// Where no command goes.
    pub frozen: Frozen,
    /// Events go out here.
    pub relay: Relay,
    /// What `orders.audit` must tell at once is named here.
    pub audit: AtOnce,
    /// Who watches which saga.
    pub watchers: Watchers,
    /// Sagas under way, about: counted now and then, kept up to date in between.
    pub active: AtomicI64,
}
