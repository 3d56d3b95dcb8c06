//! Deterministic simulation: several orchestrators and participants under every fault, one seed per run.
//!
//! What decides is the real code: `core::machine` and `core::plan`, the driver's looks, schedules and re-send budget, kit's watermark,
//! the participant runtime's waves, `decide`, `resolve`, inventory's and payment's domains and payment's `calls`. What only executes is
//! simulated: databases with transactions and row locks ([`participant`], [`orchestrator`]), a broker ([`bus`]), a [`gateway`], clients
//! and operators. One seeded scheduler ([`world`]) owns time, order and faults; the judge ([`oracle`]) stands outside.

mod bus;
mod clients;
mod definitions;
pub mod faults;
mod gateway;
mod locks;
mod operators;
pub mod oracle;
mod orchestrator;
mod participant;
pub mod planted;
mod queue;
pub mod required;
mod rng;
pub mod shrink;
mod storm;
mod tally;
mod world;

pub use oracle::Violation;
pub use tally::Tally;
pub use world::{Options, Report, run};
