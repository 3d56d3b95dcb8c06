//! `saga`, `history` and the events that go with them: loading under row locks, and the one statement that
//! writes a whole batch.

use skald_kit::outbox;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Error, Moved};

/// A saga's row as a worker needs it.
#[derive(Debug)]
pub struct Row {
    /// Its id.
    pub id: Uuid,
    /// What it follows.
    pub definition_id: i32,
    /// Of the state's encoding.
    pub format: i16,
    /// When any instance looks at it next, ms; None = terminal.
    pub wake_at: Option<i64>,
    /// Re-sendings into silence since something happened.
    pub resends: i16,
    /// The instance that wrote it last.
    pub owner: Uuid,
    /// When something happened last, ms.
    pub updated_at: i64,
    /// Why no further input is taken.
    pub quarantine: Option<String>,
    /// Whose order it is.
    pub customer_id: String,
    /// The encoded state.
    pub state: Vec<u8>,
    /// The encoded request.
    pub request: Vec<u8>,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

/// Locks and reads sagas in id order. `ids` must be sorted and not empty: the range makes partition pruning work.
pub async fn lock(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Row>, sqlx::Error> {
    let (first, last) = (ids[0], ids[ids.len() - 1]);
    sqlx::query_as!(
        Row,
        r#"select id, definition_id, format, (extract(epoch from wake_at) * 1000)::bigint as "wake_at",
                  resends, owner, (extract(epoch from updated_at) * 1000)::bigint as "updated_at!",
                  quarantine, customer_id, state, request, traceparent
             from public.saga where id = any($1) and id between $2 and $3 order by id for update"#,
        ids,
        first,
        last
    )
    .fetch_all(conn)
    .await
}

/// A batch's writes, one vector per column: what `unnest` takes.
#[derive(Debug, Default)]
pub struct Batch {
    /// New sagas.
    pub inserts: Inserts,
    /// Known sagas, by id.
    pub updates: Updates,
    /// History rows of both.
    pub history: History,
    /// Events of both.
    pub events: Vec<outbox::Row>,
    /// Events that the broker has acknowledged.
    pub published: Vec<Uuid>,
}

/// Columns of new sagas.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "the columns of the table")]
pub struct Inserts {
    pub id: Vec<Uuid>,
    pub definition_id: Vec<i32>,
    pub status: Vec<i16>,
    pub stage: Vec<i16>,
    pub version: Vec<i32>,
    pub wake_at: Vec<Option<i64>>,
    pub customer_id: Vec<String>,
    pub reason: Vec<Option<String>>,
    pub state: Vec<Vec<u8>>,
    pub request: Vec<Vec<u8>>,
    pub traceparent: Vec<Option<String>>,
}

/// Columns of known sagas.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "the columns of the table")]
pub struct Updates {
    pub id: Vec<Uuid>,
    pub was: Vec<i32>,
    pub status: Vec<i16>,
    pub stage: Vec<i16>,
    pub version: Vec<i32>,
    pub wake_at: Vec<Option<i64>>,
    pub reason: Vec<Option<String>>,
    pub state: Vec<Vec<u8>>,
    pub detail: Vec<Option<serde_json::Value>>,
}

/// Columns of history rows.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "the columns of the table")]
pub struct History {
    pub saga_id: Vec<Uuid>,
    pub seq: Vec<i32>,
    pub at: Vec<i64>,
    pub kind: Vec<i16>,
    pub actor: Vec<String>,
    pub input: Vec<Vec<u8>>,
    pub digest: Vec<i64>,
}

impl Batch {
    /// Nothing to write.
    pub fn is_empty(&self) -> bool {
        self.inserts.id.is_empty() && self.updates.id.is_empty()
    }
}

/// Writes a batch in one round trip: saga rows, history rows, events, and the deletion of events that were published.
/// `updates.id` must be sorted. `now` in ms.
pub async fn write(conn: &mut PgConnection, owner: Uuid, now: i64, b: &Batch) -> Result<(), Error> {
    let (i, u, h, e) = (&b.inserts, &b.updates, &b.history, outbox::Columns::of(&b.events));
    let first = u.id.first().copied().unwrap_or(Uuid::nil());
    let last = u.id.last().copied().unwrap_or(Uuid::nil());
    let touched = sqlx::query!(
        r#"with inserted as (
             insert into public.saga (id, definition_id, status, stage, version, format, wake_at, owner, customer_id,
                                      reason, updated_at, state, request, traceparent)
             select n.id, n.definition_id, n.status, n.stage, n.version, $1, to_timestamp(n.wake_at / 1000.0), $2,
                    n.customer_id, n.reason, to_timestamp($3::bigint / 1000.0), n.state, n.request, n.traceparent
               from unnest($4::uuid[], $5::int[], $6::smallint[], $7::smallint[], $8::int[], $9::bigint[], $10::text[],
                           $11::text[], $12::bytea[], $13::bytea[], $14::text[])
                 as n(id, definition_id, status, stage, version, wake_at, customer_id, reason, state, request, traceparent)
             returning 1),
           updated as (
             update public.saga s
                set status = n.status, stage = n.stage, version = n.version, format = $1,
                    wake_at = to_timestamp(n.wake_at / 1000.0), resends = 0, owner = $2, reason = n.reason,
                    updated_at = to_timestamp($3::bigint / 1000.0), state = n.state, detail = n.detail
               from unnest($15::uuid[], $16::int[], $17::smallint[], $18::smallint[], $19::int[], $20::bigint[],
                           $21::text[], $22::bytea[], $23::jsonb[])
                 as n(id, was, status, stage, version, wake_at, reason, state, detail)
              where s.id = n.id and s.version = n.was and s.id between $24 and $25
             returning 1),
           recorded as (
             insert into public.history (saga_id, seq, at, rules, kind, actor, input, digest)
             select n.saga_id, n.seq, to_timestamp(n.at / 1000.0), $26, n.kind, n.actor, n.input, n.digest
               from unnest($27::uuid[], $28::int[], $29::bigint[], $30::smallint[], $31::text[], $32::bytea[], $33::bigint[])
                 as n(saga_id, seq, at, kind, actor, input, digest)
             returning 1),
           told as (
             insert into skald.outbox (id, owner, topic, key, type, source, subject, sequence, time, traceparent, payload)
             select n.id, $2, n.topic, n.key, n.type, n.source, n.subject, n.sequence, to_timestamp(n.time / 1000.0),
                    n.traceparent, n.payload
               from unnest($34::uuid[], $35::text[], $36::text[], $37::text[], $38::text[], $39::text[], $40::text[],
                           $41::bigint[], $42::text[], $43::bytea[])
                 as n(id, topic, key, type, source, subject, sequence, time, traceparent, payload)
             returning 1),
           published as (delete from skald.outbox where id = any($44) returning 1)
           select (select count(*) from inserted) as "inserted!", (select count(*) from updated) as "updated!",
                  (select count(*) from recorded) as "recorded!", (select count(*) from told) as "told!""#,
        skald_core::FORMAT as i16,
        owner,
        now,
        &i.id,
        &i.definition_id,
        &i.status,
        &i.stage,
        &i.version,
        &i.wake_at as &[Option<i64>],
        &i.customer_id,
        &i.reason as &[Option<String>],
        &i.state,
        &i.request,
        &i.traceparent as &[Option<String>],
        &u.id,
        &u.was,
        &u.status,
        &u.stage,
        &u.version,
        &u.wake_at as &[Option<i64>],
        &u.reason as &[Option<String>],
        &u.state,
        &u.detail as &[Option<serde_json::Value>],
        first,
        last,
        skald_core::RULES as i16,
        &h.saga_id,
        &h.seq,
        &h.at,
        &h.kind,
        &h.actor,
        &h.input,
        &h.digest,
        &e.ids,
        &e.topics as _,
        &e.keys as _,
        &e.kinds as _,
        &e.sources as _,
        &e.subjects as _,
        &e.sequences as _,
        &e.times_ms,
        &e.traceparents as _,
        &e.payloads as _,
        &b.published,
    )
    .fetch_one(conn)
    .await?;
    assert_touched("saga (new)", touched.inserted, i.id.len())?;
    assert_touched("saga", touched.updated, u.id.len())?;
    assert_touched("history", touched.recorded, h.saga_id.len())?;
    assert_touched("outbox", touched.told, e.ids.len())
}

fn assert_touched(table: &'static str, touched: i64, expected: usize) -> Result<(), Error> {
    let expected = expected as i64;
    if touched == expected { Ok(()) } else { Err(Moved { table, touched, expected }.into()) }
}

/// A saga that was looked at without an input: only when it is looked at next changes.
#[derive(Debug, Clone, Copy)]
pub struct Touch {
    /// Which.
    pub id: Uuid,
    /// ms
    pub wake_at: i64,
    /// Re-sendings into silence since something happened.
    pub resends: i16,
}

/// Moves `wake_at` on, and makes `owner` the instance that looks. `touches` must be sorted by id and not empty.
pub async fn touch(conn: &mut PgConnection, owner: Uuid, touches: &[Touch]) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = touches.iter().map(|t| t.id).collect();
    let wake_at: Vec<i64> = touches.iter().map(|t| t.wake_at).collect();
    let resends: Vec<i16> = touches.iter().map(|t| t.resends).collect();
    sqlx::query!(
        r#"update public.saga s set wake_at = to_timestamp(n.wake_at / 1000.0), resends = n.resends, owner = $4
             from unnest($1::uuid[], $2::bigint[], $3::smallint[]) as n(id, wake_at, resends)
            where s.id = n.id and s.id between $5 and $6 and s.wake_at is not null"#,
        &ids,
        &wake_at,
        &resends,
        owner,
        ids[0],
        ids[ids.len() - 1]
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Sagas that were just written follow other definitions from here on. `ids` must be sorted and not empty.
pub async fn follow(conn: &mut PgConnection, ids: &[Uuid], definitions: &[i32]) -> Result<(), Error> {
    let done = sqlx::query!(
        "update public.saga s set definition_id = n.definition_id
           from unnest($1::uuid[], $2::int[]) as n(id, definition_id)
          where s.id = n.id and s.id between $3 and $4",
        ids,
        definitions,
        ids[0],
        ids[ids.len() - 1]
    )
    .execute(conn)
    .await?;
    assert_touched("saga (definition)", done.rows_affected() as i64, ids.len())
}

/// Takes no further input of a saga, says why, and calls a person; one that is quarantined already stays as it is.
/// One that is active is looked at again at `next`. Both in ms.
pub async fn quarantine(
    conn: &mut PgConnection,
    id: Uuid,
    why: &str,
    now: i64,
    next: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with aside as (
           update public.saga
              set quarantine = $2, detail = jsonb_build_object('quarantine', $2::text),
                  wake_at = case when wake_at is not null then to_timestamp($4::bigint / 1000.0) end
            where id = $1 and quarantine is null
           returning id),
         -- What takes no answer is not waited for.
         gone as (delete from public.attention where saga_id in (select id from aside) and kind = 'SLOW')
         insert into public.attention (saga_id, step, kind, code, message, since)
         select id, '', 'QUARANTINED', 'QUARANTINED', $2, to_timestamp($3::bigint / 1000.0) from aside
         on conflict do nothing",
        id,
        why,
        now,
        next
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Lets a quarantined saga take inputs again, and takes it off the list; false when it was not quarantined. One that is
/// active is looked at at `now`, ms.
pub async fn release(conn: &mut PgConnection, id: Uuid, now: i64) -> Result<bool, sqlx::Error> {
    let released = sqlx::query_scalar!(
        r#"with free as (
           update public.saga
              set quarantine = null, detail = null, resends = 0,
                  wake_at = case when wake_at is not null then to_timestamp($2::bigint / 1000.0) end
            where id = $1 and quarantine is not null
           returning id),
           seen as (delete from public.attention where saga_id in (select id from free) and kind = 'QUARANTINED')
         select count(*) as "n!" from free"#,
        id,
        now
    )
    .fetch_one(conn)
    .await?;
    Ok(released > 0)
}
