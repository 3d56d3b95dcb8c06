//! What is refused, and how: every bad field named, unknown ids, states that don't allow it, too much at once.

use skald_proto::{
    order::v1::{self as order, OrderStatus},
    participant::v1::Verb,
    saga::v1 as saga,
};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::{bad_fields, refused};
use crate::support::{Participant, World, draft, yes};

const NOBODY: &str = "0193f6a0-0000-7000-8000-000000000000";

/// Rows that a refused submission would have left.
async fn stored(world: &World) -> (i64, i64) {
    let mut sql = world.sql().await;
    let count = "select (select count(*) from saga), (select count(*) from submission)";
    sqlx::query_as(count).fetch_one(&mut sql).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_field_is_named_and_nothing_is_stored() {
    let world = World::start().await;
    let (mut orders, mut sagas) = (world.orders(), world.sagas());

    let mut wrong = draft();
    wrong.customer_id.clear();
    wrong.currency = "Euro".into();
    wrong.lines.push(order::OrderLine {
        sku: "?".into(),
        quantity: 0,
        unit_price_minor: -1,
        ..Default::default()
    });
    let submit = order::SubmitOrderRequest { idempotency_key: "\u{e9}".into(), order: Some(wrong) };
    let line = |field| format!("order.lines[1].{field}");
    assert_eq!(
        bad_fields(&refused(orders.submit_order(submit).await, Code::InvalidArgument)),
        [
            "idempotency_key".to_owned(),
            "order.customer_id".into(),
            "order.currency".into(),
            line("sku"),
            line("quantity"),
            line("unit_price_minor")
        ]
    );
    let mut wrong = draft();
    wrong.note = "n".repeat(1001);
    wrong.payment_token = Some("a\0b".into());
    wrong.lines.push(wrong.lines[0].clone());
    wrong.lines.push(order::OrderLine {
        sku: "B".into(),
        quantity: 1_000_000,
        unit_price_minor: 1_000_000_000_000,
        seller_id: "s".repeat(65),
    });
    let submit = order::SubmitOrderRequest { idempotency_key: "k".into(), order: Some(wrong) };
    assert_eq!(
        bad_fields(&refused(orders.submit_order(submit).await, Code::InvalidArgument)),
        [
            "order.note",
            "order.payment_token",
            "order.lines[1].sku",
            "order.lines[2].seller_id",
            "order.lines"
        ]
    );
    let many = order::OrderDraft { lines: vec![draft().lines.remove(0); 101], ..draft() };
    let submit = order::SubmitOrderRequest { idempotency_key: "k".into(), order: Some(many) };
    let status = refused(orders.submit_order(submit).await, Code::InvalidArgument);
    assert!(bad_fields(&status).contains(&"order.lines".to_owned()), "{status:?}");
    // As many empty lines as fit: each would be compared with each, and have four things wrong with it.
    let empty = order::OrderDraft { lines: vec![order::OrderLine::default(); 500_000], ..draft() };
    let submit = order::SubmitOrderRequest { idempotency_key: "k".into(), order: Some(empty) };
    let status = refused(orders.submit_order(submit).await, Code::InvalidArgument);
    assert_eq!((bad_fields(&status).len(), &*bad_fields(&status)[0]), (25, "order.lines"), "the first 25");
    let list = order::ListOrdersRequest { customer_id: "a\0b".into(), ..Default::default() };
    refused(orders.list_orders(list).await, Code::InvalidArgument);
    let nothing = orders.submit_order(order::SubmitOrderRequest::default()).await;
    assert_eq!(bad_fields(&refused(nothing, Code::InvalidArgument)), ["idempotency_key", "order"]);

    let get = orders.get_order(order::GetOrderRequest { order_id: "7".into() }).await;
    assert_eq!(bad_fields(&refused(get, Code::InvalidArgument)), ["order_id"]);
    let watch = orders.watch_order(order::WatchOrderRequest { order_id: "7".into() }).await;
    assert_eq!(bad_fields(&refused(watch.map(|_| ()), Code::InvalidArgument)), ["order_id"]);
    let list =
        order::ListOrdersRequest { page_size: 501, page_token: "x".into(), status: 99, ..Default::default() };
    let list = orders.list_orders(list).await;
    assert_eq!(bad_fields(&refused(list, Code::InvalidArgument)), ["page_size", "page_token", "status"]);
    let pay =
        order::PayOrderRequest { order_id: "7".into(), request_id: "r".repeat(129), ..Default::default() };
    let pay = orders.pay_order(pay).await;
    assert_eq!(bad_fields(&refused(pay, Code::InvalidArgument)), ["order_id", "payment_token", "request_id"]);
    let fulfil = order::FulfilOrderRequest {
        order_id: "7".into(),
        seller_id: "s".repeat(65),
        reference: "a\0b".into(),
        request_id: "r".repeat(129),
    };
    let fulfil = orders.fulfil_order(fulfil).await;
    let expected = ["order_id", "seller_id", "reference", "request_id"];
    assert_eq!(bad_fields(&refused(fulfil, Code::InvalidArgument)), expected);
    let cancel = order::CancelOrderRequest { order_id: "7".into(), note: "n".repeat(513) };
    let cancel = orders.cancel_order(cancel).await;
    assert_eq!(bad_fields(&refused(cancel, Code::InvalidArgument)), ["order_id", "note"]);

    let signal = |name: &str| saga::NamedSignal { name: name.into(), payload: None };
    let start = saga::StartRequest {
        definition: "order".into(),
        idempotency_key: String::new(),
        input: None,
        customer_id: "c".repeat(129),
        signals: vec![signal("reserve"), signal("pay"), signal("pay")],
    };
    let start = sagas.start(start).await;
    let expected = ["idempotency_key", "customer_id", "input", "signals[0].name", "signals[2].name"];
    assert_eq!(bad_fields(&refused(start, Code::InvalidArgument)), expected);
    let start = saga::StartRequest {
        definition: "order".into(),
        idempotency_key: "k".into(),
        input: Some(prost_types::Any {
            type_url: "t/skald.order.v1.Order".into(),
            value: vec![0; 256 * 1024 + 1],
        }),
        signals: vec![saga::NamedSignal {
            name: "pay".into(),
            payload: Some(prost_types::Any { type_url: String::new(), value: vec![0; 64 * 1024 + 1] }),
        }],
        ..Default::default()
    };
    let start = sagas.start(start).await;
    assert_eq!(bad_fields(&refused(start, Code::InvalidArgument)), ["input", "signals[0].payload", "input"]);

    let get = sagas.get(saga::GetRequest { saga_id: String::new() }).await;
    assert_eq!(bad_fields(&refused(get, Code::InvalidArgument)), ["saga_id"]);
    let watch = sagas.watch(saga::WatchRequest { saga_id: String::new() }).await;
    assert_eq!(bad_fields(&refused(watch.map(|_| ()), Code::InvalidArgument)), ["saga_id"]);
    let history = sagas.history(saga::HistoryRequest { saga_id: String::new(), after_seq: -1 }).await;
    assert_eq!(bad_fields(&refused(history.map(|_| ()), Code::InvalidArgument)), ["saga_id", "after_seq"]);
    let list =
        saga::ListRequest { page_size: -1, page_token: "x".into(), status: 70_000, ..Default::default() };
    let list = sagas.list(list).await;
    assert_eq!(bad_fields(&refused(list, Code::InvalidArgument)), ["page_size", "page_token", "status"]);
    let signal = sagas.signal(saga::SignalRequest::default()).await;
    assert_eq!(bad_fields(&refused(signal, Code::InvalidArgument)), ["saga_id", "signal_id", "signal"]);
    let cancel = sagas.cancel(saga::CancelRequest { saga_id: "x".into(), note: "n".repeat(513) }).await;
    assert_eq!(bad_fields(&refused(cancel, Code::InvalidArgument)), ["saga_id", "note"]);

    let mut nameless = tonic::Request::new(order::SubmitOrderRequest::default());
    nameless.metadata_mut().insert("skald-client", "".parse().unwrap());
    refused(orders.submit_order(nameless).await, Code::InvalidArgument);
    assert_eq!(stored(&world).await, (0, 0));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_is_not_found_by_any_method() {
    let world = World::start().await;
    let (mut orders, mut sagas) = (world.orders(), world.sagas());
    let id = || NOBODY.to_owned();
    let named = || Some(saga::NamedSignal { name: "pay".into(), payload: None });
    let pay = order::PayOrderRequest { order_id: id(), payment_token: "t".into(), ..Default::default() };
    let fulfil = order::FulfilOrderRequest { order_id: id(), ..Default::default() };
    let start = saga::StartRequest {
        definition: "nothing".into(),
        idempotency_key: "k".into(),
        input: Some(Default::default()),
        ..Default::default()
    };
    for (what, answer) in [
        ("get order", orders.get_order(order::GetOrderRequest { order_id: id() }).await.map(|_| ())),
        ("watch order", orders.watch_order(order::WatchOrderRequest { order_id: id() }).await.map(|_| ())),
        ("pay", orders.pay_order(pay).await.map(|_| ())),
        ("fulfil", orders.fulfil_order(fulfil).await.map(|_| ())),
        (
            "cancel order",
            orders
                .cancel_order(order::CancelOrderRequest { order_id: id(), ..Default::default() })
                .await
                .map(|_| ()),
        ),
        ("start", sagas.start(start).await.map(|_| ())),
        ("get", sagas.get(saga::GetRequest { saga_id: id() }).await.map(|_| ())),
        ("watch", sagas.watch(saga::WatchRequest { saga_id: id() }).await.map(|_| ())),
        ("history", sagas.history(saga::HistoryRequest { saga_id: id(), after_seq: 0 }).await.map(|_| ())),
        (
            "signal",
            sagas
                .signal(saga::SignalRequest { saga_id: id(), signal: named(), signal_id: "s".into() })
                .await
                .map(|_| ()),
        ),
        (
            "cancel",
            sagas.cancel(saga::CancelRequest { saga_id: id(), ..Default::default() }).await.map(|_| ()),
        ),
    ] {
        let status = answer.expect_err(what);
        assert_eq!(status.code(), Code::NotFound, "{what}: {status:?}");
        assert!(status.message().contains(NOBODY) || what == "start", "{what}: {status:?}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_state_does_not_allow_is_refused_with_the_state() {
    let world = World::start().await;
    let kafka = &world.config.kafka;
    // The pivot is never answered, so one order stays in it.
    let inventory =
        Participant::start(kafka, "inventory", |c| if c.step == "commit" { None } else { Some(yes(c)) })
            .await;
    let _payment = Participant::start(kafka, "payment", |c| Some(yes(c))).await;
    let mut orders = world.orders();
    let later = world.place(crate::support::later("paid-once")).await;
    world.until(&later, OrderStatus::Reserved).await;
    let pay = |token: &str, id: &str| order::PayOrderRequest {
        order_id: id.into(),
        payment_token: token.into(),
        request_id: String::new(),
    };
    orders.pay_order(pay("tok_ok", &later)).await.unwrap();
    orders.pay_order(pay("tok_ok", &later)).await.expect("a repeat is no error");
    let twice = refused(orders.pay_order(pay("tok_other", &later)).await, Code::FailedPrecondition);
    assert!(twice.message().contains("\"pay\" was given before"), "{twice:?}");

    inventory.command(&later, "commit", Verb::Run).await;
    let cancel = |id: &str| order::CancelOrderRequest { order_id: id.into(), note: "no more".into() };
    let late = refused(orders.cancel_order(cancel(&later)).await, Code::FailedPrecondition);
    assert!(late.message().contains("it is FULFILLED"), "{late:?}");
    let state = late.get_details_precondition_failure().expect("google.rpc.PreconditionFailure");
    assert_eq!(state.violations[0].subject, later);
    assert_eq!(state.violations[0].description, "FULFILLED");

    let gone = world.place(crate::support::later("cancelled")).await;
    world.until(&gone, OrderStatus::Reserved).await;
    let cancelled = orders.cancel_order(cancel(&gone)).await.unwrap().into_inner().order.unwrap();
    assert_eq!(cancelled.status(), OrderStatus::Cancelling);
    let cancelled = world.until(&gone, OrderStatus::Cancelled).await;
    assert_eq!(cancelled.reason, "CUSTOMER");
    orders.cancel_order(cancel(&gone)).await.expect("a repeat is no error");
    let fulfil = order::FulfilOrderRequest { order_id: gone.clone(), ..Default::default() };
    let dead = refused(orders.fulfil_order(fulfil).await, Code::FailedPrecondition);
    assert!(dead.message().contains("it is CANCELLED"), "{dead:?}");
    let dead = refused(orders.pay_order(pay("tok_ok", &gone)).await, Code::FailedPrecondition);
    assert!(dead.message().contains("it is CANCELLED"), "{dead:?}");
    let signal = saga::SignalRequest {
        saga_id: gone.clone(),
        signal: Some(saga::NamedSignal { name: "pay".into(), payload: None }),
        signal_id: "s".into(),
    };
    let dead = refused(world.sagas().signal(signal).await, Code::FailedPrecondition);
    assert!(dead.message().contains("it is COMPENSATED"), "{dead:?}");
    let signal = saga::SignalRequest {
        saga_id: gone,
        signal: Some(saga::NamedSignal { name: "reserve".into(), payload: None }),
        signal_id: "s".into(),
    };
    assert_eq!(
        bad_fields(&refused(world.sagas().signal(signal).await, Code::InvalidArgument)),
        ["signal.name"]
    );
    crate::replay::every_history(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_bound_of_active_sagas_submissions_are_told_when_to_come_back() {
    let world = World::start_with(|c| c.driver.max_active_sagas = 1).await;
    let first = world.submit("first").await;
    let mut orders = world.orders();
    let request = || order::SubmitOrderRequest {
        idempotency_key: skald_harness::unique("second"),
        order: Some(draft()),
    };
    // What is under way is counted now and then: a count that began before the first one does not know it.
    let mut orders_too = world.orders();
    let status = skald_harness::eventually("the bound holds", crate::support::DEADLINE, async || {
        let before = stored(&world).await;
        match orders_too.submit_order(request()).await {
            Err(status) if stored(&world).await == before => Ok(status),
            other => Err(other),
        }
    })
    .await;
    assert_eq!(status.code(), Code::ResourceExhausted);
    let hint = status.get_details_retry_info().expect("google.rpc.RetryInfo");
    assert!(hint.retry_delay.is_some_and(|d| !d.is_zero()));
    let _yes = world.yes().await;
    world.until(&first, OrderStatus::Completed).await;
    skald_harness::eventually("there is room again", crate::support::DEADLINE, async || {
        orders.submit_order(request()).await.map(|_| ())
    })
    .await;
    world.stop().await;
}
