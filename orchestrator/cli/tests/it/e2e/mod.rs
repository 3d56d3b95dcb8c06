//! The promises, judged with the real binaries as separate processes on real PostgreSQL and real Kafka.
//!
//! - [`world`]: the processes, each test's own, that can be killed, frozen and started again
//! - [`shop`]: clients that repeat what got no answer, and a ledger of what they were promised; [`desk`]: operators who do the same
//! - [`audit`]: the judge: plain SQL over the three databases, nothing of the code under test but the replay of histories
//! - [`troubles`]: what a person is called for; [`pages`] and [`terminal`]: the documents, and a shell that runs what they say
//! - [`final_states`], [`kills`], [`commits`], [`two`], [`numbered`], [`backfill`], [`mixes`], [`night`], [`races`], [`away`], [`gate`], [`grpcurl`], [`hostile`], [`limits`], [`documents`], [`runbooks`]: the tests
//!
//! Commands go over Kafka; `SKALD_E2E_GRPC=payment` (or `inventory`, or both) runs the same tests with theirs over gRPC.

mod audit;
mod away;
mod backfill;
mod commits;
mod desk;
mod documents;
mod final_states;
mod flight;
mod gate;
mod grpcurl;
mod hostile;
mod kills;
mod limits;
mod mixes;
mod night;
mod numbered;
mod pages;
mod races;
mod runbooks;
mod shop;
pub(crate) mod terminal;
mod topics;
mod traces;
mod troubles;
mod two;
mod world;

/// How long anything may take before a test fails. Generous: the machine may be busy with other tests.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(120);
