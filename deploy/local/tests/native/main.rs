//! The native servers, really started, stopped, killed and restarted, with a fact checked after each.

mod cluster;
mod kafka;
mod links;
mod orphans;
mod postgres;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder of this test's own; the server removes it when it is dropped.
fn folder(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("skald-native-{}-{name}-{number}", std::process::id()))
}
