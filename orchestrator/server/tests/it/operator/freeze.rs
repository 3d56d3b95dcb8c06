//! Participants that get no commands.

use skald_proto::{admin::v1 as admin, order::v1::OrderStatus, saga::v1::SagaStatus};
use tonic::Code;

use crate::{
    course::define,
    grpc::{bad_fields, refused},
    replay,
    support::{DEADLINE, Participant, World, yes},
};

fn freeze(participant: &str, request_id: &str) -> admin::FreezeParticipantRequest {
    admin::FreezeParticipantRequest {
        participant: participant.into(),
        request_id: request_id.into(),
        actor: "ada".into(),
        reason: "the bank is on fire".into(),
    }
}

fn thaw(participant: &str, request_id: &str) -> admin::ThawParticipantRequest {
    let freeze = freeze(participant, request_id);
    let admin::FreezeParticipantRequest { participant, request_id, actor, reason } = freeze;
    admin::ThawParticipantRequest { participant, request_id, actor, reason }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_participant_gets_nothing_and_a_thaw_is_a_ramp() {
    const ORDERS: usize = 30;
    let world = World::start_with(|c| c.driver.ramp_per_second = 1000.0).await;
    let two = World::start_on(world.config.clone()).await;
    let kafka = &world.config.kafka;
    let inventory = Participant::start(kafka, "inventory", |c| Some(yes(c))).await;
    let payment = Participant::start(kafka, "payment", |c| Some(yes(c))).await;
    let frozen = world.admin().freeze_participant(freeze("payment", "f1")).await.unwrap().into_inner();
    assert_eq!(frozen.participant.unwrap().frozen_by, "ada");
    // The other instance learns of it from the table.
    skald_harness::eventually("the other instance knows", DEADLINE, async || {
        let all =
            two.admin().list_participants(admin::ListParticipantsRequest {}).await.unwrap().into_inner();
        all.participants.into_iter().find(|p| p.name == "payment")?.frozen_at
    })
    .await;
    let mut ids = Vec::new();
    for n in 0..ORDERS {
        ids.push(if n % 2 == 0 { &world } else { &two }.submit(&format!("k{n}")).await);
    }
    for id in &ids {
        world.until(id, OrderStatus::Reserved).await;
    }
    world.beats(2).await;
    assert_eq!(payment.seen.lock().unwrap().len(), 0);
    let page = world.admin().explain(admin::ExplainRequest { saga_id: ids[0].clone() }).await.unwrap();
    let wait = page.into_inner().waits.pop().unwrap();
    assert!(wait.frozen && wait.text.contains("payment is frozen"), "{wait:?}");
    // What would go there is marked: it waits.
    let version = world.saga(&ids[0]).await.version;
    let compensate = admin::action::Verb::Compensate(admin::Compensate {});
    let dry = admin::ActRequest { dry_run: true, ..super::request(&ids[0], version, "dry", compensate) };
    let foreseen = world.admin().act(dry).await.unwrap().into_inner();
    let marks: Vec<_> = foreseen.commands.iter().map(|c| (c.participant.as_str(), c.frozen)).collect();
    assert_eq!(marks, [("payment", true)], "reserve is undone after it");
    let thawed = world.admin().thaw_participant(thaw("payment", "t1")).await.unwrap().into_inner();
    let thawed = thawed.participant.unwrap();
    assert!(thawed.frozen_at.is_none() && thawed.ramp_until.is_some(), "{thawed:?}");
    world.all_complete(&ids).await;
    assert_eq!(payment.seen.lock().unwrap().len(), ORDERS, "each charge once");
    assert_eq!(inventory.seen.lock().unwrap().len(), 2 * ORDERS);
    replay::every_history(&world).await;
    world.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_has_just_begun_knows_who_is_frozen() {
    // So late that only what is read at the start can tell.
    let world = World::start_with(|c| c.driver.scan_every_ms = 60_000).await;
    let inventory = Participant::start(&world.config.kafka, "inventory", |_| None).await;
    world.admin().freeze_participant(freeze("inventory", "f1")).await.unwrap();
    let config = world.config.clone();
    world.stop().await;
    let world = World::start_on(config).await;
    let all = world.admin().list_participants(admin::ListParticipantsRequest {}).await.unwrap().into_inner();
    assert!(all.participants[0].frozen_at.is_some(), "{all:?}");
    world.submit("k").await;
    world.beats(1).await;
    assert_eq!(inventory.seen.lock().unwrap().len(), 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_deadline_fires_for_a_frozen_participant() {
    let world = World::start_with(|c| {
        let text = r#"
            name = "hurried"
            version = 1
            max_age = "1d"
            step = [{ name = "one", participant = "slow", action = "go", undo = "back", deadline = "1s" }]
        "#;
        define(c, "hurried", text);
        c.driver.scan_every_ms = 100;
    })
    .await;
    world.admin().freeze_participant(freeze("slow", "f1")).await.unwrap();
    let id = world.start_saga("hurried", "k").await;
    let postponed = skald_harness::eventually("the deadline counts anew, twice", DEADLINE, async || {
        let saga = world.saga(&id).await;
        if saga.version >= 3 { Ok(saga) } else { Err(saga.version) }
    })
    .await;
    assert_eq!((postponed.status(), postponed.reason.as_str()), (SagaStatus::Running, ""));
    world.admin().thaw_participant(thaw("slow", "t1")).await.unwrap();
    let turned = skald_harness::eventually("its deadline fires", DEADLINE, async || {
        let saga = world.saga(&id).await;
        (saga.reason == "EXPIRED").then_some(saga)
    })
    .await;
    assert_eq!(turned.status(), SagaStatus::Compensating);
    replay::every_history(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_known_can_t_be_frozen_and_a_repeat_changes_nothing() {
    let world = World::start().await;
    let bad = world.admin().freeze_participant(freeze("nobody", "")).await.unwrap_err();
    assert_eq!(bad_fields(&bad), ["request_id", "participant"]);
    world.admin().freeze_participant(freeze("payment", "f1")).await.unwrap();
    world.admin().thaw_participant(thaw("payment", "t1")).await.unwrap();
    let again = world.admin().freeze_participant(freeze("payment", "f1")).await.unwrap().into_inner();
    assert!(again.repeated && again.participant.unwrap().frozen_at.is_some(), "the first answer");
    refused(world.admin().freeze_participant(freeze("inventory", "f1")).await, Code::AlreadyExists);
    let all = world.admin().list_participants(admin::ListParticipantsRequest {}).await.unwrap().into_inner();
    assert!(all.participants.iter().all(|p| p.frozen_at.is_none()), "it was thawed since: {all:?}");
    assert_eq!(
        all.participants.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(),
        ["inventory", "payment"]
    );
    world.stop().await;
}
