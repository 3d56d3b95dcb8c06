//! Signals: later, early, along with the submission, too late.

use skald_proto::{
    order::v1::{self as order, OrderStatus, PaymentMethod},
    participant::v1::Verb,
};

use super::order_with;
use crate::{
    replay,
    support::{Participant, World, draft, later, yes},
};

fn pay(id: &str, token: &str) -> order::PayOrderRequest {
    order::PayOrderRequest { order_id: id.into(), payment_token: token.into(), request_id: String::new() }
}

fn fulfil(id: &str) -> order::FulfilOrderRequest {
    order::FulfilOrderRequest {
        order_id: id.into(),
        seller_id: "seller".into(),
        reference: "track-1".into(),
        request_id: String::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn paid_later_and_fulfilled_by_the_seller() {
    let world = World::start().await;
    let [inventory, payment] = world.yes().await;
    let mut wish = later("k");
    wish.order.as_mut().unwrap().needs_fulfilment = true;
    let id = world.place(wish).await;
    world.until(&id, OrderStatus::Reserved).await;
    assert_eq!(payment.asked(&id), [], "nobody paid");
    let paid = world.orders().pay_order(pay(&id, "tok_later")).await.unwrap().into_inner().order.unwrap();
    assert!(paid.version >= 3);
    world.until(&id, OrderStatus::Paid).await;
    assert_eq!(inventory.asked(&id).len(), 1, "nobody fulfilled");
    world.orders().fulfil_order(fulfil(&id)).await.unwrap();
    world.orders().fulfil_order(fulfil(&id)).await.expect("a repeat is no error");
    world.until(&id, OrderStatus::Completed).await;

    let charge = payment.command(&id, "charge", Verb::Run).await;
    let needed: PaymentMethod = charge.needs[0].result.as_ref().unwrap().to_msg().unwrap();
    assert_eq!((charge.needs[0].step.as_str(), needed.token.as_str()), ("pay", "tok_later"));
    let commit = inventory.command(&id, "commit", Verb::Run).await;
    assert_eq!(commit.needs[0].step, "reserve", "what commit needs");
    let input: order::OrderInput = commit.input.unwrap().to_msg().unwrap();
    assert_eq!((input.total_minor, input.needs_fulfilment), (100, true));
    replay::every_history(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn early_signals_are_kept() {
    let world = World::start().await;
    let inventory = Participant::start(&world.config.kafka, "inventory", |c| {
        if c.step == "reserve" { None } else { Some(yes(c)) }
    })
    .await;
    let _payment = Participant::start(&world.config.kafka, "payment", |c| Some(yes(c))).await;
    let mut wish = later("k");
    wish.order.as_mut().unwrap().needs_fulfilment = true;
    let id = world.place(wish).await;
    let reserve = inventory.command(&id, "reserve", Verb::Run).await;
    // Both before anything was reserved, in the wrong order.
    world.orders().fulfil_order(fulfil(&id)).await.unwrap();
    world.orders().pay_order(pay(&id, "first")).await.unwrap();
    let second = world.orders().pay_order(pay(&id, "second")).await.unwrap_err();
    assert_eq!(second.code(), tonic::Code::FailedPrecondition, "the first one counts");
    assert_eq!(world.order(&id).await.status(), OrderStatus::Pending);
    inventory.speaker().say(&reserve, yes(&reserve), None);
    world.until(&id, OrderStatus::Completed).await;
    replay::every_history(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_nobody_pays_expires_and_is_undone() {
    let world =
        World::start_with(|c| order_with(c, &[("deadline = \"30m\"", "deadline = \"1500ms\"")])).await;
    let [inventory, payment] = world.yes().await;
    let id = world.place(later("k")).await;
    let paid = world.place(later("paid")).await;
    world.orders().pay_order(pay(&paid, "tok")).await.unwrap();
    let order = world.until(&id, OrderStatus::Cancelled).await;
    assert_eq!(order.reason, "EXPIRED");
    assert_eq!(inventory.asked(&id), [("reserve".into(), Verb::Run, 1), ("reserve".into(), Verb::Undo, 1)]);
    assert_eq!(payment.asked(&id), []);
    let fired = sqlx::query_scalar::<_, i64>(
        "select (extract(epoch from h.at - r.at) * 1000)::bigint from history h join history r using (saga_id)
          where h.saga_id = $1::uuid and h.kind = 3 and r.kind = 2 and r.seq = 2",
    )
    .bind(&id)
    .fetch_one(&mut world.sql().await)
    .await
    .unwrap();
    assert!(fired >= 1500, "never early: {fired} ms after the goods were reserved");
    world.until(&paid, OrderStatus::Completed).await;
    let too_late = world.orders().pay_order(pay(&id, "tok")).await.unwrap_err();
    assert_eq!(too_late.code(), tonic::Code::FailedPrecondition);
    replay::every_history(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_token_is_refused_where_none_would_mean_later() {
    let world = World::start().await;
    let order = order::OrderDraft { payment_token: Some(String::new()), ..draft() };
    let request = order::SubmitOrderRequest { idempotency_key: "k".into(), order: Some(order) };
    let status = world.orders().submit_order(request).await.unwrap_err();
    assert_eq!(crate::grpc::bad_fields(&status), ["order.payment_token"]);
    world.stop().await;
}
