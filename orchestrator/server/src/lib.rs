//! The orchestrator: executes the plans of the core.
//!
//! The way of an order: [`intake`] validates it and hands a [`job`] to a [`worker`]; the worker decides a batch in one
//! transaction ([`store`]) and hands commands to the [`bus`]; outcomes come back over the bus to the same worker.
//! [`housekeeping`] finds what nobody looks at, [`watch`] wakes those who watch, [`events`] tells the world.
//! [`audit`] exports the history to `orders.audit`. [`operator`] is the desk of whoever is on call; [`frozen`] says where no command goes.

mod audit;
pub mod bus;
pub mod config;
pub mod definitions;
pub mod events;
pub mod frozen;
pub mod housekeeping;
pub mod intake;
pub mod job;
mod operator;
mod run;
pub mod shared;
mod spans;
pub mod store;
pub mod watch;
pub mod worker;

pub use config::Config;
pub use run::{migrate, run};

/// The service's name in instances, health and logs.
pub const SERVICE: &str = "orchestrator";
