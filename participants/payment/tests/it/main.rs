//! Payment as a whole, on real PostgreSQL and Kafka, with real processes where one must freeze or die.

mod api;
mod breaker;
mod desk;
mod events;
mod faults;
mod gateway;
mod plans;
mod reconcile;
mod settle;
mod steps;
mod support;
#[path = "../../../runtime/tests/it/trips.rs"]
mod trips;
mod waves;
