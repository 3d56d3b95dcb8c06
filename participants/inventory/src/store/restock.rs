//! Table `restock`: each change that a person made to the stock, by the id of the request.

use sqlx::PgConnection;

/// One request to change the stock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Restock {
    pub(crate) request_id: String,
    pub(crate) sku: String,
    pub(crate) delta: i64,
    pub(crate) actor: String,
    pub(crate) reason: String,
}

/// Notes a request; false: its id is there already. Waits for a transaction that has just noted it.
pub(crate) async fn insert(connection: &mut PgConnection, wanted: &Restock) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "insert into public.restock (request_id, sku, delta, actor, reason)
         values ($1, $2, $3, $4, $5) on conflict do nothing",
        wanted.request_id,
        wanted.sku,
        wanted.delta,
        wanted.actor,
        wanted.reason,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The request with this id.
pub(crate) async fn get(
    connection: &mut PgConnection,
    request_id: &str,
) -> Result<Option<Restock>, sqlx::Error> {
    let found = sqlx::query_as!(
        Restock,
        "select request_id, sku, delta, actor, reason from public.restock where request_id = $1",
        request_id,
    )
    .fetch_optional(connection)
    .await?;
    Ok(found)
}
