//! Many sagas at a rate.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use skald_proto::{
    admin::v1::{self as admin, BulkState, action::Verb},
    participant::v1::{Failed, outcome::Answer},
    saga::v1::SagaStatus,
};
use tonic::Code;

use super::retry;
use crate::{
    grpc::{bad_fields, refused},
    replay,
    support::{DEADLINE, Participant, World, yes},
};

/// Orders whose charge failed for good, and a switch that mends payment.
async fn parked(world: &World, orders: usize) -> (Vec<String>, [Participant; 2], Arc<AtomicBool>) {
    let kafka = &world.config.kafka;
    let mended = Arc::new(AtomicBool::new(false));
    let inventory = Participant::start(kafka, "inventory", |c| Some(yes(c))).await;
    let well = Arc::clone(&mended);
    let payment = Participant::start(kafka, "payment", move |c| {
        let down = Failed { code: "UNRESOLVED".into(), message: "ask the bank".into(), ..Default::default() };
        Some(if well.load(Ordering::Relaxed) { yes(c) } else { Answer::Failed(down) })
    })
    .await;
    let mut ids = Vec::new();
    for n in 0..orders {
        ids.push(world.submit(&format!("k{n}")).await);
    }
    for id in &ids {
        world.until_saga(id, SagaStatus::Parked).await;
    }
    (ids, [inventory, payment], mended)
}

fn job(request_id: &str, verb: Verb, per_second: f64) -> admin::StartBulkRequest {
    admin::StartBulkRequest {
        filter: Some(admin::BulkFilter {
            definition: "order".into(),
            parked_participant: "payment".into(),
            parked_code: "UNRESOLVED".into(),
            ..Default::default()
        }),
        action: Some(admin::Action { verb: Some(verb) }),
        per_second,
        request_id: request_id.into(),
        actor: "ada".into(),
        reason: "the bank is back".into(),
        dry_run: false,
    }
}

async fn progress(world: &World, request_id: &str) -> admin::Bulk {
    let request = admin::GetBulkRequest { request_id: request_id.into() };
    world.admin().get_bulk(request).await.unwrap().into_inner().bulk.unwrap()
}

async fn until(world: &World, request_id: &str, state: BulkState) -> admin::Bulk {
    skald_harness::eventually(&format!("{state:?}"), DEADLINE, async || {
        let bulk = progress(world, request_id).await;
        if bulk.state() == state { Ok(bulk) } else { Err(bulk) }
    })
    .await
}

fn change(request_id: &str, state: BulkState) -> admin::ChangeBulkRequest {
    admin::ChangeBulkRequest {
        request_id: request_id.into(),
        state: state.into(),
        actor: "ada".into(),
        reason: "wait".into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_foreseen_paused_and_survives_the_instance_that_began_it() {
    const ORDERS: usize = 24;
    let survivor = World::start().await;
    let (ids, _participants, mended) = parked(&survivor, ORDERS).await;
    let (began, runtime) = World::start_doomed(survivor.config.clone()).await;

    let dry = admin::StartBulkRequest { dry_run: true, ..job("j", retry(""), 4.0) };
    let foreseen = began.admin().start_bulk(dry).await.unwrap().into_inner();
    assert_eq!((foreseen.count, foreseen.bulk, foreseen.examples.len()), (ORDERS as i64, None, 5));
    let sent = &foreseen.examples[0].commands[0];
    assert_eq!((foreseen.examples[0].saga_id.as_str(), sent.verb.as_str()), (ids[0].as_str(), "RUN"));
    assert_eq!(survivor.saga(&ids[0]).await.status(), SagaStatus::Parked, "nothing was changed");

    mended.store(true, Ordering::Relaxed);
    let started = began.admin().start_bulk(job("j", retry(""), 4.0)).await.unwrap().into_inner();
    assert_eq!(started.count, ORDERS as i64);
    // One has moved on by the time that its turn comes.
    survivor.act(&ids[ORDERS - 1], Verb::Cancel(admin::Cancel {})).await;
    skald_harness::eventually("some were acted on", DEADLINE, async || {
        (progress(&survivor, "j").await.done > 0).then_some(())
    })
    .await;
    survivor.admin().change_bulk(change("j", BulkState::Paused)).await.unwrap();
    survivor.beats(2).await;
    let paused = progress(&survivor, "j").await;
    assert!(paused.done < ORDERS as i64 - 1, "{paused:?}");
    survivor.beats(2).await;
    assert_eq!(progress(&survivor, "j").await.done, paused.done, "a pause is one");
    runtime.shutdown_background();
    survivor.admin().change_bulk(change("j", BulkState::Running)).await.unwrap();
    let done = until(&survivor, "j", BulkState::Done).await;
    assert_eq!((done.total, done.done, done.moved, done.refused), (ORDERS as i64, ORDERS as i64 - 1, 1, 0));
    survivor.all_complete(&ids[..ORDERS - 1]).await;
    let again = survivor.admin().start_bulk(job("j", retry(""), 4.0)).await.unwrap().into_inner();
    assert_eq!(again.bulk.unwrap().state(), BulkState::Done, "the name stands for this job");
    refused(survivor.admin().change_bulk(change("j", BulkState::Running)).await, Code::FailedPrecondition);
    let other = job("j", Verb::Pause(admin::Pause {}), 4.0);
    refused(survivor.admin().start_bulk(other).await, Code::AlreadyExists);
    replay::every_history(&survivor).await;
    survivor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_t_be_done_is_counted_and_an_abort_leaves_the_rest_alone() {
    let world = World::start().await;
    let (ids, _participants, _mended) = parked(&world, 3).await;
    let resume = job("refused", Verb::Resume(admin::Resume {}), 100.0);
    let dry = admin::StartBulkRequest { dry_run: true, ..resume.clone() };
    let foreseen = world.admin().start_bulk(dry).await.unwrap().into_inner();
    assert!(foreseen.examples[0].refused.contains("not paused"), "{foreseen:?}");
    world.admin().start_bulk(resume).await.unwrap();
    let done = until(&world, "refused", BulkState::Done).await;
    assert_eq!((done.done, done.refused, done.refusals.len()), (0, 3, 3));
    assert!(done.refusals[0].why.contains("not paused"), "{done:?}");

    world.admin().start_bulk(job("aborted", Verb::Compensate(admin::Compensate {}), 0.1)).await.unwrap();
    let aborted =
        world.admin().change_bulk(change("aborted", BulkState::Aborted)).await.unwrap().into_inner();
    let bulk = aborted.bulk.unwrap();
    assert!(bulk.done <= 1, "{bulk:?}");
    world.beats(2).await;
    assert_eq!(progress(&world, "aborted").await.done, bulk.done);
    assert_eq!(world.saga(&ids[2]).await.status(), SagaStatus::Parked);
    let all = world.admin().list_bulks(admin::ListBulksRequest {}).await.unwrap().into_inner().bulks;
    assert_eq!(all.iter().map(|b| b.request_id.as_str()).collect::<Vec<_>>(), ["aborted", "refused"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_job_is_said() {
    let world = World::start().await;
    let bad = world.admin().start_bulk(admin::StartBulkRequest::default()).await.unwrap_err();
    assert_eq!(bad_fields(&bad), ["request_id", "actor", "reason", "action", "per_second", "filter"]);
    let nobody = admin::GetBulkRequest { request_id: "nobody".into() };
    refused(world.admin().get_bulk(nobody).await, Code::NotFound);
    let bad = world.admin().change_bulk(change("j", BulkState::Done)).await.unwrap_err();
    assert_eq!(bad_fields(&bad), ["state"]);
    refused(world.admin().change_bulk(change("nobody", BulkState::Paused)).await, Code::NotFound);
    world.stop().await;
}
