//! What people change about the stock, once per request id: Restock (goods come in or are taken away) and Adjust (a count in the
//! warehouse differed).

use skald_participant::status::{Fields, not_allowed, of_database, request_taken};
use skald_proto::inventory::v1::{AdjustRequest, AdjustResponse, RestockRequest, RestockResponse, Stock};
use sqlx::PgConnection;
use tonic::Status;

use super::{Api, SKU, stock};
use crate::{
    allocation::{Change, Counters, Kind},
    input::is_sku,
    store::{self, change::Request},
};

/// Far above any shop, and a million of them still fit a counter.
const MAX_DELTA: i64 = 1_000_000_000_000;

/// Carries a request out, or tells what it came to before. A new SKU is made.
pub(super) async fn restock(api: &Api, request: RestockRequest) -> Result<RestockResponse, Status> {
    let RestockRequest { sku, delta, request_id, actor, reason } = request;
    let wanted = Request { adjusts: false, request_id, sku, delta, actor, reason };
    let (stock, applied) = run(api, wanted).await?;
    Ok(RestockResponse { stock: Some(stock), applied })
}

/// Carries a request out, or tells what it came to before. The SKU must be there: a count corrects, it makes nothing.
pub(super) async fn adjust(api: &Api, request: AdjustRequest) -> Result<AdjustResponse, Status> {
    let AdjustRequest { sku, delta, request_id, actor, reason } = request;
    let wanted = Request { adjusts: true, request_id, sku, delta, actor, reason };
    let (stock, applied) = run(api, wanted).await?;
    Ok(AdjustResponse { stock: Some(stock), applied })
}

async fn run(api: &Api, wanted: Request) -> Result<(Stock, bool), Status> {
    check(&wanted)?;
    let mut transaction = api.pool.begin().await.map_err(of_database)?;
    if !store::change::insert(&mut transaction, &wanted).await.map_err(of_database)? {
        return Ok((repeated(&mut transaction, wanted).await?, false));
    }
    let Request { adjusts, sku, delta, .. } = &wanted;
    if *delta > 0 && !adjusts {
        store::stock::ensure(&mut transaction, sku).await.map_err(of_database)?;
    }
    let locked =
        store::stock::lock(&mut transaction, std::slice::from_ref(sku)).await.map_err(of_database)?;
    let before = match locked.into_iter().next() {
        Some((_, counters)) => counters,
        None if *adjusts => return Err(Status::not_found(format!("no SKU {sku:?}; nothing was changed"))),
        None => Counters::default(),
    };
    let kind = if *adjusts { Kind::Adjusted } else { Kind::Restocked };
    let change = Change { sku: sku.clone(), kind, after: apply(sku, before, *delta)? };
    store::wave::write(&mut transaction, &[], &[], &[&change]).await.map_err(of_database)?;
    store::change::answered(&mut transaction, &wanted.request_id, &change.after)
        .await
        .map_err(of_database)?;
    let rows = api.events.rows(std::slice::from_ref(&change));
    let events = api.outbox.write(&mut transaction, rows).await.map_err(of_database)?;
    // A commit of which nobody knows the end is UNAVAILABLE: the same request id finds out.
    transaction.commit().await.map_err(of_database)?;
    events.committed();
    Ok((stock(wanted.sku, &change.after), true))
}

fn check(wanted: &Request) -> Result<(), Status> {
    let mut fields = Fields::default();
    fields.check(is_sku(&wanted.sku), "sku", SKU);
    let delta_ok = wanted.delta != 0 && (-MAX_DELTA..=MAX_DELTA).contains(&wanted.delta);
    fields.check(delta_ok, "delta", "must not be 0, and at most 10^12 either way");
    fields.act(&wanted.request_id, &wanted.actor, &wanted.reason);
    fields.done()
}

/// What the first one was answered.
async fn repeated(connection: &mut PgConnection, wanted: Request) -> Result<Stock, Status> {
    let first = store::change::get(connection, &wanted.request_id).await.map_err(of_database)?;
    match first {
        Some((first, Some(after))) if first == wanted => Ok(stock(wanted.sku, &after)),
        // From before answers were kept.
        Some((first, None)) if first == wanted => {
            let now = store::stock::get(connection, &wanted.sku).await.map_err(of_database)?;
            Ok(stock(wanted.sku, &now.unwrap_or_default()))
        }
        _ => Err(request_taken(&wanted.request_id)),
    }
}

fn apply(sku: &str, before: Counters, delta: i64) -> Result<Counters, Status> {
    let available = before.available.checked_add(delta).filter(|units| *units >= 0);
    let stocked = before.stocked.checked_add(delta);
    let (Some(available), Some(stocked)) = (available, stocked) else {
        let stands = format!("{} available of {} stocked", before.available, before.stocked);
        return Err(not_allowed(sku, &format!("a change by {delta} is not possible"), &stands));
    };
    Ok(Counters { stocked, available, version: before.version + 1, ..before })
}
