//! Commands over Kafka for one participant and over gRPC for the other, both ways: a smoke run of what the whole suite does with
//! `SKALD_E2E_GRPC`.

use std::collections::BTreeMap;

use skald_proto::order::v1::OrderStatus;

use super::{
    LIMIT, audit,
    flight::Flight,
    shop::{End, Load, Order, SHELF, Shop, TEA, Then, draft, mixed},
    topics::Topics,
    world::{Kind, World},
};

#[tokio::test(flavor = "multi_thread")]
async fn payment_over_grpc() {
    one_over_grpc(Kind::Payment).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inventory_over_grpc() {
    one_over_grpc(Kind::Inventory).await;
}

/// One order goes through, one is paid and given back, one waits for a participant that is dead; then each kind of order, and
/// everything adds up.
async fn one_over_grpc(kind: Kind) {
    let mut world = World::plan().over_grpc(&[kind]).start().await;
    world.stock(&SHELF).await;
    let shop = Shop::new(&world);
    let order = |end| Order { draft: draft(&[(TEA, 1)], Some("tok_ok")), end, then: Then::Nothing };
    let until = async |id, status: OrderStatus| {
        skald_harness::eventually(&format!("order {id} to be {status:?}"), LIMIT, async || {
            let order = shop.look(id).await;
            if order.status() == status { Ok(()) } else { Err(order) }
        })
        .await;
    };
    let through = shop.place(order(End::Completed)).await.id;
    let mut refunded = order(End::Cancelled("CUSTOMER"));
    refunded.draft.needs_fulfilment = true;
    let refunded = shop.place(refunded).await.id;
    until(through, OrderStatus::Completed).await;
    until(refunded, OrderStatus::Paid).await;

    world.service(kind, 0).kill9().await;
    let waiting = shop.place(order(End::Completed)).await.id;
    shop.cancel(refunded).await;
    let mut sql = world.sql(Kind::Orchestrator).await;
    skald_harness::eventually("commands that wait for the dead", LIMIT, async || {
        let flight = Flight::read(&mut sql).await;
        if flight.work_for(kind) == 2 { Ok(()) } else { Err(flight) }
    })
    .await;
    world.service_mut(kind, 0).restart().await;
    until(waiting, OrderStatus::Completed).await;
    until(refunded, OrderStatus::Cancelled).await;

    Load::start(&shop, (0..20).map(mixed), 4).done().await;
    let ends = audit::at_rest(&world, &shop).await;
    assert_eq!(ends.values().sum::<usize>(), 23, "{ends:?}");
    let topics: BTreeMap<&str, usize> = ["commands", "outcomes"]
        .map(|end| (end, Topics::of(&world, "looker").named(&format!("skald.{}.{end}", kind.name())).len()))
        .into();
    assert_eq!(topics, [("commands", 0), ("outcomes", 0)].into(), "it has no topics of its own");
}
