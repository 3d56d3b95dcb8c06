//! One order, from the submission to the end, and back.

use skald_proto::{order::v1::OrderStatus, participant::v1::Verb};

use crate::support::{Participant, Reader, World, no, yes};

#[tokio::test(flavor = "multi_thread")]
async fn an_order_goes_through_every_step_and_tells_the_world() {
    let world = World::start().await;
    let [inventory, payment] = world.yes().await;
    let events = Reader::of(&world.config.kafka, "orders.events");
    let id = world.submit("one").await;
    let order = world.until(&id, OrderStatus::Completed).await;
    assert_eq!(order.version, 4, "started, reserved, charged, committed");
    assert_eq!(inventory.asked(&id), [("reserve".into(), Verb::Run, 1), ("commit".into(), Verb::Run, 1)]);
    assert_eq!(payment.asked(&id), [("charge".into(), Verb::Run, 1)]);
    let told = ["order.created", "order.reserved", "order.paid", "order.fulfilled", "order.completed"];
    skald_harness::eventually("every event", crate::support::DEADLINE, async || {
        let mut kinds = events.kinds(&id);
        kinds.sort();
        let mut told = told.map(str::to_owned);
        told.sort();
        if kinds == told { Ok(()) } else { Err(kinds) }
    })
    .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declined_order_is_undone() {
    let world = World::start().await;
    let inventory = Participant::start(&world.config.kafka, "inventory", |c| Some(yes(c))).await;
    let _payment = Participant::start(&world.config.kafka, "payment", |_| Some(no("PAYMENT_DECLINED"))).await;
    let id = world.submit("one").await;
    let order = world.until(&id, OrderStatus::Cancelled).await;
    assert_eq!(order.reason, "PAYMENT_DECLINED");
    assert_eq!(inventory.asked(&id), [("reserve".into(), Verb::Run, 1), ("reserve".into(), Verb::Undo, 1)]);
    world.stop().await;
}
