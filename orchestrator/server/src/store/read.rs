//! What is shown: reads from the pool, without locks. No decision is taken from them.

use sqlx::PgConnection;
use uuid::Uuid;

/// A saga as it is shown.
#[derive(Debug)]
pub struct Shown {
    /// Its id.
    pub id: Uuid,
    /// What it follows.
    pub definition_id: i32,
    /// Of the state's encoding.
    pub format: i16,
    /// [`skald_core::state::Status`].
    pub status: i16,
    /// Index from 1 into the definition's stages; 0 = none.
    pub stage: i16,
    /// Rises with each change.
    pub version: i32,
    /// When any instance looks at it next, ms.
    pub wake_at: Option<i64>,
    /// Why no further input is taken.
    pub quarantine: Option<String>,
    /// Whose it is.
    pub customer_id: String,
    /// Why it turned round.
    pub reason: Option<String>,
    /// ms
    pub updated_at: i64,
    /// The encoded state.
    pub state: Vec<u8>,
    /// The encoded request.
    pub request: Vec<u8>,
}

/// One saga.
pub async fn get(conn: &mut PgConnection, id: Uuid) -> Result<Option<Shown>, sqlx::Error> {
    sqlx::query_as!(
        Shown,
        r#"select id, definition_id, format, status, stage, version, (extract(epoch from wake_at) * 1000)::bigint as "wake_at",
                  quarantine, customer_id, reason, (extract(epoch from updated_at) * 1000)::bigint as "updated_at!",
                  state, request
             from public.saga where id = $1"#,
        id
    )
    .fetch_optional(conn)
    .await
}

/// These sagas, by id. `ids` must be sorted and not empty.
pub async fn some(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Shown>, sqlx::Error> {
    sqlx::query_as!(
        Shown,
        r#"select id, definition_id, format, status, stage, version, (extract(epoch from wake_at) * 1000)::bigint as "wake_at",
                  quarantine, customer_id, reason, (extract(epoch from updated_at) * 1000)::bigint as "updated_at!",
                  state, request
             from public.saga where id = any($1) and id between $2 and $3 order by id"#,
        ids,
        ids[0],
        ids[ids.len() - 1]
    )
    .fetch_all(conn)
    .await
}

/// How often a saga was looked at into silence since something happened; None: there is none.
pub async fn resends(conn: &mut PgConnection, id: Uuid) -> Result<Option<i16>, sqlx::Error> {
    sqlx::query_scalar!("select resends from public.saga where id = $1", id).fetch_optional(conn).await
}

/// What to list; None = any.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Ids of definitions.
    pub definitions: Option<Vec<i32>>,
    /// Columns `status`.
    pub statuses: Option<Vec<i16>>,
    /// Columns `stage`.
    pub stage: Option<i16>,
    /// Whose.
    pub customer_id: Option<String>,
    /// Ids from here on (inclusive): the time in a UUIDv7.
    pub from: Uuid,
    /// Ids below.
    pub before: Uuid,
}

/// Sagas, newest first. A customer's have a statement of their own: one for both would get the plan of the other.
pub async fn list(conn: &mut PgConnection, f: &Filter, limit: i64) -> Result<Vec<Shown>, sqlx::Error> {
    if let Some(customer_id) = &f.customer_id {
        return list_of(conn, customer_id, f, limit).await;
    }
    sqlx::query_as!(
        Shown,
        r#"select id, definition_id, format, status, stage, version, (extract(epoch from wake_at) * 1000)::bigint as "wake_at",
                  quarantine, customer_id, reason, (extract(epoch from updated_at) * 1000)::bigint as "updated_at!",
                  state, request
             from public.saga
            where id >= $1 and id < $2
              and ($3::smallint[] is null or status = any($3))
              and ($4::int[] is null or definition_id = any($4))
              and ($5::smallint is null or stage = $5)
            order by id desc limit $6"#,
        f.from,
        f.before,
        f.statuses.as_deref(),
        f.definitions.as_deref(),
        f.stage,
        limit
    )
    .fetch_all(conn)
    .await
}

async fn list_of(
    conn: &mut PgConnection,
    customer_id: &str,
    f: &Filter,
    limit: i64,
) -> Result<Vec<Shown>, sqlx::Error> {
    sqlx::query_as!(
        Shown,
        r#"select id, definition_id, format, status, stage, version, (extract(epoch from wake_at) * 1000)::bigint as "wake_at",
                  quarantine, customer_id, reason, (extract(epoch from updated_at) * 1000)::bigint as "updated_at!",
                  state, request
             from public.saga
            where customer_id = $6 and id >= $1 and id < $2
              and ($3::smallint[] is null or status = any($3))
              and ($4::int[] is null or definition_id = any($4))
              and ($5::smallint is null or stage = $5)
            order by id desc limit $7"#,
        f.from,
        f.before,
        f.statuses.as_deref(),
        f.definitions.as_deref(),
        f.stage,
        customer_id,
        limit
    )
    .fetch_all(conn)
    .await
}

/// The versions of some sagas.
pub async fn versions(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<(Uuid, i32)>, sqlx::Error> {
    let rows =
        sqlx::query!("select id, version from public.saga where id = any($1)", ids).fetch_all(conn).await?;
    Ok(rows.into_iter().map(|r| (r.id, r.version)).collect())
}

/// A saga's history after `seq`, oldest first.
pub async fn history(
    conn: &mut PgConnection,
    id: Uuid,
    after: i32,
    limit: i64,
) -> Result<Vec<skald_core::history::Row>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select seq, (extract(epoch from at) * 1000)::bigint as "at!", rules, kind, actor, input, digest
             from public.history where saga_id = $1 and seq > $2 order by seq limit $3"#,
        id,
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    let rows = rows.into_iter().map(|r| skald_core::history::Row {
        seq: r.seq as u32,
        at: r.at,
        rules: r.rules as u32,
        kind: r.kind as u32,
        actor: r.actor,
        input: r.input,
        digest: r.digest,
    });
    Ok(rows.collect())
}
