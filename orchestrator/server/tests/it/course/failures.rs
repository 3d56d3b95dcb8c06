//! Participants that can't, or won't: retried, undone, parked.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use skald_proto::{
    inventory::v1::{OutOfStock, Shortage},
    order::v1::{MissingItem, OrderStatus},
    participant::v1::{Failed, Rejected, Verb, outcome::Answer},
    saga::v1::{SagaStatus, StepStatus},
};

use super::order_with;
use crate::{
    replay,
    support::{DEADLINE, Participant, Reader, World, no, yes},
};

fn failed(code: &str, retryable: bool) -> Answer {
    Answer::Failed(Failed { code: code.into(), message: "not now".into(), retryable, retry_after_ms: 0 })
}

async fn attention(world: &World, id: &str) -> Vec<(String, String, Option<String>, String, String)> {
    let rows =
        "select step, kind, participant, code, message from attention where saga_id = $1::uuid order by step";
    sqlx::query_as(rows).bind(id).fetch_all(&mut world.sql().await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn out_of_stock_names_what_is_missing() {
    let world = World::start().await;
    let shortage = || Shortage { sku: "A".into(), requested: 1, available: 0 };
    let detail = move || prost_types::Any::from_msg(&OutOfStock { missing: vec![shortage()] }).unwrap();
    let inventory = Participant::start(&world.config.kafka, "inventory", move |_| {
        Some(Answer::Rejected(Rejected {
            code: "OUT_OF_STOCK".into(),
            message: "none left".into(),
            detail: Some(detail()),
        }))
    })
    .await;
    let events = Reader::of(&world.config.kafka, "orders.events");
    let id = world.submit("k").await;
    let order = world.until(&id, OrderStatus::Cancelled).await;
    assert_eq!(order.reason, "OUT_OF_STOCK");
    assert_eq!(order.missing, [MissingItem { sku: "A".into(), requested: 1, available: 0 }]);
    assert_eq!(inventory.asked(&id), [("reserve".into(), Verb::Run, 1)], "nothing to undo");
    let told = ["order.created", "order.status.changed", "order.cancelled"];
    let cancelled = skald_harness::eventually("every event", DEADLINE, async || {
        let kinds = events.kinds(&id);
        if kinds == told { events.order_events(&id).pop() } else { None }
    })
    .await;
    assert_eq!((cancelled.reason, cancelled.missing), (order.reason, order.missing));
    replay::every_history(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_tried_again_after_a_back_off() {
    let world = World::start().await;
    let inventory = Participant::start(&world.config.kafka, "inventory", |c| {
        Some(if c.attempt < 3 && c.step == "reserve" { failed("BUSY", true) } else { yes(c) })
    })
    .await;
    let _payment = Participant::start(&world.config.kafka, "payment", |c| Some(yes(c))).await;
    let id = world.submit("k").await;
    let waiting = skald_harness::eventually("the back-off shows", DEADLINE, async || {
        let step = world.saga(&id).await.steps.swap_remove(0);
        step.last_error.clone().map(|error| (step, error))
    })
    .await;
    assert_eq!((waiting.0.status(), waiting.1.code.as_str()), (StepStatus::Running, "BUSY"));
    world.until(&id, OrderStatus::Completed).await;
    let asked = inventory.asked(&id);
    let reserve = |attempt| ("reserve".to_owned(), Verb::Run, attempt);
    assert_eq!(asked[..3], [reserve(1), reserve(2), reserve(3)]);
    let ids: std::collections::BTreeSet<_> = {
        let seen = inventory.seen.lock().unwrap();
        seen.iter().filter(|c| c.step == "reserve").map(|c| c.command_id.clone()).collect()
    };
    assert_eq!(ids.len(), 1, "each attempt is the same command");
    replay::every_history(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_for_good_parks_in_sight_until_it_is_answered() {
    let world = World::start().await;
    let _inventory = Participant::start(&world.config.kafka, "inventory", |c| Some(yes(c))).await;
    let payment =
        Participant::start(&world.config.kafka, "payment", |_| Some(failed("UNRESOLVED", false))).await;
    let id = world.submit("k").await;
    let saga = world.until_saga(&id, SagaStatus::Parked).await;
    let charge = saga.steps.iter().find(|s| s.name == "charge").unwrap();
    assert_eq!(charge.parked, "UNRESOLVED: not now");
    let order = world.order(&id).await;
    assert_eq!((order.status(), order.needs_attention), (OrderStatus::Reserved, true));
    let entry = |code: &str| {
        ("charge".into(), "PARKED".into(), Some("payment".into()), code.into(), "not now".into())
    };
    assert_eq!(attention(&world, &id).await, [entry("UNRESOLVED")]);
    let detail: serde_json::Value = sqlx::query_scalar("select detail from saga where id = $1::uuid")
        .bind(&id)
        .fetch_one(&mut world.sql().await)
        .await
        .unwrap();
    assert_eq!(detail["steps"]["charge"], "UNRESOLVED: not now", "psql at 3 a.m.");

    let command = payment.command(&id, "charge", Verb::Run).await;
    payment.speaker().say(&command, yes(&command), None);
    let order = world.until(&id, OrderStatus::Completed).await;
    assert!(!order.needs_attention);
    assert_eq!(attention(&world, &id).await, []);
    replay::every_history(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_that_keeps_failing_parks_and_goes_on() {
    let retry = "\n[retry]\nfirst = \"100ms\"\nmax = \"100ms\"\nattempts = 2\nslow = \"1s\"\n\n[reasons]";
    let world = World::start_with(|c| order_with(c, &[("\n[reasons]", retry)])).await;
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = Arc::clone(&broken);
    let inventory = Participant::start(&world.config.kafka, "inventory", move |c| {
        let fails = c.verb() == Verb::Undo && is_broken.load(Ordering::Relaxed);
        Some(if fails { failed("DOWN", true) } else { yes(c) })
    })
    .await;
    let _payment = Participant::start(&world.config.kafka, "payment", |_| Some(no("PAYMENT_DECLINED"))).await;
    let id = world.submit("k").await;
    world.until_saga(&id, SagaStatus::Parked).await;
    assert!(world.order(&id).await.needs_attention);
    let rows = attention(&world, &id).await;
    assert_eq!((rows[0].0.as_str(), rows[0].3.as_str()), ("reserve", "DOWN"));
    // Parked is no end: it goes on, slowly.
    skald_harness::eventually("a third attempt", DEADLINE, async || {
        inventory.asked(&id).contains(&("reserve".into(), Verb::Undo, 3)).then_some(())
    })
    .await;
    broken.store(false, Ordering::Relaxed);
    let order = world.until(&id, OrderStatus::Cancelled).await;
    assert_eq!((order.reason.as_str(), order.needs_attention), ("PAYMENT_DECLINED", false));
    assert_eq!(attention(&world, &id).await, []);
    replay::every_history(&world).await;
    world.stop().await;
}
