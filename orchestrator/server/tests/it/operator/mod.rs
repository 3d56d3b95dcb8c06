//! The operator's desk, against real PostgreSQL and Kafka.

mod act;
mod attention;
mod bulk;
mod definitions;
mod explain;
mod freeze;
mod letters;
mod migrate;
mod quarantine;
mod redrive;
mod resolve;
mod sagas;
mod unreadable;

use skald_proto::admin::v1::{self as admin, action::Verb};

use crate::support::World;

/// An action on a saga, as somebody on call would send it.
pub(crate) fn request(saga: &str, version: i32, request_id: &str, verb: Verb) -> admin::ActRequest {
    admin::ActRequest {
        saga_id: saga.into(),
        expected_version: version,
        request_id: request_id.into(),
        actor: "ada".into(),
        reason: "because".into(),
        dry_run: false,
        action: Some(admin::Action { verb: Some(verb) }),
    }
}

pub(crate) fn retry(step: &str) -> Verb {
    Verb::Retry(admin::Retry { step: step.into() })
}

pub(crate) fn skip(step: &str) -> Verb {
    Verb::Skip(admin::Skip { step: step.into(), evidence: "seen at the bank".into(), ..Default::default() })
}

pub(crate) fn resolve(step: &str) -> Verb {
    Verb::Resolve(admin::Resolve { step: step.into(), evidence: "refunded by hand".into(), unfenced: false })
}

impl World {
    /// Foresees an action and does it: it must do what was foreseen.
    pub(crate) async fn act(&self, saga: &str, verb: Verb) -> admin::ActResponse {
        let version = self.saga(saga).await.version;
        let request = request(saga, version, &skald_harness::unique("act"), verb);
        let dry = admin::ActRequest { dry_run: true, ..request.clone() };
        let foreseen = self.admin().act(dry).await.unwrap().into_inner();
        assert_eq!(self.saga(saga).await.version, version, "a dry run changes nothing");
        let done = self.admin().act(request).await.unwrap().into_inner();
        assert_eq!((foreseen.version, done.version), (version, version + 1));
        assert_eq!((&foreseen.commands, &foreseen.steps), (&done.commands, &done.steps));
        done
    }
}
