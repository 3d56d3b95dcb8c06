//! The database's clock, read without asking it each time: its offset to this machine's monotonic clock is
//! kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use sqlx::PgConnection;

/// The database's time in Unix milliseconds. Clones share it.
///
/// Until the first [`sync`](Self::sync) it follows this machine's wall clock; from then on it never goes
/// back.
#[derive(Debug, Clone)]
pub struct DbClock {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    base: Instant,
    offset_ms: AtomicI64,
    synced: AtomicBool,
    last_ms: AtomicI64,
}

impl Default for DbClock {
    fn default() -> Self {
        Self::new()
    }
}

impl DbClock {
    /// A clock that was not yet compared with the database's.
    pub fn new() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        Self {
            inner: Arc::new(Inner {
                base: Instant::now(),
                offset_ms: AtomicI64::new(i64::try_from(wall).unwrap_or(i64::MAX)),
                synced: AtomicBool::new(false),
                last_ms: AtomicI64::new(i64::MIN),
            }),
        }
    }

    /// Compares with the database's clock; the answer is taken to be from the middle of the round trip.
    ///
    /// # Errors
    /// The database's.
    pub async fn sync(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let asked = self.elapsed_ms();
        let db_ms =
            sqlx::query_scalar!(r#"select (extract(epoch from clock_timestamp()) * 1000)::bigint as "ms!""#)
                .fetch_one(connection)
                .await?;
        let middle = asked + (self.elapsed_ms() - asked) / 2;
        self.set_offset(db_ms - middle);
        Ok(())
    }

    /// It was compared with the database's clock at least once.
    pub fn is_synced(&self) -> bool {
        self.inner.synced.load(Ordering::Acquire)
    }

    /// The database's time now, Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        let now = self.elapsed_ms() + self.inner.offset_ms.load(Ordering::Acquire);
        if !self.is_synced() {
            return now;
        }
        self.inner.last_ms.fetch_max(now, Ordering::AcqRel).max(now)
    }

    fn set_offset(&self, offset_ms: i64) {
        self.inner.offset_ms.store(offset_ms, Ordering::Release);
        self.inner.synced.store(true, Ordering::Release);
    }

    fn elapsed_ms(&self) -> i64 {
        i64::try_from(self.inner.base.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_first_comparison_it_never_goes_back() {
        let clock = DbClock::new();
        let wall = clock.now_ms();
        clock.set_offset(wall - 3_600_000);
        let behind = clock.now_ms();
        assert!(behind < wall - 3_000_000, "before it was synced nothing holds it");
        clock.set_offset(wall - 7_200_000);
        assert!(clock.now_ms() >= behind);
        clock.set_offset(wall);
        assert!(clock.now_ms() >= wall);
    }
}
