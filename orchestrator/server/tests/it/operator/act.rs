//! Verbs on one saga.

use skald_proto::{
    admin::v1::{self as admin, action::Verb},
    order::v1::OrderStatus,
    participant::v1::{self as participant, Failed, outcome::Answer},
    saga::v1::{SagaStatus, StepStatus},
};
use tonic::Code;

use super::{request, resolve, retry, skip};
use crate::{
    grpc::{bad_fields, refused},
    replay,
    support::{DEADLINE, Participant, World, later, yes},
};

fn unresolved() -> Answer {
    Answer::Failed(Failed { code: "UNRESOLVED".into(), message: "ask the bank".into(), ..Default::default() })
}

/// An order whose charge failed for good, and the payment that says so until it is told otherwise.
async fn parked(world: &World) -> (String, [Participant; 2]) {
    let kafka = &world.config.kafka;
    let inventory = Participant::start(kafka, "inventory", |c| Some(yes(c))).await;
    let payment = Participant::start(kafka, "payment", |c| match (c.verb(), c.attempt) {
        (participant::Verb::Run, 1) => Some(unresolved()),
        (participant::Verb::SealRun, _) => Some(Answer::Sealed(participant::Sealed {})),
        (participant::Verb::SealUndo, _) => Some(Answer::Fenced(participant::Fenced {})),
        (participant::Verb::Undo, _) => Some(unresolved()),
        _ => Some(yes(c)),
    })
    .await;
    let id = world.submit("k").await;
    world.until_saga(&id, SagaStatus::Parked).await;
    (id, [inventory, payment])
}

async fn attention(world: &World, id: &str) -> Vec<(String, String, String)> {
    let rows = "select step, kind, code from attention where saga_id = $1::uuid order by step, kind";
    sqlx::query_as(rows).bind(id).fetch_all(&mut world.sql().await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_sends_the_same_command_again_and_the_order_goes_on() {
    let world = World::start().await;
    let (id, [_inventory, payment]) = parked(&world).await;
    assert_eq!(attention(&world, &id).await.len(), 1);
    let done = world.act(&id, retry("charge")).await;
    let sent = &done.commands[0];
    assert_eq!((sent.verb.as_str(), sent.participant.as_str(), sent.attempt), ("RUN", "payment", 2));
    world.until(&id, OrderStatus::Completed).await;
    assert_eq!(attention(&world, &id).await, []);
    let ids: std::collections::BTreeSet<_> =
        payment.seen.lock().unwrap().iter().map(|c| c.command_id.clone()).collect();
    assert_eq!(ids.len(), 1, "the same command");
    // Who, why and what stand in the history and in the table of actions.
    let told: (String, String, String) =
        sqlx::query_as("select verb, actor, reason from operator_action where saga_id = $1::uuid")
            .bind(&id)
            .fetch_one(&mut world.sql().await)
            .await
            .unwrap();
    assert_eq!(told, ("RETRY".into(), "ada".into(), "because".into()));
    let actor: String = sqlx::query_scalar("select actor from history where saga_id = $1::uuid and kind = 7")
        .bind(&id)
        .fetch_one(&mut world.sql().await)
        .await
        .unwrap();
    assert_eq!(actor, "operator:ada");
    replay::every_history(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_skipped_step_is_sealed_vouched_for_and_undone_by_hand() {
    let world = World::start().await;
    let (id, [_inventory, payment]) = parked(&world).await;
    let done = world.act(&id, skip("charge")).await;
    assert_eq!(done.commands[0].verb, "SEAL_RUN");
    world.until(&id, OrderStatus::Completed).await;
    let charge = world.saga(&id).await.steps.into_iter().find(|s| s.name == "charge").unwrap();
    assert_eq!((charge.status(), charge.vouched), (StepStatus::Succeeded, true));
    assert_eq!(attention(&world, &id).await, [("charge".into(), "VOUCHED".into(), "VOUCHED".into())]);
    let asked = payment.asked(&id);
    assert_eq!(asked.last().unwrap(), &("charge".into(), participant::Verb::SealRun, 1));
    // It stays visible, and what comes to contradict it calls a person.
    let run = payment.command(&id, "charge", participant::Verb::Run).await;
    payment.speaker().say(&run, yes(&run), None);
    let saga = world.until_saga(&id, SagaStatus::Parked).await;
    assert!(saga.parked.starts_with("CONTRADICTION"), "{}", saga.parked);
    world.act(&id, resolve("")).await;
    assert_eq!(world.saga(&id).await.status(), SagaStatus::Completed);
    replay::every_history(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_failed_for_good_is_fenced_and_done_by_hand() {
    let world = World::start().await;
    let (id, _participants) = parked(&world).await;
    world.act(&id, Verb::Compensate(admin::Compensate {})).await;
    let saga = skald_harness::eventually("the refund parks", DEADLINE, async || {
        let saga = world.saga(&id).await;
        (saga.status() == SagaStatus::Parked && saga.reason == "OPERATOR").then_some(saga)
    })
    .await;
    let charge = saga.steps.iter().find(|s| s.name == "charge").unwrap();
    assert_eq!((charge.status(), charge.parked.as_str()), (StepStatus::Undoing, "UNRESOLVED: ask the bank"));
    let done = world.act(&id, resolve("charge")).await;
    assert_eq!(done.commands[0].verb, "SEAL_UNDO");
    let order = world.until(&id, OrderStatus::Cancelled).await;
    assert_eq!(order.reason, "OPERATOR");
    let charge = world.saga(&id).await.steps.into_iter().find(|s| s.name == "charge").unwrap();
    assert_eq!((charge.status(), charge.vouched), (StepStatus::Undone, true));
    replay::every_history(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_holds_an_order_until_it_is_resumed() {
    let world = World::start().await;
    let [inventory, payment] = world.yes().await;
    let id = world.place(later("k")).await;
    world.until(&id, OrderStatus::Reserved).await;
    world.act(&id, Verb::Pause(admin::Pause {})).await;
    let pay = skald_proto::order::v1::PayOrderRequest {
        order_id: id.clone(),
        payment_token: "tok".into(),
        request_id: "p".into(),
    };
    world.orders().pay_order(pay).await.unwrap();
    let saga = world.saga(&id).await;
    assert_eq!((saga.status(), payment.asked(&id)), (SagaStatus::Paused, vec![]));
    let resumed = world.act(&id, Verb::Resume(admin::Resume {})).await;
    assert_eq!(resumed.commands[0].action, "charge");
    world.until(&id, OrderStatus::Completed).await;
    assert_eq!((payment.asked(&id).len(), inventory.asked(&id).len()), (1, 2));
    replay::every_history(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_stands_for_one_action() {
    let world = World::start().await;
    let (id, [_inventory, payment]) = parked(&world).await;
    let version = world.saga(&id).await.version;
    let first = request(&id, version, "r1", retry("charge"));
    let done = world.admin().act(first.clone()).await.unwrap().into_inner();
    world.until(&id, OrderStatus::Completed).await;
    let again = world.admin().act(first.clone()).await.unwrap().into_inner();
    assert_eq!(again, admin::ActResponse { repeated: true, ..done });
    assert_eq!(payment.asked(&id).len(), 2, "and nothing was done again");
    let other = admin::ActRequest { reason: "another".into(), ..first };
    refused(world.admin().act(other).await, Code::AlreadyExists);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_operators_one_acts_and_the_other_is_told_what_happened() {
    let world = World::start().await;
    let (id, _participants) = parked(&world).await;
    let version = world.saga(&id).await.version;
    let (mut one, mut two) = (world.admin(), world.admin());
    let both = tokio::join!(
        one.act(request(&id, version, "one", Verb::Compensate(admin::Compensate {}))),
        two.act(request(&id, version, "two", skip("charge"))),
    );
    let (won, lost) = match both {
        (Ok(won), Err(lost)) | (Err(lost), Ok(won)) => (won.into_inner(), lost),
        other => panic!("one of them wins: {other:?}"),
    };
    assert_eq!(won.version, version + 1);
    assert_eq!(lost.code(), Code::Aborted, "{lost:?}");
    let stale =
        refused(world.admin().act(request(&id, version, "three", retry("charge"))).await, Code::Aborted);
    assert!(stale.message().contains("operator:ada") && stale.message().contains("because"), "{stale:?}");
    // What was refused is kept, and repeated; a new request is judged anew.
    let again =
        refused(world.admin().act(request(&id, version, "three", retry("charge"))).await, Code::Aborted);
    assert_eq!(again.message(), stale.message());
    let acts = "select request_id, refused_code, refused from operator_action order by at";
    let acts: Vec<(String, Option<i32>, Option<String>)> =
        sqlx::query_as(acts).fetch_all(&mut world.sql().await).await.unwrap();
    let aborted = |message: &str| (Some(Code::Aborted as i32), Some(message.to_owned()));
    let mut kept: Vec<_> = acts.into_iter().map(|(_, code, why)| (code, why)).collect();
    kept.sort();
    let mut expected = [(None, None), aborted(lost.message()), aborted(stale.message())];
    expected.sort();
    assert_eq!(kept, expected);
    replay::every_history(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_t_be_done_is_refused_and_changes_nothing() {
    let world = World::start().await;
    let _yes = world.yes().await;
    let id = world.submit("k").await;
    let version = world.until(&id, OrderStatus::Completed).await.version;
    let not = |verb| request(&id, version, &skald_harness::unique("not"), verb);
    let status = refused(
        world.admin().act(not(Verb::Compensate(admin::Compensate {}))).await,
        Code::FailedPrecondition,
    );
    assert!(status.message().contains("a return is a new saga; it is COMPLETED"), "{status:?}");
    for verb in [retry("charge"), skip("charge"), resolve("charge"), Verb::Resume(admin::Resume {})] {
        for dry_run in [true, false] {
            let request = admin::ActRequest { dry_run, ..not(verb.clone()) };
            refused(world.admin().act(request).await, Code::FailedPrecondition);
        }
    }
    // A refusal with details is repeated with them, and is one action's alone; a dry run is not kept.
    let first = not(retry("charge"));
    let told = refused(world.admin().act(first.clone()).await, Code::FailedPrecondition);
    let again = refused(world.admin().act(first.clone()).await, Code::FailedPrecondition);
    assert_eq!((told.message(), told.details()), (again.message(), again.details()));
    assert!(!told.details().is_empty());
    let other = admin::ActRequest { reason: "another".into(), ..first };
    refused(world.admin().act(other).await, Code::AlreadyExists);
    let kept: Vec<(String, i64)> =
        sqlx::query_as("select verb, count(*) from operator_action group by verb order by verb")
            .fetch_all(&mut world.sql().await)
            .await
            .unwrap();
    let kept: Vec<_> = kept.iter().map(|(verb, n)| (verb.as_str(), *n)).collect();
    assert_eq!(kept, [("COMPENSATE", 1), ("RESOLVE", 1), ("RESUME", 1), ("RETRY", 2), ("SKIP", 1)]);
    refused(world.admin().act(not(retry("nowhere"))).await, Code::InvalidArgument);
    let unknown = request(&uuid::Uuid::nil().to_string(), 1, "r", retry(""));
    refused(world.admin().act(unknown).await, Code::NotFound);
    let empty = admin::ActRequest { saga_id: "x".into(), ..Default::default() };
    let bad = world.admin().act(empty).await.unwrap_err();
    assert_eq!(bad_fields(&bad), ["saga_id", "request_id", "actor", "reason", "expected_version", "action"]);
    let vague = Verb::Skip(admin::Skip::default());
    let bad = world.admin().act(not(vague)).await.unwrap_err();
    assert_eq!(bad_fields(&bad), ["action.skip.step", "action.skip.evidence"]);
    assert_eq!(world.saga(&id).await.version, version);
    world.stop().await;
}
