//! Idempotency keys: one order per key and client, whatever is repeated.

use skald_proto::{order::v1 as order, saga::v1 as saga};
use tonic::Code;

use super::refused;
use crate::support::{World, draft};

fn submit(
    key: &str,
    client: Option<&str>,
    draft: order::OrderDraft,
) -> tonic::Request<order::SubmitOrderRequest> {
    let message = order::SubmitOrderRequest { idempotency_key: key.into(), order: Some(draft) };
    let mut request = tonic::Request::new(message);
    if let Some(client) = client {
        request.metadata_mut().insert("skald-client", client.parse().unwrap());
    }
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_one_order() {
    let world = World::start().await;
    let mut orders = world.orders();
    let first = orders.submit_order(submit("k", None, draft())).await.unwrap().into_inner();
    assert!(first.created);
    let again = orders.submit_order(submit("k", None, draft())).await.unwrap().into_inner();
    assert_eq!((again.order_id, again.created), (first.order_id.clone(), false));
    let anonymous = orders.submit_order(submit("k", Some("anonymous"), draft())).await.unwrap().into_inner();
    assert_eq!(anonymous.order_id, first.order_id, "who gives no name is `anonymous`");

    let other = order::OrderDraft { note: "another".into(), ..draft() };
    refused(orders.submit_order(submit("k", None, other.clone())).await, Code::AlreadyExists);
    let unpaid = order::OrderDraft { payment_token: None, ..draft() };
    refused(orders.submit_order(submit("k", None, unpaid)).await, Code::AlreadyExists);
    let theirs = orders.submit_order(submit("k", Some("shop-2"), other)).await.unwrap().into_inner();
    assert!(theirs.created && theirs.order_id != first.order_id, "another client's key");

    let mut sql = world.sql().await;
    let rows: (i64, i64, i64) = sqlx::query_as(
        "select (select count(*) from saga), (select count(*) from submission), (select count(*) from history)",
    )
    .fetch_one(&mut sql)
    .await
    .unwrap();
    assert_eq!(rows, (2, 2, 2));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_with_one_key_are_one_order() {
    let world = World::start().await;
    let mut calls = Vec::new();
    for n in 0..40 {
        let mut orders = world.orders();
        // Two payloads race for the key.
        let draft = order::OrderDraft { note: format!("{}", n % 2), ..draft() };
        calls.push(tokio::spawn(async move { orders.submit_order(submit("k", None, draft)).await }));
    }
    let mut ids = std::collections::BTreeSet::new();
    let (mut created, mut taken) = (0, 0);
    for call in calls {
        match call.await.unwrap() {
            Ok(answer) => {
                let answer = answer.into_inner();
                created += i32::from(answer.created);
                ids.insert(answer.order_id);
            }
            Err(status) => {
                assert_eq!(status.code(), Code::AlreadyExists, "{status:?}");
                taken += 1;
            }
        }
    }
    assert_eq!((ids.len(), created, taken), (1, 1, 20));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generic_start_has_the_same_keys() {
    let world = World::start().await;
    let mut sagas = world.sagas();
    let input = prost_types::Any { type_url: "t/skald.order.v1.OrderInput".into(), value: Vec::new() };
    let start = |customer: &str, value: Vec<u8>| saga::StartRequest {
        definition: "order".into(),
        idempotency_key: "k".into(),
        input: Some(prost_types::Any { value, ..input.clone() }),
        customer_id: customer.into(),
        signals: Vec::new(),
    };
    let first = sagas.start(start("c", vec![])).await.unwrap().into_inner();
    let again = sagas.start(start("c", vec![])).await.unwrap().into_inner();
    assert_eq!((again.saga_id, again.created), (first.saga_id, false));
    refused(sagas.start(start("c", vec![10, 0])).await, Code::AlreadyExists);
    refused(sagas.start(start("another", vec![])).await, Code::AlreadyExists);
    world.stop().await;
}
