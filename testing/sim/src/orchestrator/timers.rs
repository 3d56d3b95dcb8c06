//! An instance's timers: when it looks at which saga next.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

/// When it looks at which saga next: one time per saga, and whether its commands did not get out.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_saga: BTreeMap<Uuid, (i64, bool)>,
    by_time: BTreeSet<(i64, Uuid)>,
}

impl Timers {
    pub(super) fn set(&mut self, saga: Uuid, at: i64, undelivered: bool) {
        self.clear(saga);
        self.by_saga.insert(saga, (at, undelivered));
        self.by_time.insert((at, saga));
    }

    pub(super) fn clear(&mut self, saga: Uuid) {
        if let Some((at, _)) = self.by_saga.remove(&saga) {
            self.by_time.remove(&(at, saga));
        }
    }

    pub(super) fn due(&mut self, now: i64) -> Option<(Uuid, bool)> {
        let (_, saga) = self.by_time.first().copied().filter(|(at, _)| *at <= now)?;
        let (at, undelivered) = self.by_saga.remove(&saga)?;
        self.by_time.remove(&(at, saga));
        Some((saga, undelivered))
    }
}
