//! Servers and helpers for tests. The shared ones: addresses from the environment, else containers where an
//! engine answers, else native ones; nothing else knows which. Those that a test owns, to kill them, are native.
//!
//! ```no_run
//! # async fn example() {
//! use std::time::Duration;
//!
//! let database = skald_harness::database("orders").await;   // fresh and empty, on the shared server
//! let brokers = skald_harness::kafka();                     // the shared broker
//! let topics = skald_harness::unique("checkout");           // a prefix that no other test has
//!
//! let mut broker = skald_harness::owned_kafka().await;      // this test's own
//! broker.kill().await.expect("killed");
//! broker.restart().await.expect("back again");
//!
//! let answer = skald_harness::eventually("the answer", Duration::from_secs(5), async || Some(42)).await;
//! # }
//! ```
//!
//! Everything panics rather than returns errors: a test has nobody to hand them to.

mod budget;
mod choice;
mod container;
mod process;
mod scratch;
mod servers;
mod wait;

pub use budget::{Budget, budget};
pub use process::{Process, ProcessBuilder, binary, http_status};
pub use scratch::scratch;
pub use servers::{Database, database, kafka, owned_kafka, owned_postgres, postgres_url};
pub use wait::{Answer, eventually};

/// A name that nobody else uses: `prefix`, `_` and twelve random hexadecimal digits. Good for topic
/// prefixes, consumer groups and, when the prefix is plain, databases.
#[must_use]
pub fn unique(prefix: &str) -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{prefix}_{}", &random[..12])
}

/// A port on 127.0.0.1 below 32768 that no other test gets while this process lives.
///
/// # Panics
/// When none is free.
#[must_use]
pub fn free_port() -> u16 {
    skald_local::free_port().expect("a free port")
}
