//! What streams: watching, history, submissions in volume.

use futures::StreamExt as _;
use skald_proto::{
    order::v1::{self as order, OrderStatus, submit_orders_response::Result as Answer},
    saga::v1::{self as saga, SagaStatus},
};
use tonic::{Code, Status};

use crate::support::{DEADLINE, World, draft, later};

async fn next<T>(stream: &mut tonic::Streaming<T>) -> Option<Result<T, Status>> {
    tokio::time::timeout(DEADLINE, stream.next()).await.expect("the stream goes on")
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_shows_the_present_then_each_change_and_ends_with_the_last() {
    let world = World::start().await;
    let other = World::start_on(world.config.clone()).await;
    let id = world.place(later("w")).await;
    let watch = order::WatchOrderRequest { order_id: id.clone() };
    let mut here = world.orders().watch_order(watch.clone()).await.unwrap().into_inner();
    // The other instance may not be the one that writes.
    let mut there = other.orders().watch_order(watch).await.unwrap().into_inner();
    for stream in [&mut here, &mut there] {
        let first = next(stream).await.unwrap().unwrap().order.unwrap();
        assert_eq!((first.status(), first.version), (OrderStatus::Pending, 1));
    }
    let _yes = world.yes().await;
    world.until(&id, OrderStatus::Reserved).await;
    let pay =
        order::PayOrderRequest { order_id: id.clone(), payment_token: "t".into(), request_id: String::new() };
    world.orders().pay_order(pay).await.unwrap();
    for stream in [&mut here, &mut there] {
        let mut last = (OrderStatus::Pending, 1);
        while let Some(message) = next(stream).await {
            let order = message.unwrap().order.unwrap();
            assert!(order.version > last.1, "each change once, in order");
            last = (order.status(), order.version);
        }
        assert_eq!(last.0, OrderStatus::Completed);
    }
    let mut over = world.sagas().watch(saga::WatchRequest { saga_id: id }).await.unwrap().into_inner();
    let saga = next(&mut over).await.unwrap().unwrap().saga.unwrap();
    assert_eq!(saga.status(), SagaStatus::Completed);
    assert!(next(&mut over).await.is_none(), "one that is final is told once");
    world.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_tells_every_input_in_order() {
    let world = World::start().await;
    let _yes = world.yes().await;
    let id = world.submit("h").await;
    world.until(&id, OrderStatus::Completed).await;
    let history = |after_seq| saga::HistoryRequest { saga_id: id.clone(), after_seq };
    let rows: Vec<_> = world.sagas().history(history(0)).await.unwrap().into_inner().collect().await;
    let rows: Vec<_> = rows.into_iter().map(|r| r.unwrap().entry.unwrap()).collect();
    let told: Vec<_> = rows.iter().map(|r| (r.seq, r.kind.as_str(), r.actor.as_str())).collect();
    assert_eq!(
        told,
        [
            (1, "STARTED", "client:anonymous"),
            (2, "OUTCOME", "inventory"),
            (3, "OUTCOME", "payment"),
            (4, "OUTCOME", "inventory")
        ]
    );
    assert_eq!(rows[2].summary, "charge RUN (epoch 1, attempt 1): succeeded");
    let named: Vec<_> = rows[0].payloads.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(named, ["input", "pay", "fulfil"], "what was submitted");
    assert_eq!((&*rows[2].step, &*rows[2].verb, rows[2].epoch, rows[2].attempt), ("charge", "RUN", 1, 1));
    assert!(rows.iter().all(|r| r.digest.len() == 16 && r.rules >= 1 && r.at.is_some()));
    let rest: Vec<_> = world.sagas().history(history(3)).await.unwrap().into_inner().collect().await;
    assert_eq!(rest.len(), 1);
    crate::replay::every_history(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_orders_answers_each_and_goes_on_after_a_bad_one() {
    let world = World::start().await;
    let _yes = world.yes().await;
    let submit = |key: &str, order| order::SubmitOrderRequest { idempotency_key: key.into(), order };
    let mut sent: Vec<_> = (0..200)
        .map(|n| order::SubmitOrdersRequest {
            client_ref: format!("r{n}"),
            submit: Some(submit(&format!("k{n}"), Some(draft()))),
        })
        .collect();
    sent[50].submit = Some(submit("k50", Some(order::OrderDraft { currency: "x".into(), ..draft() })));
    sent[60].submit = None;
    sent[70].submit = sent[69].submit.clone();
    sent[80].submit = Some(submit("k79", Some(order::OrderDraft { note: "other".into(), ..draft() })));
    sent[90].client_ref = "r".repeat(65);
    let stream = futures::stream::iter(sent);
    let answers = world.orders().submit_orders(stream).await.unwrap().into_inner();
    let answers: Vec<_> = answers.map(Result::unwrap).collect().await;
    assert_eq!(answers.len(), 200, "each is answered");
    let of = |name: &str| answers.iter().find(|a| a.client_ref == name).unwrap().result.clone().unwrap();
    let error = |name: &str| match of(name) {
        Answer::Error(error) => error,
        Answer::Accepted(accepted) => panic!("{name}: {accepted:?}"),
    };
    let accepted = |name: &str| match of(name) {
        Answer::Accepted(accepted) => accepted,
        Answer::Error(error) => panic!("{name}: {error:?}"),
    };
    let bad = error("r50");
    assert_eq!((bad.code, bad.fields[0].field.as_str()), (Code::InvalidArgument as i32, "order.currency"));
    assert_eq!(error("r60").code, Code::InvalidArgument as i32);
    assert_eq!(error(&"r".repeat(65)).fields[0].field, "client_ref");
    assert_eq!(accepted("r70").order_id, accepted("r69").order_id, "the same key twice");
    assert_ne!(accepted("r70").created, accepted("r69").created);
    // Whoever of the two came first has the key.
    let (one, two) = (of("r79"), of("r80"));
    let taken = [one, two]
        .into_iter()
        .filter(|a| matches!(a, Answer::Error(e) if e.code == Code::AlreadyExists as i32));
    assert_eq!(taken.count(), 1);
    let ids: Vec<_> = (0..200).filter(|n| ![50, 60, 79, 80, 90].contains(n)).collect();
    for n in ids {
        world.until(&accepted(&format!("r{n}")).order_id, OrderStatus::Completed).await;
    }
    world.stop().await;
}
