//! ParticipantService: who this participant is, and commands over gRPC, the second transport beside Kafka.

use std::{
    pin::Pin,
    sync::{Arc, Weak},
};

use futures::{Stream, stream};
use skald_kit::{grpc::MAX_MESSAGE_BYTES, trace};
use skald_proto::participant::v1::{
    self as wire, DescribeRequest, DescribeResponse, ExecuteRequest, ExecuteResponse,
    participant_service_server::{ParticipantService, ParticipantServiceServer},
};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    command::PROTOCOL, desk, housekeeping::HORIZON, service::Service, shared::Shared, stream::Executors,
};

/// Its full name, for reflection and health.
pub(crate) const NAME: &str = "skald.participant.v1.ParticipantService";

struct Server<S: Service> {
    shared: Arc<Shared<S>>,
    /// `None`: commands come over Kafka alone. Weak: a client that holds its connection open must not keep the calls' settler
    /// waiting for more.
    executors: Option<Weak<Executors<S>>>,
}

/// The service, ready to be routed.
pub(crate) fn service<S: Service>(
    shared: Arc<Shared<S>>,
    executors: Option<Weak<Executors<S>>>,
) -> ParticipantServiceServer<impl ParticipantService> {
    let server = Server { shared, executors };
    ParticipantServiceServer::new(server)
        .max_decoding_message_size(MAX_MESSAGE_BYTES * 8)
        .max_encoding_message_size(MAX_MESSAGE_BYTES * 8)
}

#[tonic::async_trait]
impl<S: Service> ParticipantService for Server<S> {
    type ExecuteStream = Pin<Box<dyn Stream<Item = Result<ExecuteResponse, Status>> + Send>>;

    async fn execute(
        &self,
        request: Request<Streaming<ExecuteRequest>>,
    ) -> Result<Response<Self::ExecuteStream>, Status> {
        let Some(executors) = &self.executors else {
            let why = "commands come to this participant over Kafka alone (commands.grpc = false)";
            return Err(Status::failed_precondition(why));
        };
        let executors = executors.upgrade().ok_or_else(|| Status::unavailable("stopping"))?;
        let trace = request.metadata().get(trace::HEADER);
        let trace = trace.and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
        let mut answered = executors.serve(request.into_inner(), trace);
        Ok(Response::new(Box::pin(stream::poll_fn(move |context| answered.poll_recv(context)))))
    }

    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<DescribeResponse>, Status> {
        let action = |action: &crate::Action| wire::Action {
            name: action.name.to_owned(),
            undo: action.undo.unwrap_or_default().to_owned(),
        };
        Ok(Response::new(DescribeResponse {
            participant: S::NAME.to_owned(),
            protocols: vec![PROTOCOL],
            actions: self.shared.service.actions().iter().map(action).collect(),
            horizon_days: u32::try_from(HORIZON.as_secs() / 86_400).unwrap_or(0),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }))
    }
}

/// The descriptors of `services` and of every participant's own ones.
pub(crate) fn descriptors(services: &[&str]) -> &'static [u8] {
    skald_proto::descriptors_of(&[services, &[NAME, desk::NAME]].concat())
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    /// Reflection and health know what the descriptors name.
    #[test]
    fn both_services_of_every_participant_are_told() {
        let set = prost_types::FileDescriptorSet::decode(descriptors(&[])).expect("descriptors");
        let named = set.file.iter().flat_map(|file| {
            let package = file.package();
            file.service.iter().map(move |service| format!("{package}.{}", service.name()))
        });
        let mut named: Vec<String> = named.collect();
        named.sort();
        assert_eq!(named, [desk::NAME, NAME]);
    }
}
