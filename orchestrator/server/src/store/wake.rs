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

/// Active sagas of one status.
#[derive(Debug)]
pub struct Active {
    /// [`skald_core::state::Status`].
    pub status: i16,
    /// How many.
    pub n: i64,
    /// Those among them that were to be looked at before the given time, and are not quarantined.
    pub overdue: i64,
    /// The oldest one's id, in which its time is.
    pub oldest: Option<Uuid>,
}

/// Active sagas, by status; overdue are those that nobody has looked at since `before`, ms.
pub async fn active(conn: &mut PgConnection, before: i64) -> Result<Vec<Active>, sqlx::Error> {
    sqlx::query_as!(
        Active,
        r#"select status, count(*) as "n!",
                  count(*) filter (where wake_at < to_timestamp($1::bigint / 1000.0) and quarantine is null) as "overdue!",
                  min(id::text)::uuid as oldest
             from public.saga where wake_at is not null group by status"#,
        before
    )
    .fetch_all(conn)
    .await
}
