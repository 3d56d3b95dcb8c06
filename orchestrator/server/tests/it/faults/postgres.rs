//! PostgreSQL goes away under load and comes back.

use skald_kit::config::Secret;
use skald_proto::participant::v1::Verb;

use crate::support::{DEADLINE, Load, Participant, Reader, World, yes};

async fn away_and_back(kill: bool) {
    let mut server = skald_harness::owned_postgres().await;
    server.create_database("orders").await.unwrap();
    let url = Secret::new(server.url("orders"));
    let world = World::start_with(|c| c.postgres.url = url).await;
    let dead =
        ["inventory", "payment"].map(|p| Reader::of(&world.config.kafka, &format!("skald.{p}.outcomes.dlq")));
    let _yes = world.yes().await;
    let load = Load::start(16, &[world.channel()]);
    load.more(100).await;
    let hit: i64 = sqlx::query_scalar("select count(*) from saga where wake_at is not null")
        .fetch_one(&mut world.sql().await)
        .await
        .unwrap();
    if kill {
        server.kill().await.unwrap()
    } else {
        server.stop().await.unwrap()
    }
    assert!(hit > 0, "work was in flight");
    let refused = load.refused();
    skald_harness::eventually("callers are told at once", DEADLINE, async || {
        (load.refused() > refused + 50).then_some(())
    })
    .await;
    assert_eq!(world.health("postgres").await.0, "DEGRADED");
    server.restart().await.unwrap();
    load.more(100).await;
    let acknowledged = load.end().await;
    world.all_complete(&acknowledged).await;
    skald_harness::eventually("health is UP again", DEADLINE, async || {
        let health = world.health("postgres").await;
        if health.0 == "UP" { Ok(()) } else { Err(health) }
    })
    .await;
    for letters in &dead {
        assert!(letters.messages.lock().unwrap().is_empty(), "no dead letter for an outage");
    }
    crate::replay::every_history(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_postgres_under_load_loses_nothing() {
    away_and_back(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_killed_under_load_loses_nothing() {
    away_and_back(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_frozen_in_a_transaction_holds_nobody_up_for_long() {
    let world = World::start().await;
    let inventory = Participant::start(&world.config.kafka, "inventory", |_| None).await;
    let _payment = Participant::start(&world.config.kafka, "payment", |c| Some(yes(c))).await;
    let id = world.submit("k").await;
    let reserve = inventory.command(&id, "reserve", Verb::Run).await;
    // As another instance's worker would have it, and then says no more.
    let mut frozen = skald_kit::pg::worker_connection(&world.config.postgres.url).await.unwrap();
    sqlx::query("begin").execute(&mut frozen).await.unwrap();
    let lock = "select id from saga where id = $1::uuid for update";
    sqlx::query(lock).bind(&id).execute(&mut frozen).await.unwrap();
    inventory.speaker().say(&reserve, yes(&reserve), None);
    let commit = inventory.command(&id, "commit", Verb::Run).await;
    inventory.speaker().say(&commit, yes(&commit), None);
    world.all_complete(&[id]).await;
    assert!(sqlx::query("select 1").execute(&mut frozen).await.is_err(), "its session was ended");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_while_idle_is_nobodys_problem() {
    let world = World::start().await;
    let _yes = world.yes().await;
    let first = world.submit("first").await;
    world.all_complete(&[first]).await;
    for n in 0..3 {
        // Workers' connections and everybody else's, as a failover would.
        let others = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                       where datname = current_database() and pid <> pg_backend_pid()";
        let ended: i64 = sqlx::query_scalar(others).fetch_one(&mut world.sql().await).await.unwrap();
        assert!(ended > 0, "somebody was connected");
        let next = world.submit(&format!("next-{n}")).await;
        world.all_complete(&[next]).await;
    }
    skald_harness::eventually("health is UP", DEADLINE, async || {
        let health = world.health("postgres").await;
        if health.0 == "UP" { Ok(()) } else { Err(health) }
    })
    .await;
    world.stop().await;
}
