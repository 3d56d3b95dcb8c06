//! The runtime on real PostgreSQL and Kafka, with a toy service and a toy gateway.

mod api;
mod calls;
mod desk;
mod faults;
mod house;
mod kafka;
mod plans;
mod races;
mod start;
mod stop;
mod streams;
mod toy;
mod trips;
