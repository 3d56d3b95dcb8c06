//! The orchestrator's database in memory: rows, and who has them locked.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use skald_core::{
    Definition, Event, history,
    plan::{Attention, Plan, Write},
    state::{State, Status},
};
use skald_server::worker::Known;
use uuid::Uuid;

use crate::locks::Locks;

/// A client's idempotency key.
pub(crate) type ClientKey = (u32, u32);

/// What a transaction may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// The same, decoded.
    pub decoded: State,
    /// But for the request, which stands beside it: this is copied for each look.
    pub known: Known,
    pub request: Vec<u8>,
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
    pub locks: Locks<Lock>,
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

impl Store {
    /// BEGIN, and every lock at once; None: somebody else has one of them.
    pub(crate) fn begin(&mut self, wanted: Vec<Lock>, now: i64) -> Option<u64> {
        let txn = self.locks.begin(now);
        if self.locks.take(txn, wanted, now).is_err() {
            self.locks.end(txn);
            return None;
        }
        Some(txn)
    }
}

/// A saga that ended, as far as one can see from a write.
pub(crate) fn has_ended(write: &Write) -> bool {
    write.state.is_final() && !write.state.is_parked()
}
