//! Who watches which saga: woken at once by this instance's workers, and by one batched poll a second for what other
//! instances wrote.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use skald_kit::lifecycle::Shutdown;
use sqlx::PgPool;
use tokio::sync::watch;
use uuid::Uuid;

use crate::store::read;

/// Streams that are watched by one instance at most; beyond, RESOURCE_EXHAUSTED.
const MOST: usize = 100_000;
/// Ids of one poll at most.
const POLL: usize = 1_000;
/// How often other instances' writes are looked for.
const EVERY: Duration = Duration::from_secs(1);

/// The sagas that are watched. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Watchers {
    shared: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    by_saga: Mutex<HashMap<Uuid, watch::Sender<u32>>>,
    /// Lets workers pass by when nobody watches.
    count: AtomicUsize,
}

/// One watcher; its place is given back when it is dropped.
#[derive(Debug)]
pub struct Watcher {
    saga: Uuid,
    versions: watch::Receiver<u32>,
    watchers: Watchers,
}

impl Watchers {
    /// Watches a saga; None when too many are watched.
    pub fn watch(&self, saga: Uuid) -> Option<Watcher> {
        let mut by_saga = self.lock();
        if by_saga.len() >= MOST {
            return None;
        }
        let versions = by_saga.entry(saga).or_insert_with(|| watch::channel(0).0).subscribe();
        self.shared.count.store(by_saga.len(), Ordering::Release);
        Some(Watcher { saga, versions, watchers: self.clone() })
    }

    /// A saga has this version now.
    pub fn changed(&self, saga: Uuid, version: u32) {
        if self.shared.count.load(Ordering::Acquire) == 0 {
            return;
        }
        if let Some(sender) = self.lock().get(&saga) {
            sender.send_if_modified(|known| {
                let newer = version > *known;
                *known = version.max(*known);
                newer
            });
        }
    }

    /// Polls the versions of what is watched, until the stop is asked for.
    ///
    /// # Errors
    /// None: a database that is away is asked again.
    pub async fn poll(self, pool: PgPool, shutdown: Shutdown) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = shutdown.requested() => return Ok(()),
            }
            let ids: Vec<Uuid> = self.lock().keys().copied().collect();
            for ids in ids.chunks(POLL) {
                if let Ok(mut conn) = pool.acquire().await
                    && let Ok(versions) = read::versions(&mut conn, ids).await
                {
                    versions.into_iter().for_each(|(saga, version)| self.changed(saga, version as u32));
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, watch::Sender<u32>>> {
        self.shared.by_saga.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher {
    /// Waits for a version that was not told yet.
    pub async fn changed(&mut self) {
        // The sender lives as long as a watcher does.
        let _ = self.versions.changed().await;
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut by_saga = self.watchers.lock();
        if by_saga.get(&self.saga).is_some_and(|sender| sender.receiver_count() <= 1) {
            by_saga.remove(&self.saga);
        }
        self.watchers.shared.count.store(by_saga.len(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watcher_is_woken_by_newer_versions_only_and_leaves_no_trace() {
        let watchers = Watchers::default();
        let saga = Uuid::from_u128(1);
        let mut watcher = watchers.watch(saga).unwrap();
        watchers.changed(saga, 2);
        watcher.changed().await;
        watchers.changed(saga, 2);
        watchers.changed(saga, 1);
        assert!(!watcher.versions.has_changed().unwrap());
        drop(watcher);
        assert!(watchers.lock().is_empty());
    }
}
