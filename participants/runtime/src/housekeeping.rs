//! The barrier's partitions: made ahead, dropped behind the horizon; and what the barrier can remember because of it.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use skald_kit::{
    ids,
    lifecycle::Shutdown,
    partitions::{self, Table},
    pg,
};
use sqlx::PgConnection;

use crate::{
    decide::Bounds,
    service::Service,
    shared::{Shared, pause},
};

/// Commands for sagas older than this are refused: what was decided about them is no longer remembered.
pub const HORIZON: Duration = Duration::from_secs(45 * 24 * 3600);
/// Partitions are made this far ahead.
const AHEAD: Duration = Duration::from_secs(21 * 24 * 3600);
/// How often, when it worked and when it did not.
const EVERY: Duration = Duration::from_secs(24 * 3600);
const AGAIN: Duration = Duration::from_secs(60);

const BARRIER: Table = Table { schema: "skald", name: "barrier" };

/// Makes the partitions from the horizon to three weeks ahead and drops older ones.
///
/// # Errors
/// The database's.
pub(crate) async fn once(conn: &mut PgConnection) -> Result<Bounds, sqlx::Error> {
    let now = sqlx::query_scalar!(r#"select (extract(epoch from now()) * 1000)::bigint as "ms!""#)
        .fetch_one(&mut *conn)
        .await?;
    let oldest = now - millis(HORIZON);
    let kept = oldest.min(oldest_intent(conn).await?);
    let dropped = partitions::drop_before(conn, BARRIER, kept).await?;
    let made = partitions::ensure(conn, BARRIER, oldest, now + millis(AHEAD), None).await?;
    if !(made.is_empty() && dropped.is_empty()) {
        tracing::info!(?made, ?dropped, "partitions of the barrier");
    }
    bounds(conn).await
}

/// An open intent's barrier row is what it will settle: its partition stays, however old.
async fn oldest_intent(conn: &mut PgConnection) -> Result<i64, sqlx::Error> {
    let saga = sqlx::query_scalar!("select saga_id from skald.intent order by saga_id limit 1");
    let saga = saga.fetch_optional(conn).await?;
    Ok(saga.and_then(ids::timestamp_ms).unwrap_or(i64::MAX))
}

/// What the barrier can remember now.
///
/// # Errors
/// The database's.
pub(crate) async fn bounds(conn: &mut PgConnection) -> Result<Bounds, sqlx::Error> {
    let all = partitions::existing(conn, BARRIER).await?;
    let (oldest, newest) = longest_run(all.into_iter().map(|p| (p.lower, p.upper)));
    Ok(Bounds { oldest: ids::lower_bound(oldest), newest: ids::lower_bound(newest) })
}

/// The longest run of weeks without a gap: a partition that was kept for an open intent stands alone, and what falls between it and
/// the others can't be remembered. Pure; expects them sorted.
fn longest_run(weeks: impl Iterator<Item = (i64, i64)>) -> (i64, i64) {
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for (lower, upper) in weeks {
        match runs.last_mut() {
            Some(run) if run.1 == lower => run.1 = upper,
            _ => runs.push((lower, upper)),
        }
    }
    runs.into_iter().max_by_key(|(lower, upper)| upper - lower).unwrap_or((i64::MAX, 0))
}

/// Once a day until the stop.
pub(crate) async fn run<S: Service>(shared: Arc<Shared<S>>, shutdown: Shutdown) -> Result<()> {
    let mut gap = EVERY;
    while pause(&shutdown, gap).await {
        gap = match pass(&shared).await {
            Ok(()) => EVERY,
            Err(error) => {
                tracing::warn!("partitions of the barrier: {error:#}; trying again");
                AGAIN
            }
        };
    }
    Ok(())
}

async fn pass<S: Service>(shared: &Shared<S>) -> Result<()> {
    let mut conn = pg::connection(&shared.url).await.context("connect")?;
    shared.set_bounds(once(&mut conn).await?);
    Ok(())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::longest_run;

    #[test]
    fn a_partition_that_stands_alone_does_not_count() {
        for (weeks, run) in [
            (vec![], (i64::MAX, 0)),
            (vec![(0, 7)], (0, 7)),
            (vec![(0, 7), (7, 14), (14, 21)], (0, 21)),
            (vec![(0, 7), (70, 77), (77, 84)], (70, 84)),
            (vec![(70, 77), (77, 84), (700, 707)], (70, 84)),
        ] {
            assert_eq!(longest_run(weeks.into_iter()), run);
        }
    }
}
