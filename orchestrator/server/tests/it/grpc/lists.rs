//! Lists: filters, pages, and what they do with a row that can't be read.

use skald_proto::{
    order::v1::{self as order, OrderStatus},
    participant::v1::{Rejected, outcome::Answer},
    saga::v1::{self as saga, SagaStatus},
};

use crate::support::{Participant, World, draft, later, yes};

async fn orders(world: &World, request: order::ListOrdersRequest) -> Vec<String> {
    let (mut ids, mut token) = (Vec::new(), String::new());
    loop {
        let request = order::ListOrdersRequest { page_token: token, ..request.clone() };
        let page = world.orders().list_orders(request.clone()).await.unwrap().into_inner();
        assert!(page.orders.len() <= request.page_size as usize || request.page_size == 0);
        ids.extend(page.orders.into_iter().map(|o| o.order_id));
        token = page.next_page_token;
        if token.is_empty() {
            return ids;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_by_customer_status_and_time_in_pages() {
    let world = World::start().await;
    let kafka = &world.config.kafka;
    let _inventory = Participant::start(kafka, "inventory", |c| Some(yes(c))).await;
    let refuses = |code: &str| Answer::Rejected(Rejected { code: code.into(), ..Default::default() });
    let _payment = Participant::start(kafka, "payment", move |_| Some(refuses("PAYMENT_DECLINED"))).await;
    let mut reserved = Vec::new();
    for n in 0..5 {
        let mut wish = later(&format!("later-{n}"));
        wish.order.as_mut().unwrap().customer_id = format!("c{}", n % 2);
        reserved.push(world.place(wish).await);
    }
    let declined = world.submit("declined").await;
    world.until(&declined, OrderStatus::Cancelled).await;
    for id in &reserved {
        world.until(id, OrderStatus::Reserved).await;
    }
    reserved.reverse();
    let list = |customer: &str, status: OrderStatus, page_size: i32| order::ListOrdersRequest {
        customer_id: customer.into(),
        status: status.into(),
        page_size,
        ..Default::default()
    };
    let any = OrderStatus::Unspecified;
    assert_eq!(orders(&world, list("", OrderStatus::Reserved, 2)).await, reserved, "newest first, in pages");
    assert_eq!(orders(&world, list("", OrderStatus::Cancelled, 0)).await, [declined.as_str()]);
    assert_eq!(orders(&world, list("c1", any, 1)).await, [reserved[1].clone(), reserved[3].clone()]);
    assert_eq!(orders(&world, list("nobody", any, 0)).await, Vec::<String>::new());
    assert_eq!(orders(&world, list("c0", OrderStatus::Paid, 0)).await, Vec::<String>::new());
    assert_eq!(orders(&world, list("", any, 4)).await.len(), 6);

    let middle = world.order(&reserved[2]).await.created_at;
    let from = order::ListOrdersRequest { created_from: middle, ..list("", OrderStatus::Reserved, 0) };
    let before = order::ListOrdersRequest { created_before: middle, ..list("", OrderStatus::Reserved, 0) };
    let (from, before) = (orders(&world, from).await, orders(&world, before).await);
    assert_eq!([from.as_slice(), &before].concat(), reserved, "two halves");
    assert!(from.contains(&reserved[2]) && before.contains(&reserved[4]));

    let list = saga::ListRequest { status: SagaStatus::Compensated.into(), ..Default::default() };
    let found = world.sagas().list(list).await.unwrap().into_inner();
    let found: Vec<_> = found.sagas.into_iter().map(|s| (s.saga_id, s.input)).collect();
    assert_eq!(found, [(declined, None)], "without its input");
    let list =
        saga::ListRequest { definition: "order".into(), customer_id: "c1".into(), ..Default::default() };
    assert_eq!(world.sagas().list(list).await.unwrap().into_inner().sagas.len(), 2);
    let list = saga::ListRequest { definition: "other".into(), ..Default::default() };
    assert_eq!(world.sagas().list(list).await.unwrap().into_inner().sagas.len(), 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_order_is_listed_where_it_is_shown() {
    let world = World::start().await;
    let kafka = &world.config.kafka;
    let failed =
        || Answer::Failed(skald_proto::participant::v1::Failed { code: "NO".into(), ..Default::default() });
    let _inventory = Participant::start(kafka, "inventory", move |c| {
        Some(if c.verb() == skald_proto::participant::v1::Verb::Undo { failed() } else { yes(c) })
    })
    .await;
    let _payment =
        Participant::start(kafka, "payment", move |_| Some(crate::support::no("PAYMENT_DECLINED"))).await;
    let stuck = world.submit("stuck").await;
    world.until_saga(&stuck, SagaStatus::Parked).await;
    assert_eq!(world.order(&stuck).await.status(), OrderStatus::Cancelling);
    for status in
        [OrderStatus::Cancelling, OrderStatus::Reserved, OrderStatus::Pending, OrderStatus::Completed]
    {
        let list = order::ListOrdersRequest { status: status.into(), ..Default::default() };
        let expected = if status == OrderStatus::Cancelling { vec![stuck.clone()] } else { Vec::new() };
        assert_eq!(orders(&world, list).await, expected, "{status:?}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_read_does_not_hide_the_others() {
    let world = World::start().await;
    let (good, bad) = (world.submit("good").await, world.submit("bad").await);
    let mut sql = world.sql().await;
    sqlx::query("update saga set state = '\\xff' where id = $1::uuid")
        .bind(&bad)
        .execute(&mut sql)
        .await
        .unwrap();
    assert_eq!(orders(&world, Default::default()).await, [bad.clone(), good.clone()]);
    let order = world.order(&bad).await;
    assert!(order.needs_attention && order.customer_id == "customer", "{order:?}");
    let saga = world.saga(&bad).await;
    assert!(saga.quarantine.contains("table saga, column state"), "{saga:?}");
    let all = world.sagas().list(saga::ListRequest::default()).await.unwrap().into_inner().sagas;
    assert_eq!(all.len(), 2);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_large_orders_fits_into_an_answer() {
    let world = World::start().await;
    let mut large = draft();
    large.lines = (0..100)
        .map(|n| order::OrderLine {
            sku: format!("{n:064}"),
            quantity: 1,
            unit_price_minor: 1,
            seller_id: "\u{10ffff}".repeat(64),
        })
        .collect();
    for n in 0..150 {
        world
            .place(order::SubmitOrderRequest {
                idempotency_key: format!("large-{n}"),
                order: Some(large.clone()),
            })
            .await;
    }
    // 150 orders of some 33 KB each are more than the 4 MiB that clients take.
    let request = order::ListOrdersRequest { page_size: 500, ..Default::default() };
    assert_eq!(orders(&world, request).await.len(), 150);
    world.stop().await;
}
