//! What arrives, in order, from however many readers; and waiting for more of it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::script::{Arrival, DeadLetter};

/// Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inbox(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    held: Mutex<Held>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Held {
    arrivals: Vec<Arrival>,
    letters: Vec<DeadLetter>,
    trouble: Option<String>,
}

impl Inbox {
    pub(crate) fn arrived(&self, arrival: Arrival) {
        self.change(|held| held.arrivals.push(arrival));
    }

    pub(crate) fn letter(&self, letter: DeadLetter) {
        self.change(|held| held.letters.push(letter));
    }

    /// The transport did not work; the latest is kept.
    pub(crate) fn trouble(&self, what: impl Into<String>) {
        self.change(|held| held.trouble = Some(what.into()));
    }

    fn change(&self, change: impl FnOnce(&mut Held)) {
        change(&mut self.0.held.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.more.notify_one();
    }

    /// Takes everything that came since the last time; one reader only.
    pub(crate) fn take(&self) -> (Vec<Arrival>, Vec<DeadLetter>, Option<String>) {
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Held { arrivals, letters, trouble } = std::mem::take(&mut *held);
        (arrivals, letters, trouble)
    }

    /// Returns when something may have come.
    pub(crate) async fn more(&self) {
        self.0.more.notified().await;
    }
}
