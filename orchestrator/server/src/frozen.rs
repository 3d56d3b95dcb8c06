//! Which participants are frozen: no command goes to them, and of their steps no deadline fires. The table says so;
//! every instance reads it each second, so a freeze holds everywhere after that at the latest.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use sqlx::PgConnection;

use crate::{
    shared::Shared,
    store::participant::{self, Freeze},
};

/// What is known of freezes.
#[derive(Debug, Default)]
pub struct Frozen {
    known: Mutex<Known>,
    /// Rises with each thaw.
    thaws: AtomicU64,
}

#[derive(Debug, Default)]
struct Known {
    names: Arc<BTreeSet<String>>,
    freezes: BTreeMap<String, Freeze>,
}

impl Frozen {
    /// Who is frozen.
    pub fn names(&self) -> Arc<BTreeSet<String>> {
        Arc::clone(&self.lock().names)
    }

    /// Since when, by whom and why; None when it is not frozen.
    pub fn of(&self, participant: &str) -> Option<Freeze> {
        self.lock().freezes.get(participant).cloned()
    }

    /// How many thaws were seen: a worker that sees a new one looks at what waited.
    pub fn thaws(&self) -> u64 {
        self.thaws.load(Ordering::Relaxed)
    }

    /// Reads the table; gives who was thawed since the last time.
    ///
    /// # Errors
    /// The database's.
    pub async fn refresh(&self, conn: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
        Ok(self.learn(participant::frozen(conn).await?))
    }

    fn learn(&self, freezes: Vec<Freeze>) -> Vec<String> {
        let freezes: BTreeMap<_, _> = freezes.into_iter().map(|f| (f.participant.clone(), f)).collect();
        let mut known = self.lock();
        let thawed: Vec<String> =
            known.freezes.keys().filter(|name| !freezes.contains_key(*name)).cloned().collect();
        if freezes != known.freezes {
            known.names = Arc::new(freezes.keys().cloned().collect());
            known.freezes = freezes;
        }
        drop(known);
        if !thawed.is_empty() {
            self.thaws.fetch_add(1, Ordering::Relaxed);
        }
        thawed
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Learns of freezes and thaws; who was thawed has work waiting, which goes out in a ramp.
    ///
    /// # Errors
    /// The database's.
    pub async fn refresh_frozen(&self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        let driver = &self.config.driver;
        let until = self.clock.now_ms() + driver.ramp().as_millis() as i64;
        for participant in self.frozen.refresh(conn).await? {
            self.budget.ramp(&participant, driver.ramp_per_second, until);
            tracing::info!(
                participant,
                per_second = driver.ramp_per_second,
                "thawed: what waited goes out in a ramp"
            );
        }
        for participant in self.registry.participants() {
            let frozen = f64::from(u8::from(self.frozen.of(&participant).is_some()));
            metrics::gauge!("skald_participant_frozen", "participant" => participant).set(frozen);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn freeze(participant: &str) -> Freeze {
        let (by, reason) = ("ada".into(), "it burns".into());
        Freeze { participant: participant.into(), at: 1, by, reason }
    }

    #[test]
    fn a_thaw_is_seen_once() {
        let frozen = Frozen::default();
        assert!(frozen.learn(vec![freeze("p"), freeze("q")]).is_empty());
        assert_eq!(frozen.names().iter().collect::<Vec<_>>(), ["p", "q"]);
        assert_eq!(frozen.of("p").unwrap().by, "ada");
        assert_eq!((frozen.learn(vec![freeze("q")]), frozen.thaws()), (vec!["p".to_owned()], 1));
        assert_eq!((frozen.learn(vec![freeze("q")]), frozen.thaws()), (vec![], 1));
        assert!(frozen.of("p").is_none() && frozen.of("q").is_some());
    }
}
