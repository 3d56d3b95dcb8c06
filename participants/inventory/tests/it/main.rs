//! Inventory as a whole, on real PostgreSQL and Kafka.

mod api;
mod concurrency;
mod desk;
mod events;
mod plans;
mod steps;
mod support;
#[path = "../../../runtime/tests/it/trips.rs"]
mod trips;
mod waves;
