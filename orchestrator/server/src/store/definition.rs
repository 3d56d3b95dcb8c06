//! `definition`: append-only, addressed by content hash.

use prost::Message;
use skald_core::Definition;
use sqlx::PgConnection;

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
