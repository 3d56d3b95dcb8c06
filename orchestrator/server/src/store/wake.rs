//! What any instance scans for: sagas that are due, and sagas of an instance that is gone. Read without locks;
//! the worker's row lock decides.

use futures::stream::BoxStream;
use sqlx::PgConnection;
use uuid::Uuid;

/// Sagas whose `wake_at` has passed, with who wrote them last, the most overdue first; not those of `others`, who look
/// after their own.
pub async fn due(
    conn: &mut PgConnection,
    now: i64,
    others: &[Uuid],
    limit: i64,
) -> Result<Vec<(Uuid, Uuid)>, sqlx::Error> {
    let rows = sqlx::query!(
        "select id, owner from public.saga
          where wake_at is not null and wake_at <= to_timestamp($1::bigint / 1000.0) and owner <> all($2)
          order by wake_at limit $3",
        now,
        others,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.owner)).collect())
}

/// Active sagas that this instance wrote last, as they are found. What is quarantined waits for an operator, not for
/// an instance.
pub fn owned_by(conn: &mut PgConnection, owner: Uuid) -> BoxStream<'_, Result<Uuid, sqlx::Error>> {
    // The range over all times makes it an index scan of what is active.
    sqlx::query_scalar!(
        "select id from public.saga where wake_at > '-infinity' and owner = $1 and quarantine is null",
        owner
    )
    .fetch(conn)
}

/// Active sagas, by status.
pub async fn active(conn: &mut PgConnection) -> Result<Vec<(i16, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select status, count(*) as "n!" from public.saga where wake_at is not null group by status"#
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|r| (r.status, r.n)).collect())
}
