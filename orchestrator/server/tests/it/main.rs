//! The orchestrator against real PostgreSQL and Kafka, with participants played by the test.

mod audit;
mod course;
mod explain;
mod faults;
mod grpc;
mod happy;
mod operator;
mod outbox;
mod peers;
mod poison;
mod replay;
mod retention;
mod silence;
mod start;
mod support;
