//! PaymentService over gRPC: what people ask of charges, and the simulated gateway's mood. Commands come elsewhere.

mod charges;
mod reconcile;
mod settle;

use std::time::Duration;

use skald_participant::{
    ByHand,
    status::{Fields, of_database, timestamp},
};
use skald_proto::payment::v1::{
    Charge, ChargeState, GetChargeRequest, GetChargeResponse, ListChargesRequest, ListChargesResponse,
    ReconcileRequest, SetGatewayMoodRequest, SetGatewayMoodResponse, SettleRequest, SettleResponse,
    payment_service_server::PaymentService,
};
use sqlx::PgPool;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::{
    gateway::{
        Gateway,
        simulated::{Mood, Simulated},
    },
    service::Payment,
    store::{self, State},
};

/// As the proto says.
const MAX_LATENCY_MS: u32 = 60_000;

/// The service. The mood is this instance's: with several, set it at each.
#[derive(Debug)]
pub(crate) struct Api<G> {
    pool: PgPool,
    payment: Payment<G>,
    by_hand: ByHand,
    /// `None`: the gateway is a real one and has no mood that we could set.
    simulated: Option<Simulated>,
}

impl<G: Gateway> Api<G> {
    /// Reads through `pool`, and settles as `payment` would.
    pub(crate) fn new(
        pool: PgPool,
        payment: Payment<G>,
        by_hand: ByHand,
        simulated: Option<Simulated>,
    ) -> Self {
        Self { pool, payment, by_hand, simulated }
    }
}

#[tonic::async_trait]
impl<G: Gateway> PaymentService for Api<G> {
    async fn get_charge(
        &self,
        request: Request<GetChargeRequest>,
    ) -> Result<Response<GetChargeResponse>, Status> {
        let order_id = request.into_inner().order_id;
        let saga = Uuid::try_parse(&order_id).ok();
        let mut fields = Fields::default();
        fields.check(saga.is_some(), "order_id", "must be a UUID");
        fields.done()?;
        let mut connection = self.pool.acquire().await.map_err(of_database)?;
        let found = store::of_saga(&mut connection, saga.unwrap_or_default()).await.map_err(of_database)?;
        if found.is_empty() {
            return Err(Status::not_found(format!("no charge of order {order_id}")));
        }
        Ok(Response::new(GetChargeResponse { charges: found.into_iter().map(charge).collect() }))
    }

    async fn list_charges(
        &self,
        request: Request<ListChargesRequest>,
    ) -> Result<Response<ListChargesResponse>, Status> {
        charges::list(&self.pool, request.into_inner()).await.map(Response::new)
    }

    async fn settle(&self, request: Request<SettleRequest>) -> Result<Response<SettleResponse>, Status> {
        settle::run(self, request.into_inner()).await.map(Response::new)
    }

    type ReconcileStream = reconcile::Pages;

    async fn reconcile(
        &self,
        request: Request<ReconcileRequest>,
    ) -> Result<Response<reconcile::Pages>, Status> {
        let gateway = self.payment.gateway.clone();
        reconcile::start(self.pool.clone(), gateway, request.into_inner()).map(Response::new)
    }

    async fn set_gateway_mood(
        &self,
        request: Request<SetGatewayMoodRequest>,
    ) -> Result<Response<SetGatewayMoodResponse>, Status> {
        let mood = request.into_inner();
        let mut fields = Fields::default();
        fields.check(mood.latency_ms <= MAX_LATENCY_MS, "latency_ms", "must be at most 60,000");
        fields.check(mood.lost_answers_per_mille <= 1_000, "lost_answers_per_mille", "must be at most 1,000");
        fields.done()?;
        let Some(simulated) = &self.simulated else {
            return Err(Status::failed_precondition(
                "the gateway is a real one; only a simulated one has a mood",
            ));
        };
        tracing::info!(?mood, "the simulated gateway's mood is set");
        simulated.set_mood(Mood {
            latency: Duration::from_millis(mood.latency_ms.into()),
            outage: mood.outage,
            lost_answers_per_mille: mood.lost_answers_per_mille,
        });
        Ok(Response::new(SetGatewayMoodResponse {}))
    }
}

fn charge(row: store::Charge) -> Charge {
    let state = match row.state {
        State::Intent => ChargeState::Intent,
        State::Captured => ChargeState::Captured,
        State::Declined => ChargeState::Declined,
        State::Void => ChargeState::Void,
        State::Refunded => ChargeState::Refunded,
        State::Unresolved => ChargeState::Unresolved,
    };
    // The method's token stays here: whoever has it could charge.
    Charge {
        order_id: row.key.saga.to_string(),
        step: row.key.step,
        epoch: row.key.epoch.unsigned_abs(),
        state: state.into(),
        amount_minor: row.amount_minor,
        currency: row.currency,
        customer_id: row.customer_id,
        gateway_ref: row.gateway_ref.unwrap_or_default(),
        refund_ref: row.refund_ref.unwrap_or_default(),
        intent_at: Some(timestamp(row.intent_at)),
        settled_at: row.settled_at.map(timestamp),
        refunded_at: row.refunded_at.map(timestamp),
    }
}
