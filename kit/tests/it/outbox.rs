//! The event outbox and its relay.

use std::collections::BTreeMap;
use std::time::Duration;

use skald_harness::eventually;
use skald_kit::clock::DbClock;
use skald_kit::config::Kafka;
use skald_kit::ids;
use skald_kit::instance::Instance;
use skald_kit::kafka::{Batch, Consumer, Options};
use skald_kit::lifecycle::{Shutdown, Tasks};
use skald_kit::outbox::{self, Relay, Row};
use skald_kit::trace::Traceparent;
use sqlx::PgConnection;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{SOON, database, kafka, topic};

fn row(topic: &str, n: usize, time_ms: i64) -> Row {
    let id = ids::mint(time_ms);
    Row {
        id,
        topic: topic.to_owned(),
        key: format!("order-{}", n % 5),
        kind: "skald.order.created".to_owned(),
        source: "/skald/orchestrator".to_owned(),
        subject: format!("order-{}", n % 5),
        sequence: format!("{n:010}"),
        time_ms,
        traceparent: n.is_multiple_of(2).then(|| Traceparent::for_id(id).to_string()),
        payload: vec![1; n % 7],
    }
}

async fn now_ms(connection: &mut PgConnection) -> i64 {
    let clock = DbClock::new();
    clock.sync(connection).await.unwrap();
    clock.now_ms()
}

async fn left(connection: &mut PgConnection) -> i64 {
    sqlx::query_scalar("select count(*) from skald.outbox").fetch_one(connection).await.unwrap()
}

fn consume(kafka: &Kafka, topic: &str) -> (Consumer, mpsc::Receiver<Batch>) {
    Consumer::start(kafka, Options::new(kafka.topic("reader"), vec![topic.to_owned()])).unwrap()
}

/// How often each id came, until `count` messages did.
async fn ids_of(batches: &mut mpsc::Receiver<Batch>, count: usize) -> BTreeMap<Uuid, usize> {
    let mut seen = BTreeMap::new();
    while seen.values().sum::<usize>() < count {
        let batch = tokio::time::timeout(SOON, batches.recv()).await.expect("in time").expect("a batch");
        for message in batch.messages {
            *seen.entry(message.header_str("ce_id").unwrap().parse().unwrap()).or_default() += 1;
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_become_cloud_events_and_disappear_by_themselves() {
    let (kafka, (url, mut connection)) = (kafka(), database().await);
    let topic = topic(&kafka, "orders.events", 2).await;
    let (shutdown, me) = (Shutdown::new(), Instance::new("kit", "here"));
    let tasks = Tasks::new(&shutdown);
    me.register(&mut connection).await.unwrap();
    let relay = Relay::start(&kafka, &url, me.id, "kit", &tasks).unwrap();
    let rows: Vec<Row> = (0..50).map(|n| row(&topic, n, 1_700_000_000_123)).collect();
    outbox::insert(&mut connection, me.id, &rows).await.unwrap();
    relay.publish(rows.clone());

    let (consumer, mut batches) = consume(&kafka, &topic);
    let mut messages = BTreeMap::new();
    while messages.len() < 50 {
        let batch = tokio::time::timeout(SOON, batches.recv()).await.expect("in time").expect("a batch");
        messages
            .extend(batch.messages.into_iter().map(|m| (m.header_str("ce_sequence").unwrap().to_owned(), m)));
    }
    for row in &rows {
        let message = &messages[&row.sequence];
        let text = |name: &str| message.header_str(name).map(str::to_owned);
        assert_eq!(text("ce_specversion").as_deref(), Some("1.0"));
        assert_eq!(text("ce_id"), Some(row.id.to_string()));
        assert_eq!(text("ce_source").as_ref(), Some(&row.source));
        assert_eq!(text("ce_type").as_ref(), Some(&row.kind));
        assert_eq!(text("ce_subject").as_ref(), Some(&row.subject));
        assert_eq!(text("ce_time").as_deref(), Some("2023-11-14T22:13:20.123Z"));
        assert_eq!(text("content-type").as_deref(), Some("application/protobuf"));
        assert_eq!(text("traceparent"), row.traceparent);
        assert_eq!((message.key.as_deref(), &message.payload), (Some(row.key.as_bytes()), &row.payload));
    }
    eventually("the table is empty", SOON, async || (left(&mut connection).await == 0).then_some(())).await;
    assert_eq!(relay.close(SOON).await, 0);
    tasks.join(SOON).await.unwrap();
    assert!(consumer.close(SOON).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_deletes_in_its_own_transactions_while_it_has_some() {
    let (kafka, (url, mut connection)) = (kafka(), database().await);
    let topic = topic(&kafka, "orders.events", 1).await;
    let (shutdown, me) = (Shutdown::new(), Instance::new("kit", "here"));
    let tasks = Tasks::new(&shutdown);
    me.register(&mut connection).await.unwrap();
    let relay = Relay::start(&kafka, &url, me.id, "kit", &tasks).unwrap();
    let now = now_ms(&mut connection).await;
    let rows: Vec<Row> = (0..30).map(|n| row(&topic, n, now)).collect();
    outbox::insert(&mut connection, me.id, &rows).await.unwrap();
    relay.publish(rows);
    let mut taken = Vec::new();
    eventually("all are acknowledged", SOON, async || {
        taken.extend(relay.take_acked(7));
        (taken.len() == 30).then_some(())
    })
    .await;
    assert_eq!(left(&mut connection).await, 30, "whoever takes ids deletes them");
    // The transaction failed: the relay then does it.
    relay.give_back(taken);
    eventually("the table is empty", SOON, async || (left(&mut connection).await == 0).then_some(())).await;
    relay.close(SOON).await;
    tasks.join(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_owners_rows_are_adopted_once_and_a_living_ones_are_not() {
    let (kafka, (url, mut connection)) = (kafka(), database().await);
    let topic = topic(&kafka, "orders.events", 1).await;
    let shutdown = Shutdown::new();
    let tasks = Tasks::new(&shutdown);
    let now = now_ms(&mut connection).await;
    let (dead, living) = (Uuid::now_v7(), Instance::new("kit", "silent but alive"));
    tasks.spawn("beats", living.clone().run(url.clone(), DbClock::new(), shutdown.clone()));
    eventually("the living one has its row", SOON, async || {
        let alive = skald_kit::instance::alive(&mut connection, "kit").await.unwrap();
        (!alive.is_empty()).then_some(())
    })
    .await;
    let orphans: Vec<Row> = (0..1500).map(|n| row(&topic, n, now)).collect();
    outbox::insert(&mut connection, dead, &orphans).await.unwrap();
    outbox::insert(&mut connection, living.id, &[row(&topic, 9999, now)]).await.unwrap();
    let mut relays = Vec::new();
    for name in ["one", "two"] {
        let me = Instance::new("kit", name);
        tasks.spawn(name, me.clone().run(url.clone(), DbClock::new(), shutdown.clone()));
        relays.push(Relay::start(&kafka, &url, me.id, name, &tasks).unwrap());
    }
    let (consumer, mut batches) = consume(&kafka, &topic);
    let seen = ids_of(&mut batches, 1500).await;
    assert_eq!(seen.len(), 1500, "each once");
    eventually("only the living one's row is left", SOON, async || {
        (left(&mut connection).await == 1).then_some(())
    })
    .await;
    // Two more looks at the table publish nothing.
    let more = tokio::time::timeout(Duration::from_secs(7), batches.recv()).await;
    assert!(more.is_err(), "published again: {more:?}");
    for relay in relays {
        assert_eq!(relay.close(SOON).await, 0);
    }
    shutdown.request();
    tasks.join(SOON).await.unwrap();
    assert!(consumer.close(SOON).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_nobody_published_are_found_in_the_table() {
    let (kafka, (url, mut connection)) = (kafka(), database().await);
    let topic = topic(&kafka, "orders.events", 1).await;
    let (shutdown, me) = (Shutdown::new(), Instance::new("kit", "here"));
    let tasks = Tasks::new(&shutdown);
    me.register(&mut connection).await.unwrap();
    let relay = Relay::start(&kafka, &url, me.id, "kit", &tasks).unwrap();
    // As after a commit whose answer was lost: the rows stand there, nobody was told.
    let long_ago = now_ms(&mut connection).await - 60_000;
    let rows: Vec<Row> = (0..2500).map(|n| row(&topic, n, long_ago)).collect();
    outbox::insert(&mut connection, me.id, &rows).await.unwrap();
    let (consumer, mut batches) = consume(&kafka, &topic);
    assert_eq!(ids_of(&mut batches, 2500).await.len(), 2500, "each once");
    eventually("the table is empty", SOON, async || (left(&mut connection).await == 0).then_some(())).await;
    relay.close(SOON).await;
    tasks.join(SOON).await.unwrap();
    assert!(consumer.close(SOON).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_was_away_gets_everything_when_it_is_back() {
    let mut broker = skald_harness::owned_kafka().await;
    let mut kafka = kafka();
    kafka.bootstrap_servers = broker.bootstrap_servers();
    kafka.properties = [("message.timeout.ms".to_owned(), "500".to_owned())].into();
    let topic = topic(&kafka, "orders.events", 1).await;
    let (url, mut connection) = database().await;
    let (shutdown, me) = (Shutdown::new(), Instance::new("kit", "here"));
    let tasks = Tasks::new(&shutdown);
    tasks.spawn("beats", me.clone().run(url.clone(), DbClock::new(), shutdown.clone()));
    let relay = Relay::start(&kafka, &url, me.id, "kit", &tasks).unwrap();
    broker.kill().await.unwrap();
    let now = now_ms(&mut connection).await;
    let rows: Vec<Row> = (0..100).map(|n| row(&topic, n, now)).collect();
    outbox::insert(&mut connection, me.id, &rows).await.unwrap();
    relay.publish(rows);
    eventually("deliveries failed and were tried again", SOON, async || {
        (relay.retries() > 200).then_some(())
    })
    .await;
    assert_eq!(relay.under_way(), 100);
    broker.restart().await.unwrap();
    eventually("the table is empty", 2 * SOON, async || (left(&mut connection).await == 0).then_some(()))
        .await;
    let (consumer, mut batches) = consume(&kafka, &topic);
    assert_eq!(ids_of(&mut batches, 100).await.len(), 100);
    relay.close(SOON).await;
    shutdown.request();
    tasks.join(SOON).await.unwrap();
    consumer.close(SOON).await;
}
