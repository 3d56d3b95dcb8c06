//! `skald.admin.v1.AdminService`: the desk of whoever is on call. Looking reads what stands, foreseeing runs the core on a
//! copy of it, acting hands an input to the worker like any other.
//!
//! - [`act`]: verbs on one saga, with dry runs
//! - [`bulk`]: the same on many, at a rate
//! - [`explain`]: one page about a saga
//! - [`freeze`]: participants that get no commands; [`definitions`]: definitions of which no new saga is taken
//! - [`migrate`]: sagas that go on under another version of their definition
//! - [`once`]: a request id is one action, answered or refused
//! - [`participants`]: what they have of a saga, asked at their own desks
//! - [`quarantine`]: sagas that take no inputs
//! - [`attention`]: the inbox: what needs a person
//! - [`sagas`]: sagas by what is known of them; [`stats`]: how many stand where
//! - [`resolve`]: what a shortened id can mean
//! - [`letters`]: dead letters, told in [`words`]; [`redrive`]: sent again without their [`envelope`], or discarded

mod act;
mod attention;
pub(crate) mod bulk;
mod definitions;
mod envelope;
mod explain;
mod freeze;
mod letters;
mod migrate;
mod once;
mod participants;
mod quarantine;
mod redrive;
mod resolve;
mod sagas;
mod stats;
mod words;

use skald_proto::admin::v1::{self as wire, admin_service_server::AdminService};
use tonic::{Request, Response, Status};

use crate::intake::{Desk, errors::BadFields, validate};

#[tonic::async_trait]
impl AdminService for Desk {
    async fn explain(
        &self,
        request: Request<wire::ExplainRequest>,
    ) -> Result<Response<wire::ExplainResponse>, Status> {
        explain::explain(self, &request.into_inner()).await.map(Response::new)
    }

    async fn act(&self, request: Request<wire::ActRequest>) -> Result<Response<wire::ActResponse>, Status> {
        act::act(self, request.into_inner()).await.map(Response::new)
    }

    async fn release_quarantine(
        &self,
        request: Request<wire::ReleaseQuarantineRequest>,
    ) -> Result<Response<wire::ReleaseQuarantineResponse>, Status> {
        quarantine::release(self, request.into_inner()).await.map(Response::new)
    }

    async fn freeze_participant(
        &self,
        request: Request<wire::FreezeParticipantRequest>,
    ) -> Result<Response<wire::FreezeParticipantResponse>, Status> {
        freeze::freeze(self, request.into_inner()).await.map(Response::new)
    }

    async fn thaw_participant(
        &self,
        request: Request<wire::ThawParticipantRequest>,
    ) -> Result<Response<wire::ThawParticipantResponse>, Status> {
        freeze::thaw(self, request.into_inner()).await.map(Response::new)
    }

    async fn list_participants(
        &self,
        _: Request<wire::ListParticipantsRequest>,
    ) -> Result<Response<wire::ListParticipantsResponse>, Status> {
        Ok(Response::new(freeze::list(self)))
    }

    async fn freeze_definition(
        &self,
        request: Request<wire::FreezeDefinitionRequest>,
    ) -> Result<Response<wire::FreezeDefinitionResponse>, Status> {
        definitions::freeze(self, request.into_inner()).await.map(Response::new)
    }

    async fn thaw_definition(
        &self,
        request: Request<wire::ThawDefinitionRequest>,
    ) -> Result<Response<wire::ThawDefinitionResponse>, Status> {
        definitions::thaw(self, request.into_inner()).await.map(Response::new)
    }

    async fn list_definitions(
        &self,
        _: Request<wire::ListDefinitionsRequest>,
    ) -> Result<Response<wire::ListDefinitionsResponse>, Status> {
        definitions::list(self).await.map(Response::new)
    }

    async fn migrate_definition(
        &self,
        request: Request<wire::MigrateDefinitionRequest>,
    ) -> Result<Response<wire::MigrateDefinitionResponse>, Status> {
        migrate::migrate(self, request.into_inner()).await.map(Response::new)
    }

    async fn start_bulk(
        &self,
        request: Request<wire::StartBulkRequest>,
    ) -> Result<Response<wire::StartBulkResponse>, Status> {
        bulk::start(self, request.into_inner()).await.map(Response::new)
    }

    async fn get_bulk(
        &self,
        request: Request<wire::GetBulkRequest>,
    ) -> Result<Response<wire::GetBulkResponse>, Status> {
        bulk::get(self, request.get_ref()).await.map(Response::new)
    }

    async fn list_bulks(
        &self,
        _: Request<wire::ListBulksRequest>,
    ) -> Result<Response<wire::ListBulksResponse>, Status> {
        bulk::list(self).await.map(Response::new)
    }

    async fn change_bulk(
        &self,
        request: Request<wire::ChangeBulkRequest>,
    ) -> Result<Response<wire::ChangeBulkResponse>, Status> {
        bulk::change(self, request.into_inner()).await.map(Response::new)
    }

    async fn summarize_attention(
        &self,
        request: Request<wire::SummarizeAttentionRequest>,
    ) -> Result<Response<wire::SummarizeAttentionResponse>, Status> {
        attention::summarize(self, request.into_inner()).await.map(Response::new)
    }

    async fn list_attention(
        &self,
        request: Request<wire::ListAttentionRequest>,
    ) -> Result<Response<wire::ListAttentionResponse>, Status> {
        attention::list(self, request.into_inner()).await.map(Response::new)
    }

    async fn take_attention(
        &self,
        request: Request<wire::TakeAttentionRequest>,
    ) -> Result<Response<wire::TakeAttentionResponse>, Status> {
        attention::take(self, request.into_inner()).await.map(Response::new)
    }

    async fn release_attention(
        &self,
        request: Request<wire::ReleaseAttentionRequest>,
    ) -> Result<Response<wire::ReleaseAttentionResponse>, Status> {
        attention::release(self, request.into_inner()).await.map(Response::new)
    }

    async fn list_sagas(
        &self,
        request: Request<wire::ListSagasRequest>,
    ) -> Result<Response<wire::ListSagasResponse>, Status> {
        sagas::list(self, request.into_inner()).await.map(Response::new)
    }

    async fn resolve_id(
        &self,
        request: Request<wire::ResolveIdRequest>,
    ) -> Result<Response<wire::ResolveIdResponse>, Status> {
        resolve::resolve(self, &request.into_inner()).await.map(Response::new)
    }

    async fn get_stats(
        &self,
        request: Request<wire::GetStatsRequest>,
    ) -> Result<Response<wire::GetStatsResponse>, Status> {
        stats::get(self, request.into_inner()).await.map(Response::new)
    }

    async fn list_dead_letters(
        &self,
        request: Request<wire::ListDeadLettersRequest>,
    ) -> Result<Response<wire::ListDeadLettersResponse>, Status> {
        letters::list(self, request.into_inner()).await.map(Response::new)
    }

    async fn get_dead_letter(
        &self,
        request: Request<wire::GetDeadLetterRequest>,
    ) -> Result<Response<wire::GetDeadLetterResponse>, Status> {
        letters::get(self, request.into_inner()).await.map(Response::new)
    }

    async fn redrive_dead_letters(
        &self,
        request: Request<wire::RedriveDeadLettersRequest>,
    ) -> Result<Response<wire::RedriveDeadLettersResponse>, Status> {
        redrive::redrive(self, request.into_inner()).await.map(Response::new)
    }

    async fn discard_dead_letters(
        &self,
        request: Request<wire::DiscardDeadLettersRequest>,
    ) -> Result<Response<wire::DiscardDeadLettersResponse>, Status> {
        redrive::discard(self, request.into_inner()).await.map(Response::new)
    }
}

/// Who acts and why: every action carries it.
struct Signed<'a> {
    request_id: &'a str,
    actor: &'a str,
    reason: &'a str,
}

impl Signed<'_> {
    fn check(&self, bad: &mut BadFields) {
        validate::key(bad, "request_id", self.request_id);
        validate::text(bad, "actor", self.actor, 1, 128);
        validate::text(bad, "reason", self.reason, 1, 1024);
    }

    /// As it stands in histories.
    fn name(&self) -> String {
        format!("operator:{}", self.actor)
    }
}
