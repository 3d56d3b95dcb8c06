//! Plays one sample order as its people would: submits it, watches it, acts when its cue comes. Tells all as notes.

use std::time::Instant;

use skald_proto::{
    inventory::v1::{GetStockRequest, RestockRequest, inventory_service_client::InventoryServiceClient},
    order::v1::{
        CancelOrderRequest, FulfilOrderRequest, OrderStatus, PayOrderRequest, SubmitOrderRequest,
        WatchOrderRequest, order_service_client::OrderServiceClient,
    },
};
use tokio::sync::mpsc::UnboundedSender;
use tonic::{Code, Status};

use super::{
    board::{Note, What},
    samples::{Act, Cue, STOCK, Sample},
};
use crate::client::Connection;

/// Between two tries to reach a service that is just starting.
const AGAIN: std::time::Duration = std::time::Duration::from_millis(20);

/// One sample and the way to its order.
pub(super) struct Play {
    pub(super) index: usize,
    pub(super) sample: Sample,
    /// Makes the idempotency keys of this run unique.
    pub(super) run: String,
    pub(super) orders: OrderServiceClient<Connection>,
    pub(super) began: Instant,
    pub(super) notes: UnboundedSender<Note>,
}

impl Play {
    /// Plays it to its end.
    pub(super) async fn run(mut self) {
        if let Err(status) = self.through().await {
            self.note(What::Broken(status.message().to_owned()));
        }
    }

    async fn through(&mut self) -> Result<(), Status> {
        let request = SubmitOrderRequest {
            idempotency_key: format!("dev-{}-{}", self.run, self.sample.name.replace(' ', "-")),
            order: Some(self.sample.draft.clone()),
        };
        let order_id = loop {
            match self.orders.submit_order(request.clone()).await {
                Ok(answer) => break answer.into_inner().order_id,
                // It is still starting; the key makes it one order.
                Err(status) if status.code() == Code::Unavailable => tokio::time::sleep(AGAIN).await,
                Err(status) => return Err(status),
            }
        };
        self.note(What::Accepted(order_id.clone()));
        let mut cue = self.sample.cue;
        loop {
            let watch = WatchOrderRequest { order_id: order_id.clone() };
            let mut changes = self.orders.watch_order(watch).await?.into_inner();
            while let Ok(Some(change)) = changes.message().await {
                let order = change.order.unwrap_or_default();
                let status = order.status();
                self.note(What::Stands(status, order.reason));
                if matches!(status, OrderStatus::Completed | OrderStatus::Cancelled) {
                    return Ok(());
                }
                if let Some(now) = cue.take_if(|cue| cue.at == status) {
                    self.act(now, &order_id).await?;
                }
            }
            // The stream broke: the next one begins with the present state.
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn act(&mut self, cue: Cue, order_id: &str) -> Result<(), Status> {
        tokio::time::sleep(cue.after).await;
        let order_id = order_id.to_owned();
        match cue.act {
            Act::Pay => {
                self.note(What::Acted("the customer pays"));
                let pay =
                    PayOrderRequest { order_id, payment_token: "tok_ok".into(), request_id: String::new() };
                self.orders.pay_order(pay).await?;
            }
            Act::Fulfil => {
                self.note(What::Acted("the seller ships"));
                let (seller_id, reference) = ("potter".into(), "parcel-4711".into());
                let fulfil = FulfilOrderRequest { order_id, seller_id, reference, request_id: String::new() };
                self.orders.fulfil_order(fulfil).await?;
            }
            Act::Cancel => {
                self.note(What::Acted("the customer cancels"));
                let cancel = CancelOrderRequest { order_id, note: "changed my mind".into() };
                self.orders.cancel_order(cancel).await?;
            }
        }
        Ok(())
    }

    fn note(&self, what: What) {
        // Nobody listens any more when the run was cut short.
        let _ = self.notes.send(Note { sample: self.index, at: self.began.elapsed(), what });
    }
}

/// Puts the sample stock where it must be: what earlier runs took is added.
///
/// # Errors
/// Inventory refuses. While it is away, this waits.
pub(super) async fn stock(inventory: InventoryServiceClient<Connection>, run: &str) -> Result<(), Status> {
    for (sku, wanted) in STOCK {
        let mut inventory = inventory.clone();
        let there = loop {
            match inventory.get_stock(GetStockRequest { sku: sku.into() }).await {
                Ok(answer) => break answer.into_inner().stock.map_or(0, |stock| stock.available),
                Err(status) if status.code() == Code::NotFound => break 0,
                Err(status) if status.code() == Code::Unavailable => tokio::time::sleep(AGAIN).await,
                Err(status) => return Err(status),
            }
        };
        if there < wanted {
            let request = RestockRequest {
                sku: sku.into(),
                delta: wanted - there,
                request_id: format!("dev-{run}-{sku}"),
                actor: "skald dev".into(),
                reason: "sample stock".into(),
            };
            inventory.restock(request).await?;
        }
    }
    Ok(())
}
