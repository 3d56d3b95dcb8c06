//! ParticipantService: who this participant is, and commands over gRPC, the second transport beside Kafka.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt as _};
use skald_kit::{grpc::MAX_MESSAGE_BYTES, trace};
use skald_proto::participant::v1::{
    self as wire, DescribeRequest, DescribeResponse, ExecuteRequest, ExecuteResponse,
    participant_service_server::{ParticipantService, ParticipantServiceServer},
};
use tokio::sync::Mutex;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    command::{Command, PROTOCOL},
    desk,
    execute::{End, Executor, From},
    housekeeping::HORIZON,
    ingress,
    outcomes::Reply,
    service::Service,
    shared::Shared,
    wave::{self, Delivery},
};

/// Its full name, for reflection and health.
pub(crate) const NAME: &str = "skald.participant.v1.ParticipantService";

/// Commands of one request at most: a wave's worth.
const MAX_COMMANDS: usize = 512;

/// A command that came over a stream: answered there, and only there.
struct Streamed;

impl From for Streamed {
    fn partition(&self) -> i32 {
        -1
    }
}

struct Server<S: Service> {
    shared: Arc<Shared<S>>,
    /// All streams share one worker: batches, not streams, make it fast.
    executor: Arc<Mutex<Executor<S>>>,
}

/// The service, ready to be routed.
pub(crate) fn service<S: Service>(
    shared: Arc<Shared<S>>,
    executor: Executor<S>,
) -> ParticipantServiceServer<impl ParticipantService> {
    let server = Server { shared, executor: Arc::new(Mutex::new(executor)) };
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
        let trace = request.metadata().get(trace::HEADER);
        let trace = trace.and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
        let executor = Arc::clone(&self.executor);
        let stopped = Arc::clone(&self.shared);
        let requests = request.into_inner().take_until(async move { stopped.shutdown.requested().await });
        let answers = requests.then(move |request| {
            let (executor, trace) = (Arc::clone(&executor), trace.clone());
            async move {
                let commands = request?.commands;
                if commands.len() > MAX_COMMANDS {
                    return Err(Status::invalid_argument(format!("commands: at most {MAX_COMMANDS}")));
                }
                let mut executor = executor.lock().await;
                let outcomes = execute::<S>(&mut executor, commands, trace.as_deref()).await?;
                Ok(ExecuteResponse { outcomes })
            }
        });
        Ok(Response::new(Box::pin(answers)))
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

/// Waves of one request. A command that can't be understood or handled gets no answer.
async fn execute<S: Service>(
    executor: &mut Executor<S>,
    commands: Vec<wire::Command>,
    trace: Option<&str>,
) -> Result<Vec<wire::Outcome>, Status> {
    let mut deliveries = Vec::with_capacity(commands.len());
    for message in commands {
        match Command::check(message, trace.map(ToOwned::to_owned)) {
            Ok(command) => deliveries.push(Delivery { command, origin: Streamed }),
            Err(malformed) => tracing::warn!("a streamed command is not answered: {malformed}"),
        }
    }
    let mut outcomes = Vec::with_capacity(deliveries.len());
    for wave in wave::cut(deliveries) {
        let ended = executor.execute(wave).await.map_err(|_| Status::unavailable("stopping"))?;
        for (item, end) in ended {
            ingress::count(&item.command, &end, item.origins.len());
            match end {
                End::Answered(answer) => {
                    let outcome = Reply::to(&item.command, answer).outcome(S::NAME);
                    outcomes.extend(std::iter::repeat_n(outcome, item.origins.len()));
                }
                End::Poisoned { reason, .. } => tracing::warn!(reason, "a streamed command is not answered"),
                End::Waits => {}
            }
        }
    }
    Ok(outcomes)
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
