//! What every test stands on: a running orchestrator, participants that the test plays, readers of topics.

mod load;
mod participant;
mod peer;
mod proxy;
mod reader;
mod world;

use std::time::Duration;

pub(crate) use load::Load;
pub(crate) use participant::{Participant, no, yes};
pub(crate) use peer::{Peer, outcome};
pub(crate) use proxy::{Cut, Proxy};
pub(crate) use reader::Reader;
pub(crate) use world::{World, draft, later, unfinished};

/// How long anything may take before a test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// What the orchestrators say, when `SKALD_TEST_LOG` is a filter such as `debug`.
fn log() {
    use skald_kit::{config::Log, telemetry};
    static GUARD: std::sync::OnceLock<Option<telemetry::Guard>> = std::sync::OnceLock::new();
    GUARD.get_or_init(|| {
        let filter = std::env::var("SKALD_TEST_LOG").ok()?;
        Some(telemetry::init(&Log { filter, ..Log::default() }, &Default::default(), "test").unwrap())
    });
}
