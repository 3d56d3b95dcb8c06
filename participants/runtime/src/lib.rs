//! What makes a service a participant: barrier, waves, decide (pure), intent, ingress, dead letters.
//!
//! A service implements [`Service`] and [`Domain`] and calls [`run()`].

pub mod barrier;
pub mod command;
pub mod config;
pub mod dead_letter;
pub mod decide;
mod describe;
mod desk;
mod events;
mod execute;
mod housekeeping;
mod ingress;
pub mod intent;
mod outcomes;
pub mod page;
#[doc(hidden)]
pub mod planted;
mod run;
pub mod service;
mod shared;
mod startup;
pub mod status;
mod stream;
mod streams;
pub mod wave;

pub use barrier::Slot;
pub use command::{Command, Failed, Key, Verb};
pub use config::{Calls, Commands, ParticipantConfig};
pub use events::{Outbox, Written};
pub use housekeeping::HORIZON;
pub use intent::{
    Deadline, Intent,
    by_hand::{ByHand, NotSettled, Settled},
};
pub use run::{Api, Handles, run};
pub use service::{
    Action, Breaker, CallResult, Domain, NoCall, Rejection, RunAnswer, Service, Settlement, UndoAnswer,
};
pub use startup::{Needs, event_topic, migrate, topics_of};

use skald_kit::migrate::Set;
use sqlx::migrate::Migrator;

static MIGRATOR: Migrator = sqlx::migrate!("../../migrations/participant");

/// What every participant keeps beside its own tables; applied after [`Set::kit`].
#[must_use]
pub fn migrations() -> Set {
    Set::participant(&MIGRATOR)
}
