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
    let oldest = all.iter().map(|p| p.lower).min().unwrap_or(i64::MAX);
    let newest = all.iter().map(|p| p.upper).max().unwrap_or(0);
    Ok(Bounds { oldest: ids::lower_bound(oldest), newest: ids::lower_bound(newest) })
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
