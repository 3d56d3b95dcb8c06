//! Folders that live as long as this test process. Nobody runs when a process ends, so the next one sweeps
//! up: a lock file beside each folder tells whether its owner is still there.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// This process's own folder, and the lock that says that it lives.
static OWN: LazyLock<(PathBuf, File)> = LazyLock::new(|| {
    let user = rustix::process::getuid().as_raw();
    let root = std::env::temp_dir().join(format!("skald-tests-{user}"));
    fs::create_dir_all(&root).expect("a folder in the temp folder");
    // One process at a time, so that nobody sweeps a folder between its making and its locking.
    let door = File::create(root.join("door")).expect("a lock file");
    door.lock().expect("a lock");
    sweep(&root);
    let own = root.join(crate::unique("run"));
    let lock = File::create(own.with_extension("lock")).expect("a lock file");
    lock.lock().expect("a lock");
    fs::create_dir(&own).expect("a folder of our own");
    (own, lock)
});

/// A new empty folder in the system's temp folder; a later test process removes it when this one is gone.
/// Other users can enter it: PostgreSQL may run as one.
///
/// # Panics
/// When the temp folder cannot be written.
#[must_use]
pub fn scratch(name: &str) -> PathBuf {
    let folder = OWN.0.join(crate::unique(name));
    fs::create_dir(&folder).expect("a folder of our own");
    folder
}

/// Removes what processes that are gone left behind.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let lock = entry.path();
        if lock.extension().is_none_or(|extension| extension != "lock") {
            continue;
        }
        if File::open(&lock).is_ok_and(|file| file.try_lock().is_ok()) {
            // A server may still be ending in there; what cannot be removed now is removed next time.
            let folder = lock.with_extension("");
            if fs::remove_dir_all(&folder).is_ok() || !folder.exists() {
                let _ = fs::remove_file(&lock);
            }
        }
    }
}
