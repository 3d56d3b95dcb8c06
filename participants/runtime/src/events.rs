//! The service's events: into the outbox of the transaction that causes them, together with the removal of those that the
//! broker has.

use skald_kit::outbox::{Columns, Relay, Row};
use sqlx::PgConnection;
use uuid::Uuid;

/// Acknowledged rows that one transaction removes at most: four waves' worth, so that removal keeps up with a burst.
const REMOVED: usize = 2048;

/// Acknowledged rows that the present transaction deletes; given back unless it was committed.
pub(crate) struct Acked<'a> {
    relay: &'a Relay,
    ids: Vec<Uuid>,
}

impl Acked<'_> {
    /// The transaction was committed.
    pub(crate) fn deleted(mut self) {
        self.ids.clear();
    }
}

impl Drop for Acked<'_> {
    fn drop(&mut self) {
        self.relay.give_back(std::mem::take(&mut self.ids));
    }
}

/// Writes `rows` and deletes acknowledged ones with one statement; nothing at all when there is neither.
///
/// # Errors
/// The database's.
pub(crate) async fn write<'r>(
    conn: &mut PgConnection,
    relay: &'r Relay,
    owner: Uuid,
    rows: &[Row],
) -> Result<Acked<'r>, sqlx::Error> {
    let acked = Acked { relay, ids: relay.take_acked(REMOVED) };
    if rows.is_empty() && acked.ids.is_empty() {
        return Ok(acked);
    }
    let columns = Columns::of(rows);
    sqlx::query!(
        "with gone as (delete from skald.outbox where id = any($12))
         insert into skald.outbox (id, owner, topic, key, type, source, subject, sequence, time, traceparent, payload)
         select id, $2, topic, key, type, source, subject, sequence, to_timestamp(ms / 1000.0), traceparent, payload
         from unnest($1::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[],
                     $10::text[], $11::bytea[])
              as row (id, topic, key, type, source, subject, sequence, ms, traceparent, payload)",
        &columns.ids,
        owner,
        &columns.topics as &[&str],
        &columns.keys as &[&str],
        &columns.kinds as &[&str],
        &columns.sources as &[&str],
        &columns.subjects as &[&str],
        &columns.sequences as &[&str],
        &columns.times_ms,
        &columns.traceparents as &[Option<&str>],
        &columns.payloads as &[&[u8]],
        &acked.ids,
    )
    .execute(conn)
    .await?;
    Ok(acked)
}
