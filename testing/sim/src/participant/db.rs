//! A participant's database in memory: what READ COMMITTED, row locks and unique keys make of concurrent transactions.

use std::collections::{BTreeMap, BTreeSet};

use skald_inventory::{
    allocation::{Counters, Shelf},
    domain::{Demand, Wave},
    store::reservation::{Reservation, State as Stage},
};
use skald_participant::{
    Command, Intent, Key, Slot,
    barrier::{Row, Stored, Verdict},
    decide::{Bounds, UNRESOLVED},
};
use skald_payment::{domain::Charges, store::Charge};
use uuid::Uuid;

use super::domain::{Business, Effect, Plain};
use crate::{
    locks::{Held, Locks},
    planted,
};

/// What a transaction may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    Reservation(Key),
    Stock(String),
    Charge(Key),
    Effect(Key),
    /// A barrier row that is being inserted.
    Barrier(Key, Slot),
}

/// A row of `skald.intent`.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub intent: Intent,
    /// When it was stored.
    pub since: i64,
    pub key_at: i64,
    /// `i64::MAX`: it sleeps.
    pub call_after: i64,
    pub owner: Uuid,
    pub answered: Option<String>,
}

/// The service's own tables.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tables {
    Inventory { stock: BTreeMap<String, Counters>, reservations: BTreeMap<Key, Reservation> },
    Payment { charges: BTreeMap<Key, Charge> },
    Plain { effects: BTreeMap<Key, Effect>, rejects: u64 },
}

/// Tables, and who holds what.
#[derive(Debug)]
pub(crate) struct Db {
    pub barrier: BTreeMap<(Key, Slot), Row>,
    pub intents: BTreeMap<(Key, Slot), Open>,
    pub tables: Tables,
    pub bounds: Bounds,
    pub locks: Locks<Lock>,
}

impl Db {
    pub(crate) fn new(tables: Tables, bounds: Bounds) -> Db {
        Db { barrier: BTreeMap::new(), intents: BTreeMap::new(), tables, bounds, locks: Locks::default() }
    }

    /// Locks all, or none while somebody has one.
    fn lock(&mut self, txn: u64, wanted: impl IntoIterator<Item = Lock>, now: i64) -> Result<(), Held> {
        let unlocked = |lock: &Lock| matches!(lock, Lock::Stock(_)) && planted::is("stock_not_locked");
        let wanted = wanted.into_iter().filter(|lock| !unlocked(lock)).collect();
        self.locks.take(txn, wanted, now)
    }

    /// What the barrier says of these keys, as committed.
    pub(crate) fn look_up<'a>(&self, keys: impl Iterator<Item = &'a Command>) -> Stored {
        let mut rows = Vec::new();
        let mut unresolved = Vec::new();
        for command in keys {
            for slot in [Slot::Run, Slot::Undo] {
                let name = (command.key(), slot);
                rows.extend(self.barrier.get(&name).cloned());
                let waits = |open: &&Open| open.answered.as_deref() == Some(UNRESOLVED);
                if self.intents.get(&name).filter(waits).is_some() {
                    unresolved.push(name);
                }
            }
        }
        Stored::new(rows, unresolved)
    }

    /// Locks and reads what a wave needs: rows that are there, in the order that everybody keeps.
    pub(crate) fn load(&mut self, txn: u64, work: &[&Command], now: i64) -> Result<Business, Held> {
        let own: Vec<Key> = work.iter().map(|command| command.key()).collect();
        match &self.tables {
            Tables::Inventory { reservations, .. } => {
                let demands: std::collections::HashMap<Key, Demand> =
                    work.iter().map(|command| (command.key(), Demand::of(command))).collect();
                let wanted: BTreeSet<Key> =
                    demands.iter().filter_map(|(own, demand)| demand.reservation(own).cloned()).collect();
                let there: Vec<Key> =
                    wanted.into_iter().filter(|key| reservations.contains_key(key)).collect();
                self.lock(txn, there.iter().cloned().map(Lock::Reservation), now)?;
                let Tables::Inventory { reservations, stock } = &self.tables else { unreachable!() };
                let rows = there.iter().map(|key| reservations[key].clone()).collect();
                let mut wave = Wave::new(demands, rows);
                let skus: Vec<String> =
                    wave.skus().into_iter().filter(|sku| stock.contains_key(sku)).collect();
                self.lock(txn, skus.iter().cloned().map(Lock::Stock), now)?;
                let Tables::Inventory { stock, .. } = &self.tables else { unreachable!() };
                wave.shelf = Shelf::new(skus.into_iter().map(|sku| (sku.clone(), stock[&sku])));
                Ok(Business::Inventory(wave))
            }
            Tables::Payment { .. } => self.charges(txn, own.into_iter(), now).map(Business::Payment),
            Tables::Plain { effects, .. } => {
                let there: Vec<Key> = own.into_iter().filter(|key| effects.contains_key(key)).collect();
                self.lock(txn, there.iter().cloned().map(Lock::Effect), now)?;
                let Tables::Plain { effects, rejects } = &self.tables else { unreachable!() };
                let effects = there.into_iter().map(|key| (key.clone(), effects[&key])).collect();
                Ok(Business::Plain(Plain { effects, changed: Vec::new(), rejects: *rejects }))
            }
        }
    }

    /// Locks and reads charges.
    pub(crate) fn charges(
        &mut self,
        txn: u64,
        keys: impl Iterator<Item = Key>,
        now: i64,
    ) -> Result<Charges, Held> {
        let Tables::Payment { charges } = &self.tables else { return Ok(Charges::default()) };
        let there: BTreeSet<Key> = keys.filter(|key| charges.contains_key(key)).collect();
        self.lock(txn, there.iter().cloned().map(Lock::Charge), now)?;
        Ok(self.read_charges(there.into_iter()))
    }

    /// Reads charges without a lock.
    pub(crate) fn read_charges(&self, keys: impl Iterator<Item = Key>) -> Charges {
        let Tables::Payment { charges } = &self.tables else { return Charges::default() };
        Charges::new(keys.filter_map(|key| charges.get(&key).cloned()).collect())
    }

    /// Inserts barrier rows as far as other transactions see it: waits for who inserts the same, and tells whether all are new.
    pub(crate) fn insert(&mut self, txn: u64, rows: &[Row], now: i64) -> Result<bool, Held> {
        self.lock(txn, rows.iter().map(|row| Lock::Barrier(row.key.clone(), row.slot)), now)?;
        let twice = rows.windows(2).any(|pair| (&pair[0].key, pair[0].slot) == (&pair[1].key, pair[1].slot));
        Ok(!twice && rows.iter().all(|row| !self.barrier.contains_key(&(row.key.clone(), row.slot))))
    }

    /// What a wave's or a settlement's domain changed becomes visible.
    pub(crate) fn write(&mut self, business: &Business) -> Vec<Written> {
        match (&mut self.tables, business) {
            (Tables::Inventory { stock, reservations }, Business::Inventory(wave)) => {
                for (key, lines) in &wave.held {
                    let row = Reservation {
                        key: key.clone(),
                        state: Stage::Held,
                        lines: lines.clone(),
                        held_at: 0,
                        ended_at: None,
                    };
                    reservations.insert(key.clone(), row);
                }
                for (key, state) in &wave.ended {
                    if let Some(row) = reservations.get_mut(key) {
                        row.state = *state;
                    }
                }
                let changes = wave.shelf.changes();
                for change in &changes {
                    stock.insert(change.sku.clone(), change.after);
                }
                let held = wave.held.iter().map(|(key, _)| Written::Ran(key.clone()));
                let ended = wave.ended.iter().map(|(key, state)| match state {
                    Stage::LetGo => Written::Undone(key.clone()),
                    _ => Written::Committed(key.clone()),
                });
                let counted = changes.iter().map(|change| Written::Stock(change.sku.clone(), change.after));
                held.chain(ended).chain(counted).collect()
            }
            (Tables::Payment { charges }, Business::Payment(wave)) => {
                for charge in wave.new_ones() {
                    charges.insert(charge.key.clone(), charge.clone());
                }
                for (_, charge) in wave.changed() {
                    charges.insert(charge.key.clone(), charge.clone());
                }
                Vec::new()
            }
            (Tables::Plain { effects, .. }, Business::Plain(plain)) => {
                effects.extend(plain.changed.iter().cloned());
                let written = |(key, effect): &(Key, Effect)| match effect {
                    Effect::Ran => Written::Ran(key.clone()),
                    Effect::Undone => Written::Undone(key.clone()),
                };
                plain.changed.iter().map(written).collect()
            }
            _ => unreachable!("a service keeps its business"),
        }
    }

    /// Goods come in, for every SKU that nobody has locked.
    pub(crate) fn restock(&mut self, units: i64) -> Vec<Written> {
        let Tables::Inventory { stock, .. } = &mut self.tables else { return Vec::new() };
        let mut written = Vec::new();
        for (sku, counters) in stock {
            if !self.locks.is_held(&Lock::Stock(sku.clone())) {
                counters.stocked += units;
                counters.available += units;
                counters.version += 1;
                written.push(Written::Stock(sku.clone(), *counters));
            }
        }
        written
    }

    /// Whether an intent's row is still one.
    pub(crate) fn is_intent(&self, key: &Key, slot: Slot) -> bool {
        self.barrier.get(&(key.clone(), slot)).is_some_and(|row| row.verdict == Verdict::Intent)
    }
}

/// An effect that became durable.
#[derive(Clone, Debug)]
pub(crate) enum Written {
    Ran(Key),
    Undone(Key),
    Committed(Key),
    Stock(String, Counters),
}
