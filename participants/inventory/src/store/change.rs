//! Table `restock`: each change that a person made to the stock, by the id of the request, with what it was answered.

use sqlx::PgConnection;

use crate::allocation::Counters;

/// One request to change the stock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// A count in the warehouse differed; else goods came or went.
    pub(crate) adjusts: bool,
    pub(crate) request_id: String,
    pub(crate) sku: String,
    pub(crate) delta: i64,
    pub(crate) actor: String,
    pub(crate) reason: String,
}

/// Notes a request; false: its id is there already. Waits for a transaction that has just noted it.
pub(crate) async fn insert(connection: &mut PgConnection, wanted: &Request) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "insert into public.restock (request_id, adjusts, sku, delta, actor, reason)
         values ($1, $2, $3, $4, $5, $6) on conflict do nothing",
        wanted.request_id,
        wanted.adjusts,
        wanted.sku,
        wanted.delta,
        wanted.actor,
        wanted.reason,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Keeps the answer of a request that was just noted.
pub(crate) async fn answered(
    connection: &mut PgConnection,
    request_id: &str,
    after: &Counters,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update public.restock set answer = array[$2, $3, $4, $5, $6]::bigint[] where request_id = $1",
        request_id,
        after.stocked,
        after.available,
        after.reserved,
        after.committed,
        after.version,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The request with this id, and the counters that were its answer.
pub(crate) async fn get(
    connection: &mut PgConnection,
    request_id: &str,
) -> Result<Option<(Request, Option<Counters>)>, sqlx::Error> {
    let found = sqlx::query!(
        "select request_id, adjusts, sku, delta, actor, reason, answer from public.restock where request_id = $1",
        request_id,
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.map(|row| {
        let request = Request {
            adjusts: row.adjusts,
            request_id: row.request_id,
            sku: row.sku,
            delta: row.delta,
            actor: row.actor,
            reason: row.reason,
        };
        let answer = row.answer.and_then(|answer| <[i64; 5]>::try_from(answer).ok());
        let counters = answer.map(|[stocked, available, reserved, committed, version]| Counters {
            stocked,
            available,
            reserved,
            committed,
            version,
        });
        (request, counters)
    }))
}
