//! Table `stock`: the counters of each SKU.

use sqlx::PgConnection;

use crate::allocation::Counters;

/// Locks these SKUs in the order of their names and reads them. Unknown ones are left out.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    skus: &[String],
) -> Result<Vec<(String, Counters)>, sqlx::Error> {
    let rows = sqlx::query!(
        "select sku, stocked, available, reserved, committed, version
         from public.stock where sku = any($1) order by sku for update",
        skus,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let counters = Counters {
                stocked: row.stocked,
                available: row.available,
                reserved: row.reserved,
                committed: row.committed,
                version: row.version,
            };
            (row.sku, counters)
        })
        .collect())
}

/// Makes a SKU with empty counters unless it is there, so that it can be locked.
pub(crate) async fn ensure(connection: &mut PgConnection, sku: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into public.stock (sku, stocked, available, reserved, committed, version)
         values ($1, 0, 0, 0, 0, 0) on conflict do nothing",
        sku,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The counters of one SKU, without a lock.
pub(crate) async fn get(connection: &mut PgConnection, sku: &str) -> Result<Option<Counters>, sqlx::Error> {
    let counters = sqlx::query_as!(
        Counters,
        "select stocked, available, reserved, committed, version from public.stock where sku = $1",
        sku,
    )
    .fetch_optional(connection)
    .await?;
    Ok(counters)
}

/// At most `limit` SKUs after this one, by name.
pub(crate) async fn list(
    connection: &mut PgConnection,
    after: &str,
    limit: i64,
) -> Result<Vec<(String, Counters)>, sqlx::Error> {
    let rows = sqlx::query!(
        "select sku, stocked, available, reserved, committed, version
         from public.stock where sku > $1 order by sku limit $2",
        after,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let counters = Counters {
                stocked: row.stocked,
                available: row.available,
                reserved: row.reserved,
                committed: row.committed,
                version: row.version,
            };
            (row.sku, counters)
        })
        .collect())
}
