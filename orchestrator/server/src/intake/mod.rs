//! What clients ask over gRPC. Validates, mints ids, hands jobs to workers and waits for them; shows what stands.
//!
//! - [`order`]: the typed façade for orders
//! - [`saga`]: the generic service
//! - [`desk`]: what both go through
//! - [`history`]: its inputs, field by field
//! - [`validate`]: every bad field at once
//! - [`view`]: stored states as messages

pub mod desk;
pub mod errors;
mod history;
pub mod order;
pub mod saga;
pub mod validate;
pub mod view;

pub use desk::Desk;
