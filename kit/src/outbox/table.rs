//! `skald.outbox`: the statements. Functions take a connection, so callers own the transaction.

use sqlx::PgConnection;
use uuid::Uuid;

use super::Row;
use crate::instance::DEAD_AFTER;

/// Rows as arrays, for `unnest` here or in a larger statement of the caller's.
#[derive(Debug, Default)]
pub struct Columns<'a> {
    /// `id uuid[]`.
    pub ids: Vec<Uuid>,
    /// `topic text[]`.
    pub topics: Vec<&'a str>,
    /// `key text[]`.
    pub keys: Vec<&'a str>,
    /// `type text[]`.
    pub kinds: Vec<&'a str>,
    /// `source text[]`.
    pub sources: Vec<&'a str>,
    /// `subject text[]`.
    pub subjects: Vec<&'a str>,
    /// `sequence text[]`.
    pub sequences: Vec<&'a str>,
    /// Unix milliseconds, `bigint[]`; the column is `to_timestamp(ms / 1000.0)`.
    pub times_ms: Vec<i64>,
    /// `traceparent text[]`, with nulls.
    pub traceparents: Vec<Option<&'a str>>,
    /// `payload bytea[]`.
    pub payloads: Vec<&'a [u8]>,
}

impl<'a> Columns<'a> {
    /// The rows' columns, in the rows' order.
    pub fn of(rows: &'a [Row]) -> Self {
        let mut columns = Self::default();
        for row in rows {
            columns.ids.push(row.id);
            columns.topics.push(&row.topic);
            columns.keys.push(&row.key);
            columns.kinds.push(&row.kind);
            columns.sources.push(&row.source);
            columns.subjects.push(&row.subject);
            columns.sequences.push(&row.sequence);
            columns.times_ms.push(row.time_ms);
            columns.traceparents.push(row.traceparent.as_deref());
            columns.payloads.push(&row.payload);
        }
        columns
    }
}

/// Writes the rows with one statement; `owner` is the instance that will relay them.
///
/// # Errors
/// The database's; [`sqlx::Error::RowNotFound`] never.
pub async fn insert(connection: &mut PgConnection, owner: Uuid, rows: &[Row]) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let columns = Columns::of(rows);
    sqlx::query!(
        "insert into skald.outbox (id, owner, topic, key, type, source, subject, sequence, time, traceparent, payload)
         select id, $2, topic, key, type, source, subject, sequence, to_timestamp(ms / 1000.0), traceparent, payload
         from unnest($1::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[], $10::text[], $11::bytea[])
              as row (id, topic, key, type, source, subject, sequence, ms, traceparent, payload)",
        &columns.ids,
        owner,
        &columns.topics as _,
        &columns.keys as _,
        &columns.kinds as _,
        &columns.sources as _,
        &columns.subjects as _,
        &columns.sequences as _,
        &columns.times_ms,
        &columns.traceparents as _,
        &columns.payloads as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes rows that the broker has acknowledged; rows that are gone already are no error.
pub(super) async fn delete(connection: &mut PgConnection, ids: &[Uuid]) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from skald.outbox where id = any($1)", ids).execute(connection).await?;
    Ok(())
}

/// The owner's rows with an id above `after` whose event is at least `min_age_ms` old.
pub(super) async fn own(
    connection: &mut PgConnection,
    owner: Uuid,
    after: Uuid,
    min_age_ms: i64,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"
        select id, topic, key, type as kind, source, subject, sequence,
               (extract(epoch from time) * 1000)::bigint as "time_ms!", traceparent, payload
        from skald.outbox
        where owner = $1 and id > $2 and time <= clock_timestamp() - make_interval(secs => $3::bigint / 1000.0)
        order by id limit $4
        "#,
        owner,
        after,
        min_age_ms,
        limit,
    )
    .fetch_all(connection)
    .await
}

/// Makes `owner` the owner of rows whose own owner is dead, and returns them. Run it inside a transaction:
/// only one instance at a time does it (an advisory lock until its end); another gets nothing.
pub(super) async fn adopt(
    connection: &mut PgConnection,
    owner: Uuid,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    let mine = sqlx::query_scalar!(
        r#"select pg_try_advisory_xact_lock(hashtextextended('skald.outbox.adopt', 0)) as "mine!""#
    )
    .fetch_one(&mut *connection)
    .await?;
    if !mine {
        return Ok(Vec::new());
    }
    sqlx::query_as!(
        Row,
        r#"
        update skald.outbox set owner = $1
        where id in (
            select id from skald.outbox
            where owner <> $1
              and owner not in (select id from skald.instance
                                 where greatest(beat_at, pg_postmaster_start_time())
                                       >= clock_timestamp() - make_interval(secs => $2))
            order by id limit $3
            for update skip locked
        )
        returning id, topic, key, type as kind, source, subject, sequence,
                  (extract(epoch from time) * 1000)::bigint as "time_ms!", traceparent, payload
        "#,
        owner,
        DEAD_AFTER.as_secs_f64(),
        limit,
    )
    .fetch_all(connection)
    .await
}

/// How many rows the owner has, and the age of the oldest in milliseconds.
pub(super) async fn depth(connection: &mut PgConnection, owner: Uuid) -> Result<(i64, i64), sqlx::Error> {
    let row = sqlx::query!(
        r#"
        select count(*) as "rows!", coalesce((extract(epoch from clock_timestamp() - min(time)) * 1000)::bigint, 0) as "age_ms!"
        from skald.outbox where owner = $1
        "#,
        owner,
    )
    .fetch_one(connection)
    .await?;
    Ok((row.rows, row.age_ms))
}
