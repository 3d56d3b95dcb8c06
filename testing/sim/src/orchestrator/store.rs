//! The orchestrator's database in memory: rows, and who has them locked.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use skald_core::{
    Definition, Event, history,
    plan::{Attention, Plan, Write},
    state::Status,
};
use skald_server::worker::Known;
use uuid::Uuid;

/// A transaction that idles with locks is ended by the server, ms.
const IDLE_IN_TRANSACTION_MS: i64 = 5_000;

/// A client's idempotency key.
pub(crate) type ClientKey = (u32, u32);

/// What a transaction may hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lock {
    Key(ClientKey),
    Request(String),
    Saga(Uuid),
}

/// A row of `saga`, with its history.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub definition: Arc<Definition>,
    pub version: u32,
    pub status: Status,
    pub format: u32,
    pub state: Vec<u8>,
    pub known: Known,
    pub history: Vec<history::Row>,
    pub events: Vec<(u32, Event)>,
    pub attention: Vec<Attention>,
}

#[derive(Debug, Default)]
pub(crate) struct Store {
    pub sagas: BTreeMap<Uuid, Row>,
    pub submissions: BTreeMap<ClientKey, (Uuid, u64)>,
    /// Actions that were answered, by request id.
    pub actions: BTreeSet<String>,
    /// Participants that an operator froze.
    pub frozen: BTreeSet<String>,
    locks: BTreeMap<Lock, u64>,
    live: BTreeMap<u64, i64>,
    next: u64,
}

impl Store {
    /// BEGIN, and every lock at once; None: somebody else has one of them.
    pub(crate) fn begin(&mut self, wanted: BTreeSet<Lock>, now: i64) -> Option<u64> {
        for lock in &wanted {
            let Some(&holder) = self.locks.get(lock) else { continue };
            if now - self.live.get(&holder).copied().unwrap_or(0) < IDLE_IN_TRANSACTION_MS {
                return None;
            }
            self.end(holder);
        }
        self.next += 1;
        self.live.insert(self.next, now);
        self.locks.extend(wanted.into_iter().map(|lock| (lock, self.next)));
        Some(self.next)
    }

    /// Whether the server still knows it.
    pub(crate) fn is_live(&self, txn: u64) -> bool {
        self.live.contains_key(&txn)
    }

    /// COMMIT or ROLLBACK.
    pub(crate) fn end(&mut self, txn: u64) {
        if self.live.remove(&txn).is_some() {
            self.locks.retain(|_, holder| *holder != txn);
        }
    }
}

/// A decided batch, until its transaction ends.
#[derive(Debug)]
pub(crate) struct Decided {
    pub txn: u64,
    pub now: i64,
    pub plan: Plan<usize>,
    /// When each saga that was written or looked at is looked at next: the column, and the exact time.
    pub next: Vec<NextLook>,
}

#[derive(Debug)]
pub(crate) struct NextLook {
    pub saga: Uuid,
    pub wake_at: Option<i64>,
    pub resends: i16,
    /// The exact time, ms; None when it has ended.
    pub exact: Option<i64>,
}

/// A saga that ended, as far as one can see from a write.
pub(crate) fn has_ended(write: &Write) -> bool {
    write.state.is_final() && !write.state.is_parked()
}
