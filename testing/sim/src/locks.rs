//! Row locks and unique keys of the transactions that are open in a database. A few are open at a time, each with a few locks.

/// A transaction that idles with locks is ended by the server, ms.
const IDLE_IN_TRANSACTION_MS: i64 = 5_000;

/// Who holds what.
#[derive(Debug)]
pub(crate) struct Locks<L> {
    open: Vec<Open<L>>,
    last: u64,
}

#[derive(Debug)]
struct Open<L> {
    txn: u64,
    since: i64,
    held: Vec<L>,
}

/// A lock is held by another transaction: come back.
#[derive(Debug)]
pub(crate) struct Held;

impl<L> Default for Locks<L> {
    fn default() -> Self {
        Locks { open: Vec::new(), last: 0 }
    }
}

impl<L: PartialEq> Locks<L> {
    /// BEGIN. Whoever idled too long has been ended by now.
    pub(crate) fn begin(&mut self, now: i64) -> u64 {
        self.open.retain(|open| now - open.since < IDLE_IN_TRANSACTION_MS);
        self.last += 1;
        self.open.push(Open { txn: self.last, since: now, held: Vec::new() });
        self.last
    }

    /// Whether the server still knows it.
    pub(crate) fn is_live(&self, txn: u64) -> bool {
        self.open.iter().any(|open| open.txn == txn)
    }

    /// COMMIT or ROLLBACK: its locks are free.
    pub(crate) fn end(&mut self, txn: u64) {
        self.open.retain(|open| open.txn != txn);
    }

    /// Takes all of them, or none while somebody has one. Whoever idles with one too long is ended.
    pub(crate) fn take(&mut self, txn: u64, wanted: Vec<L>, now: i64) -> Result<(), Held> {
        let has = |open: &Open<L>| open.txn != txn && wanted.iter().any(|lock| open.held.contains(lock));
        if self.open.iter().any(|open| now - open.since < IDLE_IN_TRANSACTION_MS && has(open)) {
            return Err(Held);
        }
        self.open.retain(|open| !has(open));
        if let Some(open) = self.open.iter_mut().find(|open| open.txn == txn) {
            open.held.extend(wanted);
        }
        Ok(())
    }

    /// Whether anybody has it.
    pub(crate) fn is_held(&self, lock: &L) -> bool {
        self.open.iter().any(|open| open.held.contains(lock))
    }
}
