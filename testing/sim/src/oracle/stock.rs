//! No oversell: per SKU, available + reserved + committed = stocked, none negative, and what is reserved is what reservations hold.

use std::collections::BTreeMap;

use skald_inventory::{allocation::Counters, store::reservation::State};

use crate::{participant::db::Tables, world::World};

/// Counters that can't be.
pub(super) fn broken(sku: &str, c: &Counters) -> Option<String> {
    let negative = [c.stocked, c.available, c.reserved, c.committed].into_iter().any(|n| n < 0);
    let adds_up = c.available + c.reserved + c.committed == c.stocked;
    (negative || !adds_up).then(|| format!("{sku}: {c:?}"))
}

pub(super) fn judge(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for service in &world.services {
        let Tables::Inventory { stock, reservations } = &service.db.tables else { continue };
        let mut sums: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
        for reservation in reservations.values() {
            for line in &reservation.lines {
                let (held, committed) = sums.entry(&line.sku).or_default();
                match reservation.state {
                    State::Held => *held += line.quantity,
                    State::Committed => *committed += line.quantity,
                    State::LetGo => {}
                }
            }
        }
        for (sku, counters) in stock {
            let sums = sums.get(sku.as_str()).copied().unwrap_or_default();
            if (counters.reserved, counters.committed) != sums {
                found.push(format!("{sku}: {counters:?}, but reservations hold and have {sums:?}"));
            }
            found.extend(broken(sku, counters));
        }
    }
    found
}
