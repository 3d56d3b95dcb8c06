//! ListReservations: who holds what.

use skald_participant::{
    page,
    status::{Fields, of_database},
};
use skald_proto::inventory::v1::{ListReservationsRequest, ListReservationsResponse, ReservationState};
use tonic::Status;
use uuid::Uuid;

use super::{Api, SKU, reservation};
use crate::{
    input::is_sku,
    store::reservation::{self as store, Filter, State},
};

/// One page.
pub(super) async fn list(
    api: &Api,
    request: ListReservationsRequest,
) -> Result<ListReservationsResponse, Status> {
    let ListReservationsRequest { sku, order_id, state, page_size, page_token } = request;
    let mut fields = Fields::default();
    fields.check(sku.is_empty() || is_sku(&sku), "sku", SKU);
    let saga = Uuid::try_parse(&order_id).ok();
    fields.check(order_id.is_empty() || saga.is_some(), "order_id", "must be a UUID, or empty");
    let wanted = ReservationState::try_from(state);
    fields.check(wanted.is_ok(), "state", "is not known");
    let size = page::size(&mut fields, page_size);
    let before = page::key(&page_token);
    fields.check(page_token.is_empty() || before.is_some(), "page_token", page::TOKEN);
    fields.done()?;
    let filter = Filter {
        sku: (!sku.is_empty()).then_some(sku),
        saga,
        state: match wanted.unwrap_or_default() {
            ReservationState::Unspecified => None,
            ReservationState::Held => Some(State::Held),
            ReservationState::Committed => Some(State::Committed),
            ReservationState::Released => Some(State::LetGo),
        },
    };
    let mut connection = api.pool.acquire().await.map_err(of_database)?;
    let (found, next) =
        store::list(&mut connection, &filter, before.as_ref(), size).await.map_err(of_database)?;
    Ok(ListReservationsResponse {
        reservations: found.into_iter().map(reservation).collect(),
        next_page_token: next.as_ref().map_or_else(String::new, page::token),
    })
}
