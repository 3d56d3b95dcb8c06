//! A soft stop: nothing new is taken, what is in flight is finished, and it ends within its deadline whoever holds on.

use futures::StreamExt as _;
use skald_proto::{
    order::v1::{self as order, OrderStatus},
    participant::v1::Verb,
};
use sqlx::Connection as _;

use crate::support::{DEADLINE, Load, Participant, World, draft, later, unfinished, yes};

/// The stop ends by itself within the deadline of the settings.
async fn stops_in_time(world: World) {
    let deadline = world.config.shutdown.deadline();
    world.shutdown.request();
    let ended = tokio::time::timeout(deadline, world.running).await;
    ended.expect("it ends within its deadline").unwrap().expect("cleanly");
}

/// Waits until a worker waits for somebody in the database.
async fn until_blocked(config: &skald_server::Config) {
    let mut sql = skald_kit::pg::connection(&config.postgres.url).await.unwrap();
    skald_harness::eventually("a worker that waits", DEADLINE, async || {
        let waits = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        let waits: i64 = sqlx::query_scalar(waits).fetch_one(&mut sql).await.unwrap();
        (waits > 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_nothing_is_lost() {
    let world = World::start().await;
    let config = world.config.clone();
    let _yes = world.yes().await;
    let load = Load::start(16, &[world.channel()]);
    load.more(200).await;
    stops_in_time(world).await;
    let refused = load.refused();
    skald_harness::eventually("nobody is served", DEADLINE, async || {
        (load.refused() > refused + 20).then_some(())
    })
    .await;
    let before = load.acknowledged();
    let acknowledged = load.end().await;
    assert_eq!(acknowledged.len(), before);
    let mut sql = skald_kit::pg::connection(&config.postgres.url).await.unwrap();
    let instances: i64 =
        sqlx::query_scalar("select count(*) from skald.instance").fetch_one(&mut sql).await.unwrap();
    assert_eq!(instances, 0, "it said farewell");
    let again = World::start_on(config).await;
    again.all_complete(&acknowledged).await;
    crate::replay::every_history(&again).await;
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_streams_are_ended_and_nobody_can_hold_it_up() {
    let world = World::start_with(|c| c.shutdown.deadline_seconds = 12).await;
    let id = world.place(later("watched")).await;
    let watch = order::WatchOrderRequest { order_id: id };
    let mut watch = world.orders().watch_order(watch).await.unwrap().into_inner();
    watch.next().await.unwrap().unwrap();

    // One that sent an order, has its answer, and keeps the stream open.
    let submit = |n: usize| order::SubmitOrdersRequest {
        client_ref: n.to_string(),
        submit: Some(order::SubmitOrderRequest { idempotency_key: format!("k{n}"), order: Some(draft()) }),
    };
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    sender.send(submit(0)).await.unwrap();
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut open = world.orders().submit_orders(stream).await.unwrap().into_inner();
    open.next().await.unwrap().unwrap();

    // One that sends and sends, and reads no answer.
    let endless = futures::stream::iter((1..).map(submit));
    let deaf = world.orders().submit_orders(endless).await.unwrap().into_inner();
    let (mut last, mut same) = (0, 0);
    skald_harness::eventually("its window is full", DEADLINE, async || {
        let count = sqlx::query_scalar("select count(*) from saga");
        let count: i64 = count.fetch_one(&mut world.sql().await).await.unwrap();
        same = if count == last { same + 1 } else { 0 };
        last = count;
        if count > 1000 && same > 10 { Ok(()) } else { Err(count) }
    })
    .await;

    stops_in_time(world).await;
    let status = watch.next().await.expect("the watcher is told").unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert!(open.next().await.is_none_or(|end| end.is_err()));
    drop((deaf, sender));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_is_away_it_stops_all_the_same() {
    let mut server = skald_harness::owned_postgres().await;
    server.create_database("orders").await.unwrap();
    let url = skald_kit::config::Secret::new(server.url("orders"));
    let world = World::start_with(|c| {
        c.postgres.url = url;
        c.shutdown.deadline_seconds = 12;
    })
    .await;
    let _yes = world.yes().await;
    let load = Load::start(4, &[world.channel()]);
    load.more(20).await;
    server.kill().await.unwrap();
    let refused = load.refused();
    skald_harness::eventually("callers are told", DEADLINE, async || {
        (load.refused() > refused + 5).then_some(())
    })
    .await;
    let config = world.config.clone();
    stops_in_time(world).await;
    let acknowledged = load.end().await;
    server.restart().await.unwrap();
    let again = World::start_on(config).await;
    again.all_complete(&acknowledged).await;
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_could_not_be_stored_is_not_finished_and_comes_again() {
    let world = World::start_with(|c| c.shutdown.deadline_seconds = 6).await;
    let config = world.config.clone();
    let inventory = Participant::start(&config.kafka, "inventory", |_| None).await;
    let id = world.submit("k").await;
    let reserve = inventory.command(&id, "reserve", Verb::Run).await;
    // Somebody holds the saga's row until the instance is gone.
    let mut holder = world.sql().await;
    let mut tx = holder.begin().await.unwrap();
    let lock = "select id from saga where id = $1::uuid for update";
    sqlx::query(lock).bind(&id).execute(&mut *tx).await.unwrap();
    inventory.speaker().say(&reserve, yes(&reserve), None);
    until_blocked(&config).await;
    world.shutdown.request();
    let ended = tokio::time::timeout(DEADLINE, world.running).await;
    ended.expect("it ends all the same").unwrap().expect_err("the worker did not end");
    let unfinished = unfinished(&config, "skald.inventory.outcomes").await;
    assert_eq!(unfinished.len(), 1, "{unfinished:?}");
    tx.rollback().await.unwrap();

    let again = World::start_on(config).await;
    again.until(&id, OrderStatus::Reserved).await;
    again.all_finished("skald.inventory.outcomes").await;
    again.stop().await;
}
