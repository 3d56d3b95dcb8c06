//! Restock: goods come in or are taken away, once per request id.

use skald_proto::inventory::v1::{RestockRequest, RestockResponse};
use sqlx::PgConnection;
use tonic::Status;

use super::{
    Api, SKU,
    status::{Fields, of_database},
    stock,
};
use crate::{
    allocation::{Change, Counters, Kind},
    input::is_sku,
    store::{self, restock::Restock},
};

/// Far above any shop, and a million of them still fit a counter.
const MAX_DELTA: i64 = 1_000_000_000_000;

/// Carries a request out, or tells that it was carried out before.
pub(super) async fn run(api: &Api, request: RestockRequest) -> Result<RestockResponse, Status> {
    let wanted = check(request)?;
    let mut transaction = api.pool.begin().await.map_err(of_database)?;
    if !store::restock::insert(&mut transaction, &wanted).await.map_err(of_database)? {
        return repeated(&mut transaction, wanted).await;
    }
    let sku = &wanted.sku;
    if wanted.delta > 0 {
        store::stock::ensure(&mut transaction, sku).await.map_err(of_database)?;
    }
    let locked =
        store::stock::lock(&mut transaction, std::slice::from_ref(sku)).await.map_err(of_database)?;
    let before = locked.into_iter().next().map(|(_, counters)| counters).unwrap_or_default();
    let change = Change { sku: sku.clone(), kind: Kind::Restocked, after: apply(sku, before, wanted.delta)? };
    store::wave::write(&mut transaction, &[], &[], &[&change]).await.map_err(of_database)?;
    let rows = api.events.rows(std::slice::from_ref(&change));
    let events = api.outbox.write(&mut transaction, rows).await.map_err(of_database)?;
    // A commit of which nobody knows the end is UNAVAILABLE: the same request id finds out.
    transaction.commit().await.map_err(of_database)?;
    events.committed();
    Ok(RestockResponse { stock: Some(stock(wanted.sku, &change.after)), applied: true })
}

fn check(request: RestockRequest) -> Result<Restock, Status> {
    let RestockRequest { sku, delta, request_id, actor, reason } = request;
    let mut fields = Fields::default();
    fields.check(is_sku(&sku), "sku", SKU);
    let delta_ok = delta != 0 && (-MAX_DELTA..=MAX_DELTA).contains(&delta);
    fields.check(delta_ok, "delta", "must not be 0, and at most 10^12 either way");
    fields.text(&request_id, "request_id", 128);
    fields.text(&actor, "actor", 128);
    fields.text(&reason, "reason", 512);
    fields.done()?;
    Ok(Restock { request_id, sku, delta, actor, reason })
}

async fn repeated(connection: &mut PgConnection, wanted: Restock) -> Result<RestockResponse, Status> {
    let first = store::restock::get(connection, &wanted.request_id).await.map_err(of_database)?;
    if first.as_ref() != Some(&wanted) {
        return Err(Status::already_exists(format!(
            "request_id {:?} was used for another restock",
            wanted.request_id
        )));
    }
    let counters = store::stock::get(connection, &wanted.sku).await.map_err(of_database)?;
    Ok(RestockResponse { stock: Some(stock(wanted.sku, &counters.unwrap_or_default())), applied: false })
}

fn apply(sku: &str, before: Counters, delta: i64) -> Result<Counters, Status> {
    let available = before.available.checked_add(delta).filter(|units| *units >= 0);
    let stocked = before.stocked.checked_add(delta);
    let (Some(available), Some(stocked)) = (available, stocked) else {
        return Err(Status::failed_precondition(format!(
            "{sku}: {} available of {} stocked, a change by {delta} is not possible",
            before.available, before.stocked
        )));
    };
    Ok(Counters { stocked, available, version: before.version + 1, ..before })
}
