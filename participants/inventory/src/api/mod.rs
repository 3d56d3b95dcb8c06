//! InventoryService over gRPC: what people and other systems ask of the stock. Commands come elsewhere.

mod change;
mod reservations;

use skald_participant::{
    Outbox, page,
    status::{Fields, of_database, timestamp},
};
use skald_proto::inventory::v1::{
    AdjustRequest, AdjustResponse, AuditRequest, AuditResponse, Discrepancy, GetReservationRequest,
    GetReservationResponse, GetStockRequest, GetStockResponse, ListReservationsRequest,
    ListReservationsResponse, ListStockRequest, ListStockResponse, Reservation, ReservationLine,
    ReservationState, RestockRequest, RestockResponse, Stock, inventory_service_server::InventoryService,
};
use sqlx::PgPool;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::{
    allocation::Counters,
    events::Events,
    input::is_sku,
    store::{self, reservation::State},
};

/// An audit that finds more than this is bad enough; the answer must fit a message.
const MAX_DISCREPANCIES: i64 = 1_000;
const SKU: &str = "must have 1 to 64 characters of [A-Za-z0-9._-]";

/// The service; clones share its pool.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pool: PgPool,
    events: Events,
    outbox: Outbox,
}

impl Api {
    /// Reads and changes through `pool`; makes `events` of what it changes and tells them through `outbox`.
    pub(crate) fn new(pool: PgPool, events: Events, outbox: Outbox) -> Self {
        Self { pool, events, outbox }
    }
}

#[tonic::async_trait]
impl InventoryService for Api {
    async fn get_stock(
        &self,
        request: Request<GetStockRequest>,
    ) -> Result<Response<GetStockResponse>, Status> {
        let sku = request.into_inner().sku;
        let mut fields = Fields::default();
        fields.check(is_sku(&sku), "sku", SKU);
        fields.done()?;
        let mut connection = self.pool.acquire().await.map_err(of_database)?;
        let counters = store::stock::get(&mut connection, &sku).await.map_err(of_database)?;
        let counters = counters.ok_or_else(|| Status::not_found(format!("no SKU {sku:?}")))?;
        let stock = Some(stock(sku, &counters));
        Ok(Response::new(GetStockResponse { stock }))
    }

    async fn list_stock(
        &self,
        request: Request<ListStockRequest>,
    ) -> Result<Response<ListStockResponse>, Status> {
        let ListStockRequest { page_size, page_token } = request.into_inner();
        let mut fields = Fields::default();
        let size = page::size(&mut fields, page_size);
        fields.check(page_token.is_empty() || is_sku(&page_token), "page_token", page::TOKEN);
        fields.done()?;
        let mut connection = self.pool.acquire().await.map_err(of_database)?;
        // One more than asked for tells whether there is a next page.
        let mut rows =
            store::stock::list(&mut connection, &page_token, size + 1).await.map_err(of_database)?;
        let next_page_token = page::cut(&mut rows, size, |(sku, _)| sku.clone());
        let stock = rows.into_iter().map(|(sku, counters)| stock(sku, &counters)).collect();
        Ok(Response::new(ListStockResponse { stock, next_page_token }))
    }

    async fn restock(&self, request: Request<RestockRequest>) -> Result<Response<RestockResponse>, Status> {
        change::restock(self, request.into_inner()).await.map(Response::new)
    }

    async fn adjust(&self, request: Request<AdjustRequest>) -> Result<Response<AdjustResponse>, Status> {
        change::adjust(self, request.into_inner()).await.map(Response::new)
    }

    async fn get_reservation(
        &self,
        request: Request<GetReservationRequest>,
    ) -> Result<Response<GetReservationResponse>, Status> {
        let order_id = request.into_inner().order_id;
        let saga = Uuid::try_parse(&order_id).ok();
        let mut fields = Fields::default();
        fields.check(saga.is_some(), "order_id", "must be a UUID");
        fields.done()?;
        let mut connection = self.pool.acquire().await.map_err(of_database)?;
        let found = store::reservation::of_saga(&mut connection, saga.unwrap_or_default())
            .await
            .map_err(of_database)?;
        if found.is_empty() {
            return Err(Status::not_found(format!("no reservation of order {order_id}")));
        }
        let reservations = found.into_iter().map(reservation).collect();
        Ok(Response::new(GetReservationResponse { reservations }))
    }

    async fn list_reservations(
        &self,
        request: Request<ListReservationsRequest>,
    ) -> Result<Response<ListReservationsResponse>, Status> {
        reservations::list(self, request.into_inner()).await.map(Response::new)
    }

    async fn audit(&self, _: Request<AuditRequest>) -> Result<Response<AuditResponse>, Status> {
        let mut connection = self.pool.acquire().await.map_err(of_database)?;
        let (skus, wrong) =
            store::audit::run(&mut connection, MAX_DISCREPANCIES).await.map_err(of_database)?;
        let discrepancies = wrong
            .into_iter()
            .map(|wrong| Discrepancy {
                counters: Some(stock(wrong.sku, &wrong.counters)),
                reserved: wrong.reserved,
                committed: wrong.committed,
            })
            .collect();
        Ok(Response::new(AuditResponse { skus, discrepancies }))
    }
}

fn stock(sku: String, counters: &Counters) -> Stock {
    Stock {
        sku,
        stocked: counters.stocked,
        available: counters.available,
        reserved: counters.reserved,
        committed: counters.committed,
        version: counters.version,
    }
}

fn reservation(row: store::reservation::Reservation) -> Reservation {
    let state = match row.state {
        State::Held => ReservationState::Held,
        State::Committed => ReservationState::Committed,
        State::LetGo => ReservationState::Released,
    };
    let lines = row.lines.into_iter().map(|line| ReservationLine { sku: line.sku, quantity: line.quantity });
    Reservation {
        order_id: row.key.saga.to_string(),
        step: row.key.step,
        epoch: row.key.epoch.unsigned_abs(),
        state: state.into(),
        lines: lines.collect(),
        held_at: Some(timestamp(row.held_at)),
        ended_at: row.ended_at.map(timestamp),
    }
}
