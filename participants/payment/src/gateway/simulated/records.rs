//! The simulated gateway's archive: its movements by time, over a connection of its own.

use skald_kit::{
    config::{Postgres, Secret},
    pg,
};
use sqlx::PgPool;

use super::super::{Fault, Kind, Record};

/// Reads the books.
#[derive(Clone, Debug)]
pub(super) struct Archive {
    /// `None`: there is no such address.
    books: Option<PgPool>,
}

impl Archive {
    /// Connects when it is first asked.
    pub(super) fn new(url: &Secret) -> Self {
        let one = Postgres { url: url.clone(), max_read_connections: 1 };
        Self { books: pg::read_pool(&one).ok() }
    }

    /// See the port.
    pub(super) async fn records(
        &self,
        (at, reference): (i64, &str),
        until: i64,
        limit: i64,
    ) -> Result<Vec<Record>, Fault> {
        let books = self.books.as_ref().ok_or(Fault::Unavailable)?;
        let rows = sqlx::query!(
            r#"select (extract(epoch from at) * 1000000)::bigint as "at!", reference, kind, our_ref, amount_minor,
                      currency as "currency!"
               from gateway.movement
               where (at, reference) > (timestamptz 'epoch' + $1 * interval '1 microsecond', $2)
                 and at < timestamptz 'epoch' + $3 * interval '1 microsecond'
               order by movement.at, reference limit $4"#,
            at as f64,
            reference,
            until as f64,
            limit,
        )
        .fetch_all(books)
        .await
        .map_err(|error| {
            tracing::warn!(%error, "gateway archive");
            Fault::Unavailable
        })?;
        let records = rows.into_iter().map(|row| Record {
            at: row.at,
            reference: row.reference,
            kind: if row.kind == "charge" { Kind::Charge } else { Kind::Refund },
            our_ref: row.our_ref,
            amount_minor: row.amount_minor,
            currency: row.currency,
        });
        Ok(records.collect())
    }
}
