//! More than the workers can take: streams wait, single calls are told to come back, memory is bounded.

use futures::StreamExt as _;
use skald_proto::{
    order::v1::{self as order, submit_orders_response::Result as Answer},
    saga::v1 as saga,
};
use sqlx::Connection as _;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::refused;
use crate::support::{DEADLINE, World, draft};

/// Somebody holds a key that a submission wants: the worker waits for it until this is dropped.
async fn held(world: &World, key: &str) -> sqlx::PgConnection {
    let mut sql = world.sql().await;
    sqlx::query("begin").execute(&mut sql).await.unwrap();
    sqlx::query("insert into submission (client, key, digest, saga_id) values ('anonymous', $1, '', gen_random_uuid())")
        .bind(key)
        .execute(&mut sql)
        .await
        .unwrap();
    sql
}

/// Waits until the worker waits.
async fn blocked(world: &World) {
    skald_harness::eventually("a worker that waits", DEADLINE, async || {
        let waits = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        let waits: i64 = sqlx::query_scalar(waits).fetch_one(&mut world.sql().await).await.unwrap();
        (waits > 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_wait_and_single_calls_are_told_to_come_back() {
    let world = World::start_with(|c| c.driver.workers = 1).await;
    let holder = held(&world, "held").await;
    let submit = |stream: usize, n: usize| order::SubmitOrdersRequest {
        client_ref: n.to_string(),
        submit: Some(order::SubmitOrderRequest {
            idempotency_key: if n == 0 { "held".into() } else { format!("{stream}-{n}") },
            order: Some(draft()),
        }),
    };
    const STREAMS: usize = 4;
    const ORDERS: usize = 1000;
    let mut streams = Vec::new();
    for stream in 0..STREAMS {
        let sent = futures::stream::iter((0..ORDERS).map(move |n| submit(stream, n)));
        let answers = world.orders().submit_orders(sent).await.unwrap().into_inner();
        streams.push(tokio::spawn(answers.map(|a| a.unwrap().result.unwrap()).collect::<Vec<_>>()));
    }
    let single =
        |n: usize| order::SubmitOrderRequest { idempotency_key: format!("single-{n}"), order: Some(draft()) };
    let mut tries = 0;
    let full = skald_harness::eventually("a full queue", DEADLINE, async || {
        tries += 1;
        let mut orders = world.orders();
        let call =
            tokio::time::timeout(std::time::Duration::from_millis(200), orders.submit_order(single(tries)));
        call.await.ok().and_then(Result::err)
    })
    .await;
    let full = refused(Err::<(), _>(full), Code::ResourceExhausted);
    assert!(full.get_details_retry_info().is_some(), "{full:?}");
    holder.close().await.unwrap();
    for stream in streams {
        let answers = tokio::time::timeout(DEADLINE, stream).await.unwrap().unwrap();
        assert_eq!(answers.len(), ORDERS);
        let errors: Vec<_> = answers.iter().filter(|a| matches!(a, Answer::Error(_))).collect();
        assert!(errors.is_empty(), "a stream waits: {:?}", errors[0]);
    }
    let sagas: i64 = sqlx::query_scalar("select count(*) from submission where key not like 'single%'")
        .fetch_one(&mut world.sql().await)
        .await
        .unwrap();
    assert_eq!(sagas as usize, STREAMS * (ORDERS - 1) + 1, "`held` is one of them");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_bounded_in_bytes_too() {
    let world = World::start_with(|c| c.driver.workers = 1).await;
    let holder = held(&world, "held").await;
    let start = |n: usize| saga::StartRequest {
        definition: "order".into(),
        idempotency_key: if n == 0 { "held".into() } else { format!("k{n}") },
        input: Some(prost_types::Any {
            type_url: "t/skald.order.v1.OrderInput".into(),
            value: vec![0; 256 * 1024],
        }),
        ..Default::default()
    };
    let mut waiting = tokio::task::JoinSet::new();
    let mut refused = 0;
    for n in 0..600 {
        if n == 1 {
            blocked(&world).await;
        }
        let mut sagas = world.sagas();
        waiting.spawn(async move { sagas.start(start(n)).await });
    }
    // 150 MiB, of which 64 may wait; those have their answer at the end.
    while refused < 200 {
        let answer =
            tokio::time::timeout(DEADLINE, waiting.join_next()).await.expect("some are told to come back");
        let status = answer.unwrap().unwrap().expect_err("the worker is held");
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        refused += 1;
    }
    holder.close().await.unwrap();
    while let Some(answer) = waiting.join_next().await {
        match answer.unwrap() {
            Ok(_) => {}
            Err(status) => assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}"),
        }
    }
    world.stop().await;
}
