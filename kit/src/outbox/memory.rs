//! What a relay remembers of its rows: which are under way, which are acknowledged, which failed. No I/O, no
//! clock.

use std::collections::HashSet;
use std::sync::Arc;

use uuid::Uuid;

use super::Row;

/// Rows in memory at most; further ones stay in the table until there is room. Two seconds of work at full
/// speed.
const MAX_ROWS: usize = 20_000;
/// Their bytes at most.
const MAX_BYTES: usize = 32 << 20;

/// The relay's memory.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// In memory and not deleted: a scan of the table leaves them alone.
    known: HashSet<Uuid>,
    /// Handed to the owner to be deleted. A scan leaves them alone for a while, for the owner's transaction
    /// may be under way.
    taken: HashSet<Uuid>,
    taken_before: HashSet<Uuid>,
    bytes: usize,
    acked: Vec<Uuid>,
    failed: Vec<Arc<Row>>,
    /// Rows that were not admitted stand in the table.
    overflowed: bool,
}

impl Memory {
    /// Takes a row into memory; `false`: no room, or it is here already.
    pub(super) fn admit(&mut self, row: &Row) -> bool {
        if self.is_full() {
            self.overflowed = true;
            return false;
        }
        if self.taken.contains(&row.id) || self.taken_before.contains(&row.id) || !self.known.insert(row.id) {
            return false;
        }
        self.bytes += row.size();
        true
    }

    pub(super) fn is_full(&self) -> bool {
        self.known.len() >= MAX_ROWS || self.bytes >= MAX_BYTES
    }

    /// Half empty: worth a scan of the table.
    pub(super) fn has_room(&self) -> bool {
        self.known.len() <= MAX_ROWS / 2 && self.bytes <= MAX_BYTES / 2
    }

    /// The broker has it. `true`: it is the first that waits to be deleted.
    pub(super) fn acked(&mut self, row: &Row) -> bool {
        self.bytes = self.bytes.saturating_sub(row.size());
        self.acked.push(row.id);
        self.acked.len() == 1
    }

    /// It was not delivered. `true`: it is the first that waits for another try.
    pub(super) fn failed(&mut self, row: Arc<Row>) -> bool {
        self.failed.push(row);
        self.failed.len() == 1
    }

    pub(super) fn take_failed(&mut self) -> Vec<Arc<Row>> {
        std::mem::take(&mut self.failed)
    }

    /// Up to `max` acknowledged rows for the owner to delete.
    pub(super) fn take_acked(&mut self, max: usize) -> Vec<Uuid> {
        let ids: Vec<Uuid> = self.acked.drain(..max.min(self.acked.len())).collect();
        for id in &ids {
            self.known.remove(id);
            self.taken.insert(*id);
        }
        ids
    }

    /// The owner's transaction failed: they are still there.
    pub(super) fn give_back(&mut self, ids: Vec<Uuid>) {
        for id in &ids {
            self.taken.remove(id);
            self.taken_before.remove(id);
            self.known.insert(*id);
        }
        self.acked.extend(ids);
    }

    /// A while has passed: what was taken two whiles ago is deleted, or may be sent again.
    pub(super) fn age_taken(&mut self) {
        self.taken_before = std::mem::take(&mut self.taken);
    }

    pub(super) fn has_acked(&self) -> bool {
        !self.acked.is_empty()
    }

    pub(super) fn has_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    /// Asks whether rows were left in the table since the last question.
    pub(super) fn take_overflowed(&mut self) -> bool {
        std::mem::take(&mut self.overflowed)
    }

    pub(super) fn note_overflow(&mut self) {
        self.overflowed = true;
    }

    /// Rows that are here and not acknowledged.
    pub(super) fn under_way(&self) -> usize {
        self.known.len().saturating_sub(self.acked.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::tests::row;

    #[test]
    fn a_row_is_admitted_once_until_it_is_deleted() {
        let mut memory = Memory::default();
        let row = row(10);
        assert!(memory.admit(&row));
        assert!(!memory.admit(&row), "under way");
        assert!(memory.acked(&row));
        assert!(!memory.admit(&row), "acknowledged");
        assert_eq!(memory.take_acked(10), [row.id]);
        assert!(!memory.admit(&row), "the owner's delete may be under way");
        memory.age_taken();
        assert!(!memory.admit(&row));
        memory.age_taken();
        assert!(memory.admit(&row), "it was never deleted: send it again");
    }

    #[test]
    fn what_is_given_back_is_offered_again() {
        let mut memory = Memory::default();
        let row = row(10);
        memory.admit(&row);
        memory.acked(&row);
        let ids = memory.take_acked(10);
        assert!(!memory.has_acked());
        memory.give_back(ids);
        assert_eq!(memory.take_acked(10), [row.id]);
    }

    #[test]
    fn memory_is_bounded_and_the_rest_is_left_in_the_table() {
        let mut memory = Memory::default();
        let admitted = (0..100).filter(|_| memory.admit(&row(1 << 20))).count();
        assert_eq!(admitted, 32);
        assert!(memory.is_full() && !memory.has_room());
        assert!(memory.take_overflowed());
        assert!(!memory.take_overflowed());
    }
}
