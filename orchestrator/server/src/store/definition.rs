//! `definition`: append-only, addressed by content hash; `definition_freeze`: those of which no new saga is taken.

use prost::Message;
use skald_core::Definition;
use sqlx::PgConnection;

/// A definition of which no new saga is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freeze {
    /// Its name: every version.
    pub name: String,
    /// Since, ms.
    pub at: i64,
    /// Who froze it.
    pub by: String,
    /// In that person's words.
    pub reason: String,
}

/// Stores a definition unless it is there; gives its id.
pub async fn register(conn: &mut PgConnection, definition: &Definition) -> Result<i32, sqlx::Error> {
    let hash = definition.hash();
    sqlx::query!(
        "insert into public.definition (name, version, hash, body) values ($1, $2, $3, $4) on conflict do nothing",
        definition.name,
        definition.version as i32,
        &hash,
        definition.encode_to_vec()
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query_scalar!("select id from public.definition where hash = $1", &hash).fetch_one(conn).await
}

/// All definitions that ever were, by id.
pub async fn all(conn: &mut PgConnection) -> Result<Vec<(i32, Definition)>, anyhow::Error> {
    let rows = sqlx::query!("select id, body from public.definition order by id").fetch_all(conn).await?;
    rows.into_iter()
        .map(|row| {
            let definition = Definition::decode(row.body.as_slice())
                .map_err(|e| anyhow::anyhow!("table definition, column body, id {}: {e}", row.id))?;
            Ok((row.id, definition))
        })
        .collect()
}

/// All that are frozen.
pub async fn frozen(conn: &mut PgConnection) -> Result<Vec<Freeze>, sqlx::Error> {
    sqlx::query_as!(
        Freeze,
        r#"select name, (extract(epoch from frozen_at) * 1000)::bigint as "at!", frozen_by as "by", reason
             from public.definition_freeze order by name"#
    )
    .fetch_all(conn)
    .await
}

/// Freezes one, inside a transaction; one that is frozen already stays as it is.
///
/// Whoever has claimed a key is waited for, 2 s at most, and who claims one waits for the commit: so once somebody was
/// refused, nobody who came before is taken after all.
pub async fn freeze(conn: &mut PgConnection, name: &str, by: &str, reason: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("set local lock_timeout = '2s'").execute(&mut *conn).await?;
    sqlx::query!("lock table public.submission in share mode").execute(&mut *conn).await?;
    sqlx::query!(
        "insert into public.definition_freeze (name, frozen_at, frozen_by, reason)
         values ($1, clock_timestamp(), $2, $3) on conflict do nothing",
        name,
        by,
        reason
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Thaws one.
pub async fn thaw(conn: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from public.definition_freeze where name = $1", name).execute(conn).await?;
    Ok(())
}

/// How many sagas under way follow each, by id.
pub async fn running(conn: &mut PgConnection) -> Result<Vec<(i32, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select definition_id, count(*) as "n!" from public.saga where wake_at > '-infinity' group by definition_id"#
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.definition_id, row.n)).collect())
}
