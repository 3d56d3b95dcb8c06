//! The orchestrator against real PostgreSQL and Kafka, with participants played by the test.

mod happy;
mod support;
