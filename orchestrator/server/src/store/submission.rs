//! `submission`: idempotency keys. Inserted sorted, before any saga row is locked; whoever inserts first has
//! decided which saga the key means.

use sqlx::PgConnection;
use uuid::Uuid;

/// A key that somebody wants to use.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "the columns of the table")]
pub struct Wanted {
    pub client: Vec<String>,
    pub key: Vec<String>,
    pub digest: Vec<Vec<u8>>,
    pub saga_id: Vec<Uuid>,
    pub definition: Vec<String>,
}

/// A key that is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The principal's name.
    pub client: String,
    /// Its key.
    pub key: String,
    /// SHA-256 of the request that it came with.
    pub digest: Vec<u8>,
    /// The saga that it means.
    pub saga_id: Uuid,
}

/// Inserts the keys that are free and whose definition is not frozen, in key order; gives their saga ids. A key that
/// another transaction holds is waited for.
pub async fn claim(conn: &mut PgConnection, w: &Wanted) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"insert into public.submission (client, key, digest, saga_id)
           select n.client, n.key, n.digest, n.saga_id
             from unnest($1::text[], $2::text[], $3::bytea[], $4::uuid[], $5::text[])
                  as n(client, key, digest, saga_id, definition)
            where not exists (select from public.definition_freeze f where f.name = n.definition)
            order by n.client, n.key
           on conflict do nothing
           returning saga_id"#,
        &w.client,
        &w.key,
        &w.digest,
        &w.saga_id,
        &w.definition
    )
    .fetch_all(conn)
    .await
}

/// What stands for these keys.
pub async fn taken(
    conn: &mut PgConnection,
    client: &[String],
    key: &[String],
) -> Result<Vec<Taken>, sqlx::Error> {
    sqlx::query_as!(
        Taken,
        r#"select s.client, s.key, s.digest, s.saga_id
             from unnest($1::text[], $2::text[]) as n(client, key)
             join public.submission s on s.client = n.client and s.key = n.key"#,
        client,
        key
    )
    .fetch_all(conn)
    .await
}

/// Forgets keys that are older than `ms` (Unix milliseconds), a bounded number at a time; gives how many.
pub async fn forget(conn: &mut PgConnection, ms: i64) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "delete from public.submission where (client, key) in
           (select client, key from public.submission where created_at < to_timestamp($1::bigint / 1000.0)
             order by created_at limit 5000)",
        ms
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}
