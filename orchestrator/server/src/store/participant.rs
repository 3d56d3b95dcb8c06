//! `participant`: who is frozen, since when, by whom and why.

use sqlx::PgConnection;

/// A participant that is frozen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freeze {
    /// Its name.
    pub participant: String,
    /// Since, ms.
    pub at: i64,
    /// Who froze it.
    pub by: String,
    /// In that person's words.
    pub reason: String,
}

/// Everybody who is frozen.
pub async fn frozen(conn: &mut PgConnection) -> Result<Vec<Freeze>, sqlx::Error> {
    sqlx::query_as!(
        Freeze,
        r#"select name as participant, (extract(epoch from frozen_at) * 1000)::bigint as "at!",
                  coalesce(frozen_by, '') as "by!", coalesce(reason, '') as "reason!"
             from public.participant where frozen_at is not null"#
    )
    .fetch_all(conn)
    .await
}

/// Freezes one; who is frozen already stays as it is.
pub async fn freeze(
    conn: &mut PgConnection,
    participant: &str,
    by: &str,
    reason: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into public.participant (name, frozen_at, frozen_by, reason) values ($1, clock_timestamp(), $2, $3)
         on conflict (name) do update set frozen_at = excluded.frozen_at, frozen_by = $2, reason = $3
          where participant.frozen_at is null",
        participant,
        by,
        reason
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Thaws one; false: it was not frozen.
pub async fn thaw(conn: &mut PgConnection, participant: &str) -> Result<bool, sqlx::Error> {
    let thawed = sqlx::query!(
        "update public.participant set frozen_at = null, frozen_by = null, reason = null
          where name = $1 and frozen_at is not null",
        participant
    )
    .execute(conn)
    .await?;
    Ok(thawed.rows_affected() > 0)
}
