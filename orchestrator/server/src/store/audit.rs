//! What of `history` is not yet on `orders.audit`: found by the transactions that wrote it, in pages; and how far the
//! export is. A row's place is (txid, saga, seq); below the horizon no row can appear any more.

use skald_core::history;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Error, Moved};

/// Where a row stands among all: by the transaction that wrote it. Within a saga that need not be the order of `seq`:
/// who waits for a row lock may have the lower number and comes second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The transaction; 0: before the column was there.
    pub txid: i64,
    /// Which saga.
    pub saga: Uuid,
    /// Which row of it.
    pub seq: i32,
}

impl Place {
    /// Behind every row of the transactions below `txid`.
    pub fn behind(txid: i64) -> Place {
        Place { txid: txid - 1, saga: Uuid::max(), seq: i32::MAX }
    }
}

/// Which transactions have ended, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Horizon {
    /// All below have: their rows are seen by every later statement, or never.
    pub ended: i64,
    /// None has this number or a higher one yet.
    pub next: i64,
}

/// A history row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Of which saga.
    pub saga: Uuid,
    /// As stored.
    pub row: history::Row,
}

/// What an entry needs beside its row; it never changes.
#[derive(Debug, Clone)]
pub struct Label {
    /// Which saga.
    pub saga: Uuid,
    /// What it follows.
    pub definition_id: i32,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

/// Makes this transaction the one exporter, until its end; false: there is another.
pub async fn lock(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock(hashtextextended('skald.audit', 0)) as "mine!""#)
        .fetch_one(conn)
        .await
}

/// How far the export is.
pub async fn cursor(conn: &mut PgConnection) -> Result<Place, sqlx::Error> {
    sqlx::query_as!(Place, "select txid, saga_id as saga, seq from public.audit_cursor where one")
        .fetch_one(conn)
        .await
}

/// The export has come from one place to another; somebody who was faster is an error.
pub async fn advance(conn: &mut PgConnection, from: Place, to: Place) -> Result<(), Error> {
    let done = sqlx::query!(
        "update public.audit_cursor set txid = $4, saga_id = $5, seq = $6, changed_at = clock_timestamp()
          where one and (txid, saga_id, seq) = ($1, $2, $3)",
        from.txid,
        from.saga,
        from.seq,
        to.txid,
        to.saga,
        to.seq
    )
    .execute(conn)
    .await?;
    match done.rows_affected() {
        1 => Ok(()),
        n => Err(Moved { table: "audit_cursor", touched: n.cast_signed(), expected: 1 }.into()),
    }
}

/// Which transactions have ended. Those of other databases of this server don't count, as far as they can be told (by a
/// role that may see them): a number is one transaction's alone, and whose it is never changes.
pub async fn horizon(conn: &mut PgConnection) -> Result<Horizon, sqlx::Error> {
    sqlx::query_as!(
        Horizon,
        r#"select coalesce((select min(x) from txid_snapshot_xip(s) x
                             where not exists (select from pg_stat_activity a join pg_database d on d.oid = a.datid
                                                where d.datname <> current_database()
                                                  and a.backend_xid::text::bigint = x & 4294967295)),
                           txid_snapshot_xmax(s)) as "ended!",
                  txid_snapshot_xmax(s) as "next!"
             from txid_current_snapshot() s"#
    )
    .fetch_one(conn)
    .await
}

/// The next rows behind a place that were written by transactions below `below`.
pub async fn after(
    conn: &mut PgConnection,
    after: Place,
    below: i64,
    limit: i64,
) -> Result<Vec<Place>, sqlx::Error> {
    sqlx::query_as!(
        Place,
        "select txid, saga_id as saga, seq from public.history
          where txid >= $1 and txid < $4 and (txid, saga_id, seq) > ($1, $2, $3)
          order by txid, saga_id, seq limit $5",
        after.txid,
        after.saga,
        after.seq,
        below,
        limit
    )
    .fetch_all(conn)
    .await
}

/// The next rows that were there before the column: all have 0, so the primary key leads through them.
pub async fn old(conn: &mut PgConnection, after: Place, limit: i64) -> Result<Vec<Place>, sqlx::Error> {
    sqlx::query_as!(
        Place,
        "select txid, saga_id as saga, seq from public.history
          where txid = 0 and (saga_id, seq) > ($1, $2) order by saga_id, seq limit $3",
        after.saga,
        after.seq,
        limit
    )
    .fetch_all(conn)
    .await
}

/// Rows of these sagas, each up to its number, that lie behind a place; by saga and number. `sagas` must be sorted and
/// not empty.
pub async fn rows(
    conn: &mut PgConnection,
    sagas: &[Uuid],
    up_to: &[i32],
    behind: Place,
) -> Result<Vec<Entry>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select h.saga_id, h.seq, (extract(epoch from h.at) * 1000)::bigint as "at!", h.rules, h.kind, h.actor, h.input,
                  h.digest
             from unnest($1::uuid[], $2::int[]) as n(saga_id, seq)
             join public.history h on h.saga_id = n.saga_id and h.seq <= n.seq
            where h.saga_id between $3 and $4 and (h.txid, h.saga_id, h.seq) > ($5, $6, $7)
            order by h.saga_id, h.seq"#,
        sagas,
        up_to,
        sagas[0],
        sagas[sagas.len() - 1],
        behind.txid,
        behind.saga,
        behind.seq
    )
    .fetch_all(conn)
    .await?;
    let entries = rows.into_iter().map(|r| Entry {
        saga: r.saga_id,
        row: history::Row {
            seq: r.seq as u32,
            at: r.at,
            rules: r.rules as u32,
            kind: r.kind as u32,
            actor: r.actor,
            input: r.input,
            digest: r.digest,
        },
    });
    Ok(entries.collect())
}

/// What entries need beside their rows. `sagas` must be sorted and not empty.
pub async fn labels(conn: &mut PgConnection, sagas: &[Uuid]) -> Result<Vec<Label>, sqlx::Error> {
    sqlx::query_as!(
        Label,
        "select id as saga, definition_id, traceparent from public.saga where id = any($1) and id between $2 and $3",
        sagas,
        sagas[0],
        sagas[sagas.len() - 1]
    )
    .fetch_all(conn)
    .await
}

/// The database was restored on a server that counts transactions from lower on, so their order says nothing: every
/// row counts as old, and the export begins again.
pub async fn begin_again(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("update public.history set txid = 0 where txid <> 0").execute(&mut *conn).await?;
    sqlx::query!("update public.audit_cursor set txid = 0, saga_id = $1, seq = 0 where one", Uuid::nil())
        .execute(conn)
        .await?;
    Ok(())
}
