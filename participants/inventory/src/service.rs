//! Inventory as a participant: loads a wave's rows under lock, writes what was decided. The rules are `domain`'s.

use std::collections::{BTreeSet, HashMap};

use skald_kit::outbox;
use skald_participant::{Action, Command, Key, Service};
use sqlx::PgConnection;

use crate::{
    allocation::{Shelf, last_of_each},
    domain::{COMMIT, Demand, RELEASE, RESERVE, Wave},
    events::Events,
    store,
};

const ACTIONS: &[Action] =
    &[Action { name: RESERVE, undo: Some(RELEASE) }, Action { name: COMMIT, undo: None }];

/// The participant `inventory`.
#[derive(Clone, Debug)]
pub(crate) struct Inventory {
    events: Events,
}

impl Inventory {
    /// Tells what changes through `events`.
    pub(crate) fn new(events: Events) -> Self {
        Self { events }
    }
}

impl Service for Inventory {
    const NAME: &'static str = "inventory";
    type Domain = Wave;

    fn actions(&self) -> &'static [Action] {
        ACTIONS
    }

    async fn load(&self, connection: &mut PgConnection, wave: &[&Command]) -> Result<Wave, sqlx::Error> {
        let demands: HashMap<Key, Demand> =
            wave.iter().map(|command| (command.key(), Demand::of(command))).collect();
        let keys: BTreeSet<Key> =
            demands.iter().filter_map(|(own, demand)| demand.reservation(own).cloned()).collect();
        let keys: Vec<Key> = keys.into_iter().collect();
        let reservations = store::reservation::lock(connection, &keys).await?;
        let mut wave = Wave::new(demands, reservations);
        let skus = wave.skus();
        if !skus.is_empty() {
            wave.shelf = Shelf::new(store::stock::lock(connection, &skus).await?);
        }
        Ok(wave)
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        wave: &mut Wave,
    ) -> Result<Vec<outbox::Row>, sqlx::Error> {
        let changes = wave.shelf.changes();
        store::wave::write(connection, &wave.held, &wave.ended, &last_of_each(&changes)).await?;
        metrics::histogram!("inventory_wave_changes_size").record(changes.len() as f64);
        Ok(self.events.rows(&changes))
    }
}
