//! Operators as good clients: what got no answer is said again with the same request_id, at the next orchestrator.

use skald_proto::admin::v1::{self as admin, action::Verb, admin_service_client::AdminServiceClient};
use tonic::{Code, Status, transport::Channel};
use uuid::Uuid;

use super::{
    LIMIT,
    world::{Kind, World},
};

/// An operator's way to every orchestrator. Clones share nothing but the connections.
#[derive(Clone)]
pub(crate) struct Desk {
    channels: Vec<Channel>,
}

impl Desk {
    pub(crate) fn new(world: &World) -> Desk {
        Desk { channels: world.all(Kind::Orchestrator).iter().map(|service| service.channel()).collect() }
    }

    /// A client of an instance.
    pub(crate) fn client(&self, n: usize) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channels[n % self.channels.len()].clone())
    }

    /// Acts on the version that is given, first at instance `n`, and says it again until there is an answer.
    ///
    /// # Errors
    /// It was refused.
    pub(crate) async fn act(
        &self,
        n: usize,
        saga: Uuid,
        version: i32,
        verb: Verb,
    ) -> Result<admin::ActResponse, Status> {
        let request = request(saga, version, &skald_harness::unique("act"), verb);
        let mut turn = n;
        skald_harness::eventually("an answer to an act", LIMIT, async || {
            let said = self.client(turn).act(request.clone()).await;
            turn += 1;
            match said {
                Ok(answer) => Ok(Ok(answer.into_inner())),
                Err(status) if is_no_answer(&status) => Err(status),
                Err(status) => Ok(Err(status)),
            }
        })
        .await
    }
}

/// As somebody on call would send it.
pub(crate) fn request(saga: Uuid, version: i32, request_id: &str, verb: Verb) -> admin::ActRequest {
    admin::ActRequest {
        saga_id: saga.to_string(),
        expected_version: version,
        request_id: request_id.into(),
        actor: "ada".into(),
        reason: "because".into(),
        dry_run: false,
        action: Some(admin::Action { verb: Some(verb) }),
    }
}

/// It may or may not have been done: to be said again.
fn is_no_answer(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::Cancelled
            | Code::Unknown
            | Code::Internal
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
    )
}
