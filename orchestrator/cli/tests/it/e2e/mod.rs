//! The promises, judged with the real binaries as separate processes on real PostgreSQL and real Kafka.
//!
//! - [`world`]: the processes, each test's own, that can be killed, frozen and started again
//! - [`shop`]: clients that repeat what got no answer, and a ledger of what they were promised
//! - [`audit`]: the judge: plain SQL over the three databases, nothing of the code under test but the replay of histories
//! - [`final_states`], [`kills`], [`commits`], [`two`], [`numbered`], [`mixes`]: the tests
//!
//! Commands go over Kafka; `SKALD_E2E_GRPC=payment` (or `inventory`, or both) runs the same tests with theirs over gRPC.

mod audit;
mod commits;
mod final_states;
mod flight;
mod kills;
mod mixes;
mod night;
mod numbered;
mod shop;
mod topics;
mod traces;
mod two;
mod world;

/// How long anything may take before a test fails. Generous: the machine may be busy with other tests.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(120);
