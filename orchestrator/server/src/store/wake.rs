//! What any instance scans for: sagas that are due, and sagas of an instance that is gone. Read without locks;
//! the worker's row lock decides.

use sqlx::PgConnection;
use uuid::Uuid;

/// Sagas whose `wake_at` has passed, the most overdue first.
pub async fn due(conn: &mut PgConnection, now: i64, limit: i64) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "select id from public.saga where wake_at is not null and wake_at <= to_timestamp($1::bigint / 1000.0)
          order by wake_at limit $2",
        now,
        limit
    )
    .fetch_all(conn)
    .await
}

/// Active sagas that this instance wrote last, from an id on.
pub async fn owned_by(
    conn: &mut PgConnection,
    owner: Uuid,
    after: Uuid,
    limit: i64,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "select id from public.saga where wake_at is not null and owner = $1 and id > $2 order by id limit $3",
        owner,
        after,
        limit
    )
    .fetch_all(conn)
    .await
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
