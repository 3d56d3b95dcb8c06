//! What goes to participants and what comes from them.
//!
//! - [`transport`]: the port through which commands go, over Kafka or gRPC
//! - [`outcomes`]: what comes back, routed to workers
//! - [`wire`]: between core's types and the contracts
//! - [`budget`]: how much may be re-sent into silence
//! - [`dead_letters`]: what could not be understood, kept whole
//! - [`letters`]: dead letters of everybody, put before the operators

pub mod budget;
pub mod dead_letters;
pub mod letters;
pub mod outcomes;
pub mod topics;
pub mod transport;
pub mod wire;

pub use budget::Budget;
pub use dead_letters::DeadLetters;
pub use outcomes::Outcomes;
pub use transport::{Lost, Outgoing, Transports};
