//! Sagas that take no inputs are let go on.

use skald_proto::{
    admin::v1 as admin,
    order::v1::OrderStatus,
    participant::v1::{Rejected, Verb, outcome::Answer},
};
use tonic::Code;

use super::{request, retry};
use crate::{
    grpc::{bad_fields, refused},
    support::{DEADLINE, Participant, World, yes},
};

fn release(saga: &str, request_id: &str) -> admin::ReleaseQuarantineRequest {
    admin::ReleaseQuarantineRequest {
        saga_id: saga.into(),
        request_id: request_id.into(),
        actor: "ada".into(),
        reason: "mended".into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quarantined_order_goes_on_after_its_release() {
    let world = World::start_with(|c| c.driver.scan_every_ms = 100).await;
    let kafka = &world.config.kafka;
    let inventory = Participant::start(kafka, "inventory", |_| None).await;
    let _payment = Participant::start(kafka, "payment", |c| Some(yes(c))).await;
    let id = world.submit("k").await;
    let command = inventory.command(&id, "reserve", Verb::Run).await;
    // PostgreSQL stores no NUL in a text.
    let nul = Answer::Rejected(Rejected { code: "A\0B".into(), ..Default::default() });
    inventory.speaker().say(&command, nul, None);
    skald_harness::eventually("the quarantine", DEADLINE, async || {
        (!world.saga(&id).await.quarantine.is_empty()).then_some(())
    })
    .await;
    let page =
        world.admin().explain(admin::ExplainRequest { saga_id: id.clone() }).await.unwrap().into_inner();
    assert!(page.stands.contains("quarantined: ") && page.possible.is_empty(), "{page:?}");
    refused(world.admin().act(request(&id, 1, "a", retry(""))).await, Code::FailedPrecondition);
    let answer = world.admin().release_quarantine(release(&id, "r1")).await.unwrap().into_inner();
    assert!(answer.released);
    let again = world.admin().release_quarantine(release(&id, "r1")).await.unwrap().into_inner();
    assert!(again.released, "the first answer");
    let nothing = world.admin().release_quarantine(release(&id, "r2")).await.unwrap().into_inner();
    assert!(!nothing.released);
    let left: i64 = sqlx::query_scalar("select count(*) from attention where kind = 'QUARANTINED'")
        .fetch_one(&mut world.sql().await)
        .await
        .unwrap();
    assert_eq!(left, 0);
    // The command is sent again, and this time its answer can be stored.
    skald_harness::eventually("it is sent again", DEADLINE, async || {
        (inventory.asked(&id).len() > 1).then_some(())
    })
    .await;
    inventory.speaker().say(&command, yes(&command), None);
    let commit = inventory.command(&id, "commit", Verb::Run).await;
    inventory.speaker().say(&commit, yes(&commit), None);
    world.until(&id, OrderStatus::Completed).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_release_is_said() {
    let world = World::start().await;
    let bad = world.admin().release_quarantine(admin::ReleaseQuarantineRequest::default()).await.unwrap_err();
    assert_eq!(bad_fields(&bad), ["saga_id", "request_id", "actor", "reason"]);
    let nobody = release(&uuid::Uuid::nil().to_string(), "r");
    refused(world.admin().release_quarantine(nobody).await, Code::NotFound);
    world.stop().await;
}
