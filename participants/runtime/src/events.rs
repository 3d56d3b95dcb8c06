//! The service's events: into the outbox of the transaction that causes them, together with the removal of those that the
//! broker has; published when it was committed.

use skald_kit::outbox::{Columns, Relay, Row};
use sqlx::PgConnection;
use uuid::Uuid;

/// Acknowledged rows that one transaction removes at most: four waves' worth, so that removal keeps up with a burst.
const REMOVED: usize = 2048;

/// This instance's event outbox; clones share it. Waves use it by themselves; a service's own API uses it for what it changes.
#[derive(Clone, Debug)]
pub struct Outbox {
    relay: Relay,
    /// The instance: who relays the rows.
    owner: Uuid,
}

/// Events of a transaction that is not committed yet. Dropped, they were not: nothing is published.
#[derive(Debug)]
#[must_use = "say `committed` after the commit, or the events go out seconds later"]
pub struct Written<'o> {
    relay: &'o Relay,
    rows: Vec<Row>,
    /// What the broker has and the transaction deletes.
    acked: Vec<Uuid>,
}

impl Outbox {
    /// For this instance.
    pub(crate) fn new(relay: Relay, owner: Uuid) -> Self {
        Self { relay, owner }
    }

    /// Writes `rows` and deletes acknowledged ones with one statement; nothing at all when there is neither.
    ///
    /// # Errors
    /// The database's.
    pub async fn write(&self, conn: &mut PgConnection, rows: Vec<Row>) -> Result<Written<'_>, sqlx::Error> {
        let written = Written { relay: &self.relay, rows, acked: self.relay.take_acked(REMOVED) };
        if written.rows.is_empty() && written.acked.is_empty() {
            return Ok(written);
        }
        let columns = Columns::of(&written.rows);
        sqlx::query!(
            "with gone as (delete from skald.outbox where id = any($12))
             insert into skald.outbox (id, owner, topic, key, type, source, subject, sequence, time, traceparent, payload)
             select id, $2, topic, key, type, source, subject, sequence, to_timestamp(ms / 1000.0), traceparent, payload
             from unnest($1::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[],
                         $10::text[], $11::bytea[])
                  as row (id, topic, key, type, source, subject, sequence, ms, traceparent, payload)",
            &columns.ids,
            self.owner,
            &columns.topics as &[&str],
            &columns.keys as &[&str],
            &columns.kinds as &[&str],
            &columns.sources as &[&str],
            &columns.subjects as &[&str],
            &columns.sequences as &[&str],
            &columns.times_ms,
            &columns.traceparents as &[Option<&str>],
            &columns.payloads as &[&[u8]],
            &written.acked,
        )
        .execute(conn)
        .await?;
        Ok(written)
    }
}

impl Written<'_> {
    /// The transaction was committed: the events go out now.
    pub fn committed(mut self) {
        self.acked.clear();
        self.relay.publish(std::mem::take(&mut self.rows));
    }
}

impl Drop for Written<'_> {
    fn drop(&mut self) {
        self.relay.give_back(std::mem::take(&mut self.acked));
    }
}
