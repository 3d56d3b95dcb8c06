//! The reservations added up and compared with the counters, in one statement and so at one moment.

use sqlx::PgConnection;

use crate::allocation::Counters;

/// One SKU whose counters and reservations disagree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Discrepancy {
    pub(crate) sku: String,
    pub(crate) counters: Counters,
    /// By the reservations.
    pub(crate) reserved: i64,
    /// By the reservations.
    pub(crate) committed: i64,
}

/// How many SKUs there are, and those that don't add up (at most `limit` of them, by name). A SKU that
/// only reservations know has all counters 0.
pub(crate) async fn run(
    connection: &mut PgConnection,
    limit: i64,
) -> Result<(i64, Vec<Discrepancy>), sqlx::Error> {
    let rows = sqlx::query!(
        r#"with booked as (
             select u.sku,
                    coalesce(sum(u.quantity) filter (where r.state = 'H'), 0)::bigint as reserved,
                    coalesce(sum(u.quantity) filter (where r.state = 'C'), 0)::bigint as committed
             from public.reservation r cross join lateral unnest(r.skus, r.quantities) as u(sku, quantity)
             where r.state in ('H', 'C') group by u.sku
           ), wrong as (
             select sku, coalesce(s.stocked, 0) as stocked, coalesce(s.available, 0) as available,
                    coalesce(s.reserved, 0) as reserved, coalesce(s.committed, 0) as committed,
                    coalesce(s.version, 0) as version,
                    coalesce(b.reserved, 0) as booked_reserved, coalesce(b.committed, 0) as booked_committed
             from public.stock s full join booked b using (sku)
             where coalesce(s.reserved, 0) <> coalesce(b.reserved, 0)
                or coalesce(s.committed, 0) <> coalesce(b.committed, 0)
             order by sku limit $1
           )
           select n.skus as "skus!", w.sku as "sku?", w.stocked as "stocked?", w.available as "available?",
                  w.reserved as "reserved?", w.committed as "committed?", w.version as "version?",
                  w.booked_reserved as "booked_reserved?", w.booked_committed as "booked_committed?"
           from (select count(*) as skus from public.stock) n left join wrong w on true
           order by w.sku"#,
        limit,
    )
    .fetch_all(connection)
    .await?;
    let skus = rows.first().map_or(0, |row| row.skus);
    let wrong = rows
        .into_iter()
        .filter_map(|row| {
            Some(Discrepancy {
                sku: row.sku?,
                counters: Counters {
                    stocked: row.stocked?,
                    available: row.available?,
                    reserved: row.reserved?,
                    committed: row.committed?,
                    version: row.version?,
                },
                reserved: row.booked_reserved?,
                committed: row.booked_committed?,
            })
        })
        .collect();
    Ok((skus, wrong))
}
