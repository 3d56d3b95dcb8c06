//! Who gets what: one wave's reservations, releases and commits against the counters that were read
//! under lock, in arrival order. Pure: no SQL, no clock. The caller locks before and writes after.

use std::collections::BTreeMap;

/// How many units of one SKU; always positive when it comes out of [`input::lines`](crate::input::lines).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The article.
    pub sku: String,
    /// Units of it.
    pub quantity: i64,
}

/// The counters of one SKU. `available + reserved + committed = stocked`, none negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Units that ever came in, less those that were taken away again.
    pub stocked: i64,
    /// Units that can still be reserved.
    pub available: i64,
    /// Units held for orders that are on their way.
    pub reserved: i64,
    /// Units of completed orders.
    pub committed: i64,
    /// Rises with each change.
    pub version: i64,
}

/// A line that could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The article.
    pub sku: String,
    /// Units that were asked for.
    pub requested: i64,
    /// Units that there were; 0 for a SKU that nobody knows.
    pub available: i64,
}

/// What changed a SKU's counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Held units became available again.
    Released,
    /// Held units were handed over for good.
    Committed,
    /// Available units were set aside.
    Reserved,
    /// Units came in or were taken away by a person.
    Restocked,
    /// A person counted, and the counters were wrong.
    Adjusted,
}

/// One SKU's counters after all changes of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The article.
    pub sku: String,
    /// What happened.
    pub kind: Kind,
    /// The counters after it.
    pub after: Counters,
}

/// The counters hold less than a reservation says that it holds: the database was edited by hand or
/// there is a bug. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("table stock, sku {sku}: {reserved} reserved, but a held reservation has {wanted}")]
pub struct Inconsistent {
    /// The article.
    pub sku: String,
    /// What the counters say.
    pub reserved: i64,
    /// What the reservation says.
    pub wanted: i64,
}

#[derive(Clone, Debug)]
struct Entry {
    before: Counters,
    available: i64,
    /// Not yet released or committed, of what was reserved before this wave.
    held: i64,
    released: i64,
    committed: i64,
    reserved: i64,
}

/// The locked SKUs of one wave.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    entries: BTreeMap<String, Entry>,
}

impl Shelf {
    /// Starts from rows that the caller holds the locks of.
    pub fn new(rows: impl IntoIterator<Item = (String, Counters)>) -> Self {
        let entry = |before: Counters| Entry {
            before,
            available: before.available,
            held: before.reserved,
            released: 0,
            committed: 0,
            reserved: 0,
        };
        Self { entries: rows.into_iter().map(|(sku, before)| (sku, entry(before))).collect() }
    }

    /// Sets every line aside, or none.
    ///
    /// # Errors
    /// Each line that could not be had, with what there was when this order's turn came.
    pub fn reserve(&mut self, lines: &[Line]) -> Result<(), Vec<Shortage>> {
        let missing: Vec<Shortage> = lines
            .iter()
            .filter_map(|line| {
                let available = self.entries.get(&line.sku).map_or(0, |entry| entry.available);
                (available < line.quantity).then(|| Shortage {
                    sku: line.sku.clone(),
                    requested: line.quantity,
                    available,
                })
            })
            .collect();
        if !missing.is_empty() {
            return Err(missing);
        }
        for line in lines {
            if let Some(entry) = self.entries.get_mut(&line.sku) {
                entry.available -= line.quantity;
                entry.reserved += line.quantity;
            }
        }
        Ok(())
    }

    /// Makes what a reservation held available again; those who come later in the wave can have it.
    ///
    /// # Errors
    /// When the counters hold less than the reservation.
    pub fn release(&mut self, lines: &[Line]) -> Result<(), Inconsistent> {
        self.take_held(lines)?;
        for line in lines {
            if let Some(entry) = self.entries.get_mut(&line.sku) {
                entry.available += line.quantity;
                entry.released += line.quantity;
            }
        }
        Ok(())
    }

    /// Hands over for good what a reservation held.
    ///
    /// # Errors
    /// When the counters hold less than the reservation.
    pub fn commit(&mut self, lines: &[Line]) -> Result<(), Inconsistent> {
        self.take_held(lines)?;
        for line in lines {
            if let Some(entry) = self.entries.get_mut(&line.sku) {
                entry.committed += line.quantity;
            }
        }
        Ok(())
    }

    fn take_held(&mut self, lines: &[Line]) -> Result<(), Inconsistent> {
        for line in lines {
            let reserved = self.entries.get(&line.sku).map_or(0, |entry| entry.held);
            if reserved < line.quantity {
                return Err(Inconsistent { sku: line.sku.clone(), reserved, wanted: line.quantity });
            }
        }
        for line in lines {
            if let Some(entry) = self.entries.get_mut(&line.sku) {
                entry.held -= line.quantity;
            }
        }
        Ok(())
    }

    /// What happened, one entry per SKU and kind, SKUs sorted, versions rising. Of one SKU the releases
    /// come first and the reservations last: so the counters of each entry add up and none is negative,
    /// and the last one is what the row says afterwards.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        for (sku, entry) in &self.entries {
            let mut after = entry.before;
            let mut push = |kind, units: i64, apply: fn(&mut Counters, i64)| {
                if units != 0 {
                    apply(&mut after, units);
                    after.version += 1;
                    changes.push(Change { sku: sku.clone(), kind, after });
                }
            };
            push(Kind::Released, entry.released, |counters, units| {
                counters.reserved -= units;
                counters.available += units;
            });
            push(Kind::Committed, entry.committed, |counters, units| {
                counters.reserved -= units;
                counters.committed += units;
            });
            push(Kind::Reserved, entry.reserved, |counters, units| {
                counters.available -= units;
                counters.reserved += units;
            });
        }
        changes
    }
}

/// The last state of each SKU among `changes`, which must be grouped by SKU as [`Shelf::changes`] does:
/// what to write.
#[must_use]
pub fn last_of_each(changes: &[Change]) -> Vec<&Change> {
    let last = |pair: &&[Change]| pair[0].sku != pair[1].sku;
    changes.windows(2).filter(last).map(|pair| &pair[0]).chain(changes.last()).collect()
}

#[cfg(test)]
mod tests;
