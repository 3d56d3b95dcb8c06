//! `attention`: the operators' inbox.

use skald_core::plan;
use sqlx::PgConnection;
use uuid::Uuid;

/// Replaces what stands about a saga's parked steps. `now` in ms.
pub async fn replace(
    conn: &mut PgConnection,
    saga: Uuid,
    now: i64,
    entries: &[plan::Attention],
) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from public.attention where saga_id = $1 and kind = 'PARKED'", saga)
        .execute(&mut *conn)
        .await?;
    for entry in entries {
        put(conn, saga, now, "PARKED", entry).await?;
    }
    Ok(())
}

/// Adds one entry; an entry of that kind for that step stays as it was.
pub async fn put(
    conn: &mut PgConnection,
    saga: Uuid,
    now: i64,
    kind: &str,
    entry: &plan::Attention,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into public.attention (saga_id, step, kind, participant, code, message, since)
         values ($1, $2, $3, nullif($4, ''), $5, $6, to_timestamp($7::bigint / 1000.0)) on conflict do nothing",
        saga,
        entry.step,
        kind,
        entry.participant,
        entry.code,
        entry.message,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}
