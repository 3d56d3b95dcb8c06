//! The orchestrator against real PostgreSQL and Kafka, with participants played by the test.

mod course;
mod faults;
mod grpc;
mod happy;
mod poison;
mod replay;
mod silence;
mod support;
