//! A participant that is down, or that loses what it was told.

use std::{collections::HashSet, sync::Mutex, time::Instant};

use skald_proto::{order::v1::OrderStatus, participant::v1::Verb, saga::v1::SagaStatus};

use crate::support::{DEADLINE, Participant, World, yes};

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_participant_costs_no_order_its_life_and_gets_no_stampede() {
    const ORDERS: usize = 200;
    const CANARIES: f64 = 2.0;
    let world = World::start_with(|c| {
        c.driver.resend_gaps_ms = vec![50, 100, 200];
        c.driver.resend_canaries_per_second = CANARIES;
    })
    .await;
    let _payment = Participant::start(&world.config.kafka, "payment", |c| Some(yes(c))).await;
    let began = Instant::now();
    let mut ids = Vec::new();
    for n in 0..ORDERS {
        ids.push(world.submit(&format!("k{n}")).await);
    }
    // Unpaced, these would be a thousand commands a second.
    world.beats(4).await;
    let list = skald_proto::saga::v1::ListRequest { page_size: 500, ..Default::default() };
    let sagas = world.sagas().list(list).await.unwrap().into_inner().sagas;
    assert_eq!(sagas.len(), ORDERS);
    for saga in &sagas {
        assert_eq!(
            (saga.status(), saga.version),
            (SagaStatus::Running, 1),
            "no order is cancelled, nothing burns"
        );
        assert_eq!(saga.steps[0].attempt, 1, "silence is no attempt");
    }
    // Back again: everything that was sent is still in its topic.
    let inventory = Participant::start(&world.config.kafka, "inventory", |c| Some(yes(c))).await;
    world.all_complete(&ids).await;
    let elapsed = began.elapsed().as_secs_f64();
    let commands = inventory.seen.lock().unwrap().len();
    let extra = commands - 2 * ORDERS;
    // A tenth of what it answers, repeats included, and the canaries.
    let allowed = CANARIES * (elapsed + 1.0) + 0.1 * commands as f64 + 1.0;
    assert!(extra as f64 <= allowed, "{extra} extra commands, {allowed} allowed");
    assert!(extra > 0, "canaries went out");
    crate::replay::every_history(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_participant_loses_is_sent_again() {
    let world = World::start_with(|c| {
        c.driver.resend_gaps_ms = vec![50, 100, 200];
        c.driver.resend_canaries_per_second = 50.0;
    })
    .await;
    let kafka = &world.config.kafka;
    // The first of every command is lost, whatever it asks.
    let forgetful = || {
        let known = Mutex::new(HashSet::new());
        move |c: &skald_proto::participant::v1::Command| {
            let first = known.lock().unwrap().insert((c.saga_id.clone(), c.step.clone(), c.verb));
            (!first).then(|| yes(c))
        }
    };
    let inventory = Participant::start(kafka, "inventory", forgetful()).await;
    let _payment = Participant::start(kafka, "payment", forgetful()).await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(world.submit(&format!("k{n}")).await);
    }
    world.all_complete(&ids).await;
    for id in &ids {
        let asked = inventory.asked(id);
        assert!(asked.iter().all(|(_, _, attempt)| *attempt == 1), "re-sending is no attempt: {asked:?}");
        assert_eq!(world.order(id).await.version, 4);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_net_finds_what_no_timer_knows() {
    let world = World::start_with(|c| c.driver.scan_every_ms = 100).await;
    let kafka = &world.config.kafka;
    let inventory = Participant::start(kafka, "inventory", |_| None).await;
    let _payment = Participant::start(kafka, "payment", |c| Some(yes(c))).await;
    let id = world.submit("k").await;
    let command = inventory.command(&id, "reserve", Verb::Run).await;
    // As if it was long ago that an instance which left no trace had sent it.
    let strange = "update saga set owner = gen_random_uuid(), updated_at = now() - interval '1 hour',
                          wake_at = now() - interval '1 minute' where id = $1::uuid";
    sqlx::query(strange).bind(&id).execute(&mut world.sql().await).await.unwrap();
    skald_harness::eventually("it is sent again", DEADLINE, async || {
        (inventory.asked(&id).len() == 2).then_some(())
    })
    .await;
    let mine: bool = sqlx::query_scalar(
        "select owner in (select id from skald.instance) and wake_at > now() from saga where id = $1::uuid",
    )
    .bind(&id)
    .fetch_one(&mut world.sql().await)
    .await
    .unwrap();
    assert!(mine, "this instance looks after it now");
    inventory.speaker().say(&command, yes(&command), None);
    let commit = inventory.command(&id, "commit", Verb::Run).await;
    inventory.speaker().say(&commit, yes(&commit), None);
    world.until(&id, OrderStatus::Completed).await;
    world.stop().await;
}
