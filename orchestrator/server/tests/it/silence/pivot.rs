//! The pivot's outcome is lost: did it happen? It is asked for as long as it takes.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use skald_proto::{
    order::v1::OrderStatus,
    participant::v1::{Sealed, Verb, outcome::Answer},
    saga::v1::StepStatus,
};

use crate::{
    course::order_with,
    replay,
    support::{Participant, World, yes},
};

/// A world whose pivot gives up soon, and an inventory that never answers it; SEAL is answered at the third time.
async fn lost(answer: fn() -> Answer) -> (World, Participant, Participant) {
    let world = World::start_with(|c| {
        order_with(c, &[("pivot = true", "pivot = true\ndeadline = \"1s\"")]);
        c.driver.resend_gaps_ms = vec![100, 200];
    })
    .await;
    let kafka = &world.config.kafka;
    let asked = Arc::new(AtomicUsize::new(0));
    let inventory = Participant::start(kafka, "inventory", move |c| match (c.step.as_str(), c.verb()) {
        ("commit", Verb::Run) => None,
        ("commit", Verb::SealRun) => (asked.fetch_add(1, Ordering::Relaxed) >= 2).then(answer),
        _ => Some(yes(c)),
    })
    .await;
    let payment = Participant::start(kafka, "payment", |c| Some(yes(c))).await;
    (world, inventory, payment)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_had_happened() {
    let (world, inventory, payment) =
        lost(|| Answer::Succeeded(skald_proto::participant::v1::Succeeded { result: None })).await;
    let id = world.submit("k").await;
    let run = inventory.command(&id, "commit", Verb::Run).await;
    let order = world.until(&id, OrderStatus::Completed).await;
    assert!(!order.needs_attention);
    let mut asked = payment.asked(&id);
    // Slow machines are asked twice.
    asked.dedup();
    assert_eq!(asked, [("charge".into(), Verb::Run, 1)], "nothing is undone");
    let seals = inventory.asked(&id).into_iter().filter(|(_, verb, _)| *verb == Verb::SealRun);
    let seals: Vec<_> = seals.collect();
    assert!(seals.len() >= 3 && seals.iter().all(|s| s.2 == 1), "{seals:?}");
    // The outcome that was lost is found at last: it says what is known.
    inventory.speaker().say(&run, yes(&run), None);
    world.all_finished("skald.inventory.outcomes").await;
    assert_eq!(world.order(&id).await.version, order.version);
    replay::every_history(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_never_happened() {
    let (world, inventory, payment) = lost(|| Answer::Sealed(Sealed {})).await;
    let id = world.submit("k").await;
    let order = world.until(&id, OrderStatus::Cancelled).await;
    assert_eq!(order.reason, "EXPIRED");
    let undone = |p: &Participant| p.asked(&id).into_iter().any(|(_, verb, _)| verb == Verb::Undo);
    assert!(undone(&inventory) && undone(&payment), "goods and money are returned");
    let saga = world.saga(&id).await;
    assert_eq!(saga.steps.last().unwrap().status(), StepStatus::Sealed);
    replay::every_history(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_it_is_open_nobody_cancels() {
    let (world, inventory, _payment) = lost(|| Answer::Sealed(Sealed {})).await;
    let id = world.submit("k").await;
    inventory.command(&id, "commit", Verb::Run).await;
    let cancel = skald_proto::order::v1::CancelOrderRequest { order_id: id.clone(), note: String::new() };
    let status = world.orders().cancel_order(cancel).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    world.until(&id, OrderStatus::Cancelled).await;
    world.stop().await;
}
