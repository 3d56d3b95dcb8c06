//! ParticipantAdminService: what whoever is on call asks of any participant. Reads from the pool, locks nothing, changes nothing.

mod table;

use std::sync::Arc;

use prost_types::{Any, Timestamp};
use rdkafka::error::KafkaError;
use skald_kit::{
    grpc::MAX_MESSAGE_BYTES,
    kafka::{Consumer, Lag},
};
use skald_proto::participant::v1::{
    self as wire, BarrierRow, BarrierVerdict, GetBarrierRequest, GetBarrierResponse, GetStatusRequest,
    GetStatusResponse, ListIntentsRequest, ListIntentsResponse, OpenIntent, OpenIntents, PartitionLag,
    outcome::Answer,
    participant_admin_service_server::{ParticipantAdminService, ParticipantAdminServiceServer},
};
use sqlx::PgPool;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::{
    barrier::{Row, Slot, Verdict},
    command::Key,
    page,
    service::Service,
    shared::Shared,
    status::{Fields, of_database, timestamp},
};
use table::{Open, Remembered};

/// Its full name, for reflection and health.
pub(crate) const NAME: &str = "skald.participant.v1.ParticipantAdminService";

struct Server<S> {
    shared: Arc<Shared<S>>,
    /// `None`: commands come over gRPC alone.
    consumer: Option<Consumer>,
    pool: PgPool,
}

/// The service, ready to be routed.
pub(crate) fn service<S: Service>(
    shared: Arc<Shared<S>>,
    consumer: Option<Consumer>,
    pool: PgPool,
) -> ParticipantAdminServiceServer<impl ParticipantAdminService> {
    ParticipantAdminServiceServer::new(Server { shared, consumer, pool })
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES * 8)
}

#[tonic::async_trait]
impl<S: Service> ParticipantAdminService for Server<S> {
    async fn get_barrier(
        &self,
        request: Request<GetBarrierRequest>,
    ) -> Result<Response<GetBarrierResponse>, Status> {
        let saga_id = request.into_inner().saga_id;
        let saga = Uuid::try_parse(&saga_id).ok();
        let mut fields = Fields::default();
        fields.check(saga.is_some(), "saga_id", "must be a UUID");
        fields.done()?;
        let mut conn = self.pool.acquire().await.map_err(of_database)?;
        let found = table::of_saga(&mut conn, saga.unwrap_or_default()).await.map_err(of_database)?;
        if found.is_empty() {
            return Err(Status::not_found(format!(
                "nothing was decided about saga {saga_id} here, or so long ago that it is forgotten"
            )));
        }
        Ok(Response::new(GetBarrierResponse { rows: found.into_iter().map(row).collect() }))
    }

    async fn list_intents(
        &self,
        request: Request<ListIntentsRequest>,
    ) -> Result<Response<ListIntentsResponse>, Status> {
        let ListIntentsRequest { older_than, page_size, page_token } = request.into_inner();
        let mut fields = Fields::default();
        let age = fields.age(older_than, "older_than");
        let size = page::size(&mut fields, page_size);
        let start = || (Key { saga: Uuid::nil(), step: String::new(), epoch: 0 }, 0);
        let after = if page_token.is_empty() { Some(start()) } else { place(&page_token) };
        fields.check(after.is_some(), "page_token", page::TOKEN);
        fields.done()?;
        let (after, slot) = after.unwrap_or_else(start);
        let mut conn = self.pool.acquire().await.map_err(of_database)?;
        let mut found =
            table::intents(&mut conn, (&after, slot), age, size + 1).await.map_err(of_database)?;
        let next_page_token = page::cut(&mut found, size, token);
        let intents = found.into_iter().map(intent).collect();
        Ok(Response::new(ListIntentsResponse { intents, next_page_token }))
    }

    async fn get_status(&self, _: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        let (lag, intents) = tokio::join!(self.lag(), self.intents());
        let mut unknown = Vec::new();
        let mut lag = lag.unwrap_or_else(|error| {
            unknown.push(format!("lag: the broker does not answer ({error})"));
            Vec::new()
        });
        lag.sort_by_key(|lag| lag.partition);
        let intents = intents
            .inspect_err(|error| {
                unknown.push(format!("open intents: the database does not answer ({error})"))
            })
            .ok();
        let breaker = self.shared.service.breaker().map(|breaker| wire::Breaker {
            state: breaker.state.into(),
            since: Some(Timestamp::from(breaker.since)),
        });
        Ok(Response::new(GetStatusResponse {
            participant: S::NAME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            lag: lag
                .into_iter()
                .map(|lag| PartitionLag { partition: lag.partition, messages: lag.messages })
                .collect(),
            breaker,
            intents,
            unknown,
        }))
    }
}

impl<S: Service> Server<S> {
    async fn lag(&self) -> Result<Vec<Lag>, KafkaError> {
        match &self.consumer {
            Some(consumer) => consumer.lag().await,
            None => Ok(Vec::new()),
        }
    }

    async fn intents(&self) -> Result<OpenIntents, sqlx::Error> {
        let mut conn = self.pool.acquire().await?;
        let (open, unresolved, oldest) = table::summary(&mut conn).await?;
        Ok(OpenIntents { open, unresolved, oldest: oldest.map(intent) })
    }
}

fn row(found: Remembered) -> BarrierRow {
    let (summary, content) = match &found.row {
        Ok(row) => told(row),
        Err(error) => (error.to_string(), None),
    };
    BarrierRow {
        step: found.key.step,
        epoch: found.key.epoch.unsigned_abs(),
        verb: found.slot.map_or(wire::Verb::Unspecified, |slot| slot.verb().wire()).into(),
        verdict: verdict(found.slot, found.verdict).into(),
        at: Some(timestamp(found.at)),
        summary,
        content,
    }
}

/// As people read it.
pub(crate) fn verdict(slot: Option<Slot>, verdict: Option<Verdict>) -> BarrierVerdict {
    match (slot, verdict) {
        (Some(Slot::Run), Some(Verdict::Done)) => BarrierVerdict::Succeeded,
        (Some(Slot::Undo), Some(Verdict::Done)) => BarrierVerdict::Undone,
        (_, Some(Verdict::Rejected)) => BarrierVerdict::Rejected,
        (_, Some(Verdict::Sealed)) => BarrierVerdict::Sealed,
        (_, Some(Verdict::Fenced)) => BarrierVerdict::Fenced,
        (_, Some(Verdict::Nothing)) => BarrierVerdict::NothingToUndo,
        (_, Some(Verdict::Intent)) => BarrierVerdict::Intent,
        (None, Some(Verdict::Done)) | (_, None) => BarrierVerdict::Unspecified,
    }
}

/// A row in one line, and what its answer carries.
fn told(row: &Row) -> (String, Option<Any>) {
    if row.verdict == Verdict::Intent {
        return ("a call to the outside world has not settled".to_owned(), None);
    }
    let answer = match row.slot {
        Slot::Run => row.run_answer(),
        Slot::Undo => row.undo_answer(),
    };
    let with = |what: &str, any: Option<Any>| {
        let name = any.as_ref().map(|any| any.type_url.rsplit('/').next().unwrap_or_default().to_owned());
        (name.map_or_else(|| what.to_owned(), |name| format!("{what}, with {name}")), any)
    };
    match answer {
        Answer::Succeeded(done) => with("succeeded", done.result),
        Answer::Undone(done) => with("undone", done.result),
        Answer::Rejected(no) => (format!("rejected: {}, {}", no.code, no.message), no.detail),
        Answer::Sealed(_) => ("sealed: it never ran and never will".to_owned(), None),
        Answer::NothingToUndo(_) => ("nothing to undo".to_owned(), None),
        Answer::Fenced(_) => ("fenced: the undo never ran and never will".to_owned(), None),
        Answer::Failed(failed) => (format!("failed: {}, {}", failed.code, failed.message), None),
    }
}

fn intent(open: Open) -> OpenIntent {
    OpenIntent {
        saga_id: open.saga_id.to_string(),
        step: open.step,
        epoch: open.epoch.unsigned_abs(),
        verb: Slot::from_code(open.verb).map_or(wire::Verb::Unspecified, |slot| slot.verb().wire()).into(),
        attempt: open.attempt.unsigned_abs(),
        gateway_key: open.gateway_key,
        calls: open.calls.unsigned_abs(),
        next_call_after: open.call_after.map(timestamp),
        since: Some(timestamp(open.since)),
        answered: open.answered.unwrap_or_default(),
    }
}

/// After this intent: its key and the letter of its verb.
fn token(open: &Open) -> String {
    let key = Key { saga: open.saga_id, step: open.step.clone(), epoch: open.epoch };
    format!("{}/{}", page::token(&key), char::from(open.verb.unsigned_abs()))
}

fn place(token: &str) -> Option<(Key, i8)> {
    let (key, letter) = token.rsplit_once('/')?;
    let slot = match letter {
        "R" => Slot::Run,
        "U" => Slot::Undo,
        _ => return None,
    };
    Some((page::key(key)?, slot.code()))
}
