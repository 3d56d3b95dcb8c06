//! Two orchestrators side by side.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::StreamExt as _;
use skald_proto::{
    order::v1::{self as order, OrderStatus, submit_orders_response::Result as Answer},
    participant::v1::Verb,
};

use crate::support::{DEADLINE, Load, Participant, Reader, World, draft, no, yes};

/// Somebody holds these keys until it rolls back: a worker that claims one waits.
async fn held(world: &World, keys: &[&str]) -> sqlx::PgConnection {
    let mut sql = world.sql().await;
    sqlx::query("begin").execute(&mut sql).await.unwrap();
    let hold = "insert into submission (client, key, digest, saga_id)
                select 'anonymous', key, '', gen_random_uuid() from unnest($1::text[]) key";
    sqlx::query(hold).bind(keys).execute(&mut sql).await.unwrap();
    sql
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_keys_in_opposite_order_on_two_instances_are_one_order_each() {
    let one = World::start_with(|c| c.driver.workers = 1).await;
    let two = World::start_on(one.config.clone()).await;
    // One batch.
    const KEYS: usize = 500;
    let submit = |n: usize| order::SubmitOrdersRequest {
        client_ref: n.to_string(),
        submit: Some(order::SubmitOrderRequest { idempotency_key: format!("k{n:04}"), order: Some(draft()) }),
    };
    // Somebody holds the first key of each, so that the others queue behind it and meet in two large batches, and one
    // in the middle, so that both batches are half way when they go on.
    let (mut gates, mut middle) = (held(&one, &["one", "two"]).await, held(&one, &["k0250"]).await);
    let first = async |world: &World, key: &str| {
        let request = order::SubmitOrderRequest { idempotency_key: key.into(), order: Some(draft()) };
        assert!(world.orders().submit_order(request).await.unwrap().into_inner().created);
    };
    let sent = Arc::new(AtomicUsize::new(0));
    let send = async |world: &World, keys: Vec<usize>| {
        let requests: Vec<_> = keys.into_iter().map(submit).collect();
        let under_way = Arc::clone(&sent);
        let stream = futures::stream::iter(requests).inspect(move |_| {
            under_way.fetch_add(1, Ordering::Relaxed);
        });
        let answers = world.orders().submit_orders(stream).await.unwrap().into_inner();
        let mut answers: Vec<_> = answers
            .map(|answer| {
                let answer = answer.unwrap();
                match answer.result.unwrap() {
                    Answer::Accepted(a) => {
                        (answer.client_ref.parse::<usize>().unwrap(), a.order_id, a.created)
                    }
                    Answer::Error(error) => panic!("{}: {error:?}", answer.client_ref),
                }
            })
            .collect()
            .await;
        answers.sort();
        answers
    };
    let wait = async |gates: i64| {
        skald_harness::eventually("two workers that wait", DEADLINE, async || {
            let waits = "select (select count(*) from submission where key in ('one', 'two')), count(*)
                           from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
            let waits: (i64, i64) = sqlx::query_as(waits).fetch_one(&mut one.sql().await).await.unwrap();
            if waits == (gates, 2) { Ok(()) } else { Err(waits) }
        })
        .await;
    };
    let release = async {
        skald_harness::eventually("everything was sent", DEADLINE, async || {
            let sent = sent.load(Ordering::Relaxed);
            if sent == 2 * KEYS { Ok(()) } else { Err(sent) }
        })
        .await;
        sqlx::query("rollback").execute(&mut gates).await.unwrap();
        wait(2).await;
        sqlx::query("rollback").execute(&mut middle).await.unwrap();
    };
    let firsts = async { tokio::join!(first(&one, "one"), first(&two, "two")) };
    let sends = async {
        wait(0).await;
        tokio::join!(send(&one, (0..KEYS).collect()), send(&two, (0..KEYS).rev().collect()))
    };
    let (_, (up, down), ()) = tokio::join!(firsts, sends, release);
    assert_eq!((up.len(), down.len()), (KEYS, KEYS));
    for (a, b) in up.iter().zip(&down) {
        assert_eq!((a.0, &a.1), (b.0, &b.1), "both were given the same order");
        assert!(a.2 != b.2, "one of them made it");
    }
    let rows: (i64, i64) =
        sqlx::query_as("select (select count(*) from saga), (select count(*) from submission)")
            .fetch_one(&mut one.sql().await)
            .await
            .unwrap();
    assert_eq!(rows, (KEYS as i64 + 2, KEYS as i64 + 2));
    // Whoever is told of one tries again, so only the server knows.
    let deadlocks: i64 =
        sqlx::query_scalar("select deadlocks from pg_stat_database where datname = current_database()")
            .fetch_one(&mut one.sql().await)
            .await
            .unwrap();
    assert_eq!(deadlocks, 0, "nobody waits in a circle");
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_of_postgres_nobody_counts_as_gone() {
    let mut server = skald_harness::owned_postgres().await;
    server.create_database("orders").await.unwrap();
    let url = skald_kit::config::Secret::new(server.url("orders"));
    let one = World::start_with(|c| c.postgres.url = url).await;
    let two = World::start_on(one.config.clone()).await;
    let kafka = &one.config.kafka;
    let silent = Participant::start(kafka, "inventory", |_| None).await;
    let mut ids = Vec::new();
    for n in 0..40 {
        ids.push(if n % 2 == 0 { &one } else { &two }.submit(&format!("k{n}")).await);
    }
    let instances = async || -> Vec<(uuid::Uuid, String)> {
        let all = "select id, started_at::text from skald.instance order by id";
        sqlx::query_as(all).fetch_all(&mut one.sql().await).await.unwrap()
    };
    let before = instances().await;
    assert_eq!(before.len(), 2);
    server.kill().await.unwrap();
    let killed = std::time::Instant::now();
    skald_harness::eventually("an outage in which every heartbeat is late", DEADLINE, async || {
        (killed.elapsed() > skald_kit::instance::DEAD_AFTER + skald_kit::instance::BEAT).then_some(())
    })
    .await;
    server.restart().await.unwrap();
    for world in [&one, &two] {
        skald_harness::eventually("it works again", DEADLINE, async || {
            let request = order::SubmitOrderRequest { idempotency_key: "after".into(), order: Some(draft()) };
            world.orders().submit_order(request).await.map(|_| ())
        })
        .await;
    }
    skald_harness::eventually("both hearts beat", DEADLINE, async || {
        let fresh = "select count(*) from skald.instance where beat_at > pg_postmaster_start_time()";
        let fresh: i64 = sqlx::query_scalar(fresh).fetch_one(&mut one.sql().await).await.unwrap();
        (fresh == 2).then_some(())
    })
    .await;
    assert_eq!(instances().await, before, "nobody was taken over");
    let speaker = silent.speaker();
    for id in &ids {
        let reserve = silent.command(id, "reserve", Verb::Run).await;
        speaker.say(&reserve, no("OUT_OF_STOCK"), None);
        one.until(id, OrderStatus::Cancelled).await;
    }
    one.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_one_vanishes_the_other_finishes_everything() {
    // So patient that only the sweep behind the one that is gone sends again.
    let survivor = World::start_with(|c| c.driver.resend_gaps_ms = vec![600_000]).await;
    let (victim, runtime) = World::start_doomed(survivor.config.clone()).await;
    // What some customers order is lost at first, so that something is in flight.
    let lost = Mutex::new(HashSet::new());
    let inventory = Participant::start(&survivor.config.kafka, "inventory", move |c| {
        let input = c.input.as_ref().and_then(|input| input.to_msg::<order::OrderInput>().ok());
        let unlucky = input.is_some_and(|input| input.customer_id == "unlucky");
        let first = unlucky && c.step == "reserve" && lost.lock().unwrap().insert(c.saga_id.clone());
        (!first).then(|| yes(c))
    })
    .await;
    let _payment = Participant::start(&survivor.config.kafka, "payment", |c| Some(yes(c))).await;
    let events = Reader::of(&survivor.config.kafka, "orders.events");
    let load = Load::start(16, &[survivor.channel(), victim.channel()]);
    load.more(150).await;
    let mut sql = survivor.sql().await;
    let address = victim.config.listen.grpc.to_string();
    let owner: uuid::Uuid = sqlx::query_scalar("select id from skald.instance where address = $1")
        .bind(&address)
        .fetch_one(&mut sql)
        .await
        .unwrap();
    let mut in_flight = Vec::new();
    for n in 0..5 {
        let order = order::OrderDraft { customer_id: "unlucky".into(), ..draft() };
        let request =
            order::SubmitOrderRequest { idempotency_key: format!("unlucky-{n}"), order: Some(order) };
        let id = victim.place(request).await;
        inventory.command(&id, "reserve", Verb::Run).await;
        in_flight.push(id);
    }
    // Without a farewell: no flush, no commit of offsets, its heart stops.
    runtime.shutdown_background();
    let orphans: i64 =
        sqlx::query_scalar("select count(*) from saga where owner = $1 and wake_at is not null")
            .bind(owner)
            .fetch_one(&mut sql)
            .await
            .unwrap();
    assert!(orphans >= in_flight.len() as i64, "work was in flight: {orphans}");
    load.more(50).await;
    let mut acknowledged = load.end().await;
    acknowledged.extend(in_flight);
    survivor.all_complete(&acknowledged).await;
    skald_harness::eventually("nothing is left of it", DEADLINE, async || {
        let left: (i64, i64, i64) = sqlx::query_as(
            "select (select count(*) from skald.instance where id = $1),
                    (select count(*) from saga where owner = $1 and wake_at is not null),
                    (select count(*) from skald.outbox)",
        )
        .bind(owner)
        .fetch_one(&mut survivor.sql().await)
        .await
        .unwrap();
        if left == (0, 0, 0) { Ok(()) } else { Err(left) }
    })
    .await;
    skald_harness::eventually("every event of every order", DEADLINE, async || {
        let missing = acknowledged.iter().find(|id| {
            let mut kinds = events.kinds(id);
            kinds.sort();
            kinds.dedup();
            kinds.len() != 5
        });
        missing.map_or(Ok(()), Err)
    })
    .await;
    crate::replay::every_history(&survivor).await;
    survivor.stop().await;
}
