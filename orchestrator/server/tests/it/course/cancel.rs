//! The customer cancels, at each stage before the point of no return.

use skald_proto::{
    order::v1::{self as order, OrderStatus},
    participant::v1::{Command, Verb},
};

use crate::{
    replay,
    support::{Participant, World, draft, later, yes},
};

async fn cancel(world: &World, id: &str) {
    let request = order::CancelOrderRequest { order_id: id.into(), note: "changed my mind".into() };
    let order = world.orders().cancel_order(request).await.unwrap().into_inner().order.unwrap();
    assert!(matches!(order.status(), OrderStatus::Cancelling | OrderStatus::Cancelled), "{order:?}");
}

fn undone(participant: &Participant, id: &str) -> Vec<String> {
    let asked = participant.asked(id).into_iter();
    asked.filter(|(_, verb, _)| *verb == Verb::Undo).map(|(step, ..)| step).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn at_each_stage_before_the_point_of_no_return() {
    let world = World::start().await;
    let kafka = &world.config.kafka;
    // RUN is not answered for orders whose note says so.
    let answers = |step: &'static str| {
        move |c: &Command| {
            let input: order::OrderInput = c.input.as_ref().unwrap().to_msg().unwrap();
            let silent = c.verb() == Verb::Run && c.step == step && input.note == format!("no {step}");
            (!silent).then(|| yes(c))
        }
    };
    let inventory = Participant::start(kafka, "inventory", answers("reserve")).await;
    let payment = Participant::start(kafka, "payment", answers("charge")).await;
    let noted = |key: &str| order::SubmitOrderRequest {
        idempotency_key: key.into(),
        order: Some(order::OrderDraft { note: key.into(), ..draft() }),
    };

    // While the goods are being reserved: it may have happened.
    let reserving = world.place(noted("no reserve")).await;
    let reserve = inventory.command(&reserving, "reserve", Verb::Run).await;
    cancel(&world, &reserving).await;
    world.until(&reserving, OrderStatus::Cancelled).await;
    assert_eq!(undone(&inventory, &reserving), ["reserve"]);

    // While it waits to be paid.
    let unpaid = world.place(later("unpaid")).await;
    world.until(&unpaid, OrderStatus::Reserved).await;
    cancel(&world, &unpaid).await;
    world.until(&unpaid, OrderStatus::Cancelled).await;
    assert_eq!((undone(&inventory, &unpaid), undone(&payment, &unpaid)), (vec!["reserve".into()], vec![]));

    // While the card is being charged: undone in reverse order, and the late answer changes nothing.
    let charging = world.place(noted("no charge")).await;
    let charge = payment.command(&charging, "charge", Verb::Run).await;
    cancel(&world, &charging).await;
    let order = world.until(&charging, OrderStatus::Cancelled).await;
    assert_eq!(order.reason, "CUSTOMER");
    assert_eq!(
        (undone(&payment, &charging), undone(&inventory, &charging)),
        (vec!["charge".into()], vec!["reserve".into()])
    );
    payment.speaker().say(&charge, yes(&charge), None);
    inventory.speaker().say(&reserve, yes(&reserve), None);
    skald_harness::eventually("the late answers are kept", crate::support::DEADLINE, async || {
        let (a, b) = (world.order(&charging).await, world.order(&reserving).await);
        let kept = a.version == order.version + 1 && b.version >= 4;
        if kept { Ok(()) } else { Err((a, b)) }
    })
    .await;
    for id in [&charging, &reserving] {
        assert_eq!(world.order(id).await.status(), OrderStatus::Cancelled);
        assert!(!world.order(id).await.needs_attention);
    }

    // Paid, while the seller has done nothing.
    let mut wish = noted("paid");
    wish.order.as_mut().unwrap().needs_fulfilment = true;
    let paid = world.place(wish).await;
    world.until(&paid, OrderStatus::Paid).await;
    cancel(&world, &paid).await;
    world.until(&paid, OrderStatus::Cancelled).await;
    assert_eq!(
        (undone(&payment, &paid), undone(&inventory, &paid)),
        (vec!["charge".into()], vec!["reserve".into()])
    );

    let history: Vec<String> =
        sqlx::query_scalar("select actor from history where saga_id = $1::uuid and kind = 4")
            .bind(&paid)
            .fetch_all(&mut world.sql().await)
            .await
            .unwrap();
    assert_eq!(history, ["client:anonymous"], "who wanted it");
    replay::every_history(&world).await;
    world.stop().await;
}
