//! `skald.order.v1.OrderService`: orders, a thin typed façade over the definition `order`.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt};
use prost_types::Any;
use skald_core::{
    Definition, Input,
    input::{CancelRequested, Signal},
};
use skald_proto::order::v1::{self as wire, order_service_server::OrderService};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tonic_types::StatusExt;
use uuid::Uuid;

use super::{
    Desk,
    desk::{Caller, Wish},
    errors::BadFields,
    saga::{page_before, range},
    validate, view,
};
use crate::{bus::wire::payload, store::read::Shown};

/// The definition that orders follow.
const DEFINITION: &str = "order";
/// The id of a signal that came with the submission.
const WITH_SUBMISSION: &str = "submission";
/// Orders of one stream that are decided at once: two batches.
const STREAM_WINDOW: usize = 1024;

type Out<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl OrderService for Desk {
    async fn submit_order(
        &self,
        request: Request<wire::SubmitOrderRequest>,
    ) -> Result<Response<wire::SubmitOrderResponse>, Status> {
        let caller = Caller::of(request.metadata())?;
        Ok(Response::new(self.submit(&caller, request.into_inner()).await?))
    }

    type SubmitOrdersStream = Out<wire::SubmitOrdersResponse>;

    async fn submit_orders(
        &self,
        request: Request<Streaming<wire::SubmitOrdersRequest>>,
    ) -> Result<Response<Self::SubmitOrdersStream>, Status> {
        let caller = Caller { patient: true, ..Caller::of(request.metadata())? };
        let mut orders = request.into_inner();
        let (out, answers) = mpsc::channel(STREAM_WINDOW);
        let (desk, window) = (self.clone(), Arc::new(Semaphore::new(STREAM_WINDOW)));
        tokio::spawn(async move {
            loop {
                let order = tokio::select! {
                    order = orders.next() => order,
                    // What was read is still answered; the client sends the rest again.
                    () = desk.shutdown.requested() => return,
                };
                let Some(Ok(order)) = order else { return };
                let Ok(place) = Arc::clone(&window).acquire_owned().await else { return };
                let (desk, caller, out) = (desk.clone(), caller.clone(), out.clone());
                tokio::spawn(async move {
                    let answer = desk.submit_one(&caller, order).await;
                    let _ = out.send(Ok(answer)).await;
                    drop(place);
                });
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn get_order(
        &self,
        request: Request<wire::GetOrderRequest>,
    ) -> Result<Response<wire::GetOrderResponse>, Status> {
        let id = one_id(&request.get_ref().order_id)?;
        Ok(Response::new(wire::GetOrderResponse { order: Some(self.order(id).await?) }))
    }

    async fn list_orders(
        &self,
        request: Request<wire::ListOrdersRequest>,
    ) -> Result<Response<wire::ListOrdersResponse>, Status> {
        let list = request.into_inner();
        let mut bad = BadFields::default();
        let page = validate::page_size(&mut bad, list.page_size);
        let before = page_before(&mut bad, &list.page_token);
        let status = wire::OrderStatus::try_from(list.status);
        bad.check(status.is_ok(), "status", "is not a status of an order");
        bad.into_result()?;
        let mut filter = range(list.created_from.as_ref(), list.created_before.as_ref(), before);
        filter.definitions = Some(self.shared.registry.ids(DEFINITION));
        filter.customer_id = (!list.customer_id.is_empty()).then_some(list.customer_id);
        (filter.statuses, filter.stage) = columns(status.unwrap_or_default());
        let show = |row: &Shown, definition: Option<&Definition>| {
            let definition = definition.filter(|definition| view::is_order(definition))?;
            let order = view::order(row, definition);
            // The columns of one that is parked or paused don't tell which way it was going.
            let fits = status == Ok(wire::OrderStatus::Unspecified) || status == Ok(order.status());
            fits.then_some(order)
        };
        let (orders, next_page_token) = self.page(filter, page, show).await?;
        Ok(Response::new(wire::ListOrdersResponse { orders, next_page_token }))
    }

    type WatchOrderStream = Out<wire::WatchOrderResponse>;

    async fn watch_order(
        &self,
        request: Request<wire::WatchOrderRequest>,
    ) -> Result<Response<Self::WatchOrderStream>, Status> {
        let id = one_id(&request.get_ref().order_id)?;
        let shown = |desk: Desk, row: Shown| async move {
            let order = desk.order_of(&row).await?;
            let over = matches!(order.status(), wire::OrderStatus::Completed | wire::OrderStatus::Cancelled);
            Ok((wire::WatchOrderResponse { order: Some(order) }, over))
        };
        Ok(Response::new(self.watched("order", id, shown).await?))
    }

    async fn pay_order(
        &self,
        request: Request<wire::PayOrderRequest>,
    ) -> Result<Response<wire::PayOrderResponse>, Status> {
        let caller = Caller::of(request.metadata())?;
        let pay = request.into_inner();
        let mut bad = BadFields::default();
        let id = validate::id(&mut bad, "order_id", &pay.order_id);
        validate::text(&mut bad, "payment_token", &pay.payment_token, 1, 128);
        validate::text(&mut bad, "request_id", &pay.request_id, 0, 128);
        bad.into_result()?;
        let signal_id = or(pay.request_id, &pay.payment_token);
        let method = wire::PaymentMethod { token: pay.payment_token };
        let order = self.signalled(&caller, id, signal("pay", signal_id, &method)).await?;
        Ok(Response::new(wire::PayOrderResponse { order: Some(order) }))
    }

    async fn fulfil_order(
        &self,
        request: Request<wire::FulfilOrderRequest>,
    ) -> Result<Response<wire::FulfilOrderResponse>, Status> {
        let caller = Caller::of(request.metadata())?;
        let fulfil = request.into_inner();
        let mut bad = BadFields::default();
        let id = validate::id(&mut bad, "order_id", &fulfil.order_id);
        validate::text(&mut bad, "seller_id", &fulfil.seller_id, 0, 64);
        validate::text(&mut bad, "reference", &fulfil.reference, 0, 128);
        validate::text(&mut bad, "request_id", &fulfil.request_id, 0, 128);
        bad.into_result()?;
        let signal_id = or(fulfil.request_id, &fulfil.reference);
        let done = wire::Fulfilment { seller_id: fulfil.seller_id, reference: fulfil.reference };
        let order = self.signalled(&caller, id, signal("fulfil", signal_id, &done)).await?;
        Ok(Response::new(wire::FulfilOrderResponse { order: Some(order) }))
    }

    async fn cancel_order(
        &self,
        request: Request<wire::CancelOrderRequest>,
    ) -> Result<Response<wire::CancelOrderResponse>, Status> {
        let caller = Caller::of(request.metadata())?;
        let cancel = request.into_inner();
        let mut bad = BadFields::default();
        let id = validate::id(&mut bad, "order_id", &cancel.order_id);
        validate::text(&mut bad, "note", &cancel.note, 0, 512);
        bad.into_result()?;
        self.order(id).await?;
        self.fold(&caller, "order", id, Input::CancelRequested(CancelRequested { note: cancel.note }))
            .await?;
        Ok(Response::new(wire::CancelOrderResponse { order: Some(self.order(id).await?) }))
    }
}

impl Desk {
    async fn submit(
        &self,
        caller: &Caller,
        request: wire::SubmitOrderRequest,
    ) -> Result<wire::SubmitOrderResponse, Status> {
        let mut bad = BadFields::default();
        validate::key(&mut bad, "idempotency_key", &request.idempotency_key);
        let input = validate::order(&mut bad, request.order.as_ref());
        bad.into_result()?;
        let mut signals = Vec::new();
        if let Some(token) = request.order.and_then(|order| order.payment_token) {
            signals.push(signal("pay", WITH_SUBMISSION.into(), &wire::PaymentMethod { token }));
        }
        if !input.needs_fulfilment {
            signals.push(signal("fulfil", WITH_SUBMISSION.into(), &wire::Fulfilment::default()));
        }
        let wish = Wish {
            definition: DEFINITION.into(),
            key: request.idempotency_key,
            input: payload(pack(&input)),
            signals,
            customer_id: input.customer_id,
        };
        let (id, created) = self.begin(caller, wish).await?;
        Ok(wire::SubmitOrderResponse { order_id: id.to_string(), created })
    }

    async fn submit_one(
        &self,
        caller: &Caller,
        request: wire::SubmitOrdersRequest,
    ) -> wire::SubmitOrdersResponse {
        use wire::submit_orders_response::Result as Answer;
        let client_ref = request.client_ref;
        let mut bad = BadFields::default();
        validate::text(&mut bad, "client_ref", &client_ref, 0, 64);
        bad.check(request.submit.is_some(), "submit", "is missing");
        let submitted = match bad.into_result() {
            Ok(()) => self.submit(caller, request.submit.unwrap_or_default()).await,
            Err(status) => Err(status),
        };
        let result = match submitted {
            Ok(accepted) => Answer::Accepted(accepted),
            Err(status) => Answer::Error(wire::SubmitError {
                code: status.code() as i32,
                message: status.message().to_owned(),
                fields: (status.get_details_bad_request().into_iter().flat_map(|bad| bad.field_violations))
                    .map(|v| wire::FieldError { field: v.field, description: v.description })
                    .collect(),
            }),
        };
        wire::SubmitOrdersResponse { client_ref, result: Some(result) }
    }

    async fn signalled(&self, caller: &Caller, id: Uuid, signal: Signal) -> Result<wire::Order, Status> {
        self.order(id).await?;
        self.fold(caller, "order", id, Input::Signal(signal)).await?;
        self.order(id).await
    }

    async fn order(&self, id: Uuid) -> Result<wire::Order, Status> {
        let row = self.read("order", id).await?;
        self.order_of(&row).await
    }

    async fn order_of(&self, row: &Shown) -> Result<wire::Order, Status> {
        let definition = self.definition(row.definition_id).await?;
        if !view::is_order(&definition) {
            return Err(super::errors::not_found("order", &row.id.to_string()));
        }
        Ok(view::order(row, &definition))
    }
}

fn one_id(text: &str) -> Result<Uuid, Status> {
    let mut bad = BadFields::default();
    let id = validate::id(&mut bad, "order_id", text);
    bad.into_result().map(|()| id)
}

fn signal<M: prost::Name>(name: &str, signal_id: String, message: &M) -> Signal {
    Signal { name: name.into(), signal_id, payload: Some(payload(pack(message))) }
}

fn pack<M: prost::Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

/// A given id, or one that a repeat of the same call has too.
fn or(given: String, fallback: &str) -> String {
    if given.is_empty() { fallback.to_owned() } else { given }
}

/// The columns behind a status that customers see: all that can have it, and some more.
fn columns(status: wire::OrderStatus) -> (Option<Vec<i16>>, Option<i16>) {
    use skald_core::state::Status;
    // Any order may be parked or paused.
    let or_stopped = |s: Status| Some([s, Status::Parked, Status::Paused].map(|s| s as i16).to_vec());
    match status {
        wire::OrderStatus::Unspecified => (None, None),
        wire::OrderStatus::Pending => (or_stopped(Status::Running), Some(0)),
        wire::OrderStatus::Reserved => (or_stopped(Status::Running), Some(1)),
        wire::OrderStatus::Paid => (or_stopped(Status::Running), Some(2)),
        wire::OrderStatus::Fulfilled => (or_stopped(Status::Running), Some(3)),
        wire::OrderStatus::Completed => (or_stopped(Status::Completed), None),
        wire::OrderStatus::Cancelling => (or_stopped(Status::Compensating), None),
        wire::OrderStatus::Cancelled => (or_stopped(Status::Compensated), None),
    }
}
