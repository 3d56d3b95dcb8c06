//! Several instances of each service on one database and one set of topics: one dies or stops, the others go on. And the soft
//! stop of every process: exit code 0 with nothing lost, or at once when it is asked twice.

use std::process::ExitStatus;

use futures::future::join_all;
use sqlx::{Connection as _, Executor as _, PgConnection};

use super::{
    LIMIT, audit,
    flight::{Flight, freeze_when},
    shop::{End, Load, Order, SHELF, Shop, TEA, Then, draft, mixed},
    world::{Kind, World},
};

/// Clients that place orders at the same time.
const CLIENTS: usize = 6;

async fn two_of_each() -> (World, Shop) {
    let mut world =
        World::plan().two(Kind::Orchestrator).two(Kind::Inventory).two(Kind::Payment).start().await;
    world.stock(&SHELF).await;
    let shop = Shop::new(&world);
    (world, shop)
}

/// Active sagas that an instance wrote last.
async fn owned(conn: &mut PgConnection, address: &str) -> i64 {
    sqlx::query_scalar(
        "select count(*) from public.saga s join skald.instance i on i.id = s.owner
         where s.wake_at is not null and i.address = $1",
    )
    .bind(address)
    .fetch_one(conn)
    .await
    .expect("the sagas can be read")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_orchestrator_dies_and_the_other_finishes_everything() {
    let (world, shop) = two_of_each().await;
    let first = Load::start(&shop, (0..20).map(mixed), CLIENTS);
    let victim = world.service(Kind::Orchestrator, 0);
    let mut conn = world.sql(Kind::Orchestrator).await;
    let hit = freeze_when(victim, "an orchestrator with sagas of its own under way", async || {
        let owned = owned(&mut conn, &victim.address()).await;
        if owned >= 3 { Ok(owned) } else { Err(owned) }
    })
    .await;
    let second = Load::start(&shop, (20..30).map(mixed), CLIENTS);
    victim.kill9().await;
    let left = owned(&mut conn, &victim.address()).await;
    println!("killed one of two with {hit} sagas of its own under way, {left} of them right afterwards");
    assert!(left > 0, "the kill hit work in flight");
    let third = Load::start(&shop, (30..50).map(mixed), CLIENTS);
    for load in [first, second, third] {
        load.done().await;
    }
    let ends = audit::at_rest(&world, &shop).await;
    assert_eq!(ends.values().sum::<usize>(), 50, "{ends:?}");
    assert!(!victim.is_running());
    skald_harness::eventually("the dead one's place to be cleared", LIMIT, async || {
        let there: i64 = sqlx::query_scalar("select count(*) from skald.instance where address = $1")
            .bind(victim.address())
            .fetch_one(&mut conn)
            .await
            .map_err(|error| error.to_string())?;
        if there == 0 { Ok(()) } else { Err(there.to_string()) }
    })
    .await;
}

/// Asks a process to stop, and checks that it left as one should: code 0 (a hard end at its deadline has 1), its place cleared.
async fn stop_softly(world: &World, kind: Kind, n: usize) {
    let service = world.service(kind, n);
    service.sigterm();
    let status: ExitStatus = service.ended().await;
    assert_eq!(status.code(), Some(0), "{} {n}:\n{}", kind.name(), service.log());
    let there: i64 = sqlx::query_scalar("select count(*) from skald.instance where address = $1")
        .bind(service.address())
        .fetch_one(&mut world.sql(kind).await)
        .await
        .expect("the instances can be read");
    // An orchestrator whose participant over gRPC went away before it keeps its place and says so: what was on the stream is
    // lost, and whoever comes next looks at its sagas at once.
    let over_grpc = Kind::ALL.into_iter().any(|kind| world.is_over_grpc(kind));
    let left = kind == Kind::Orchestrator && over_grpc && service.log().contains("commands were left");
    assert!(there == 0 || left, "{} {n} left its place in skald.instance", kind.name());
}

async fn until_in_flight(world: &World, kind: Kind, work: usize) {
    let mut conn = world.sql(Kind::Orchestrator).await;
    skald_harness::eventually(&format!("work for the {}", kind.name()), LIMIT, async || {
        let flight = Flight::read(&mut conn).await;
        if flight.work_for(kind) >= work { Ok(()) } else { Err(flight) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_stops_softly_under_load() {
    let (mut world, shop) = two_of_each().await;
    let mut loads = Vec::new();
    for (n, kind) in Kind::ALL.into_iter().enumerate() {
        loads.push(Load::start(&shop, (n * 20..n * 20 + 20).map(mixed), CLIENTS));
        until_in_flight(&world, kind, 2).await;
        stop_softly(&world, kind, 0).await;
        world.service_mut(kind, 0).restart().await;
    }
    for load in loads {
        load.done().await;
    }
    let ends = audit::at_rest(&world, &shop).await;
    assert_eq!(ends.values().sum::<usize>(), 60, "{ends:?}");
    let unanswered: Vec<String> = shop.ledger().into_iter().flat_map(|promise| promise.unanswered).collect();
    assert!(unanswered.is_empty(), "who stops softly answers every call that it took: {unanswered:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_stops_softly_and_starts_again() {
    let mut world = World::plan().start().await;
    world.stock(&SHELF).await;
    let shop = Shop::new(&world);
    let load = Load::start(&shop, (0..40).map(mixed), CLIENTS);
    until_in_flight(&world, Kind::Payment, 2).await;
    join_all(Kind::ALL.map(|kind| stop_softly(&world, kind, 0))).await;
    let stopped = Flight::read(&mut world.sql(Kind::Orchestrator).await).await;
    println!(
        "stopped with {} sagas under way, commands in flight: {:?}",
        stopped.sagas.len(),
        stopped.commands
    );
    assert!(!stopped.sagas.is_empty(), "there was work in flight");
    for kind in Kind::ALL {
        world.service_mut(kind, 0).restart().await;
    }
    load.done().await;
    let ends = audit::at_rest(&world, &shop).await;
    assert_eq!(ends.values().sum::<usize>(), 40, "{ends:?}");
}

/// Something of each service's that a transaction of ours can hold, so that a soft stop has to wait.
fn held(kind: Kind) -> &'static str {
    match kind {
        Kind::Orchestrator => "lock table public.saga in exclusive mode",
        Kind::Inventory => "lock table public.stock in exclusive mode",
        Kind::Payment => "lock table public.charge in exclusive mode",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once() {
    let mut world = World::plan().start().await;
    world.stock(&SHELF).await;
    let shop = Shop::new(&world);
    for kind in Kind::ALL {
        let mut conn = world.sql(kind).await;
        let mut held_by_us = conn.begin().await.expect("a transaction");
        held_by_us.execute(held(kind)).await.expect("held");
        let order =
            Order { draft: draft(&[(TEA, 1)], Some("tok_ok")), end: End::Completed, then: Then::Nothing };
        let load = Load::start(&shop, [order], 1);
        let mut looker = world.sql(kind).await;
        skald_harness::eventually(&format!("the {} to be stuck", kind.name()), LIMIT, async || {
            let query = "select count(*) from pg_locks l join pg_database d on d.oid = l.database
                         where not l.granted and d.datname = current_database()";
            let waiting: i64 =
                sqlx::query_scalar(query).fetch_one(&mut looker).await.map_err(|error| error.to_string())?;
            if waiting > 0 { Ok(()) } else { Err(String::from("nobody waits")) }
        })
        .await;
        let service = world.service(kind, 0);
        service.sigterm();
        skald_harness::eventually("the soft stop to begin", LIMIT, async || {
            service.log().contains("a second signal ends at once").then_some(())
        })
        .await;
        assert!(service.is_running(), "it finishes what it is in the middle of");
        service.sigterm();
        assert_eq!(service.ended().await.code(), Some(1), "{}:\n{}", kind.name(), service.log());
        assert!(service.log().contains("a second signal: ending at once"), "{}", service.log());
        held_by_us.rollback().await.expect("let go");
        world.service_mut(kind, 0).restart().await;
        load.done().await;
    }
    audit::at_rest(&world, &shop).await;
}
