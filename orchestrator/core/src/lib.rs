//! The pure core of the orchestrator: what a saga is, and what follows from what.
//!
//! - [`definition`]: the graph of steps that a saga follows; data, checked when loaded
//! - [`state`], [`input`], [`effects`]: what is stored, what comes in, what goes out
//! - [`machine`]: `advance`, one file per kind of input
//! - [`flight`]: what is in flight and when to wake, as functions of the state
//! - [`invariants`]: what must hold after every transition
//! - [`history`]: the append-only record, and folding it back
//! - [`archive`], [`fields`], [`verify`], [`probe`], [`what_if`]: recorded sagas judged by this binary's rules
//! - [`transfer`]: whether a saga could go on under another definition
//! - [`plan`]: a batch of inputs and the sagas they meet, decided at once
//!
//! No tokio, no I/O, no clock, no randomness: the same input gives the same output for ever.

pub mod archive;
pub mod definition;
pub mod effects;
pub mod fields;
pub mod flight;
pub mod history;
pub mod input;
pub mod invariants;
pub mod machine;
pub mod plan;
#[doc(hidden)]
pub mod planted;
pub mod probe;
pub mod state;
pub mod transfer;
pub mod verify;
pub mod what_if;

pub use definition::Definition;
pub use effects::{CommandRef, Effects, Event};
pub use input::Input;
pub use machine::{Refused, advance, advance_to};
pub use state::State;

/// The number of the rules that decide now; a history row says which decided then. A bug fix in
/// [`advance`] gets a new number, and the branch that was stays for replay.
pub const RULES: u32 = 1;

/// Version of the state's encoding. A binary refuses a state above its own, and a new format is read
/// one release before it is written.
pub const FORMAT: u32 = 1;

/// A UUIDv5 with the saga's id as namespace and the name `step/VERB/epoch`: the same for every repeat
/// and attempt of a command.
pub fn command_id(saga: uuid::Uuid, step: &str, verb: input::Verb, epoch: u32) -> uuid::Uuid {
    uuid::Uuid::new_v5(&saga, format!("{step}/{}/{epoch}", verb.name()).as_bytes())
}
