//! The runtime on real PostgreSQL and Kafka, with a toy service and a toy gateway.

mod calls;
mod house;
mod kafka;
mod races;
mod toy;
