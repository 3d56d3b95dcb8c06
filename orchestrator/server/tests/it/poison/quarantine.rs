//! A saga whose input or state can't be handled is set aside; the others go on.

use skald_proto::{
    order::v1::{self as order, OrderStatus},
    participant::v1::{Rejected, Verb, outcome::Answer},
    saga::v1::SagaStatus,
};
use tonic::Code;

use crate::support::{DEADLINE, Participant, Reader, World, later, yes};

async fn quarantined(world: &World, id: &str, why: &str) {
    let entry: (String, String) = skald_harness::eventually("the quarantine", DEADLINE, async || {
        let row = "select s.quarantine, a.code from saga s join attention a on a.saga_id = s.id and a.kind = 'QUARANTINED'
                    where s.id = $1::uuid";
        sqlx::query_as(row).bind(id).fetch_optional(&mut world.sql().await).await.unwrap()
    })
    .await;
    assert!(entry.0.contains(why) && entry.1 == "QUARANTINED", "{entry:?}");
}

/// The net finds it once a day, not every second.
async fn sleeps(world: &World, id: &str) {
    skald_harness::eventually("the net leaves it alone", DEADLINE, async || {
        let hours = "select (extract(epoch from wake_at - now()) / 3600)::int from saga where id = $1::uuid";
        let hours: Option<i32> =
            sqlx::query_scalar(hours).bind(id).fetch_one(&mut world.sql().await).await.unwrap();
        if hours.is_some_and(|h| h > 20) { Ok(()) } else { Err(hours) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_the_database_refuses_stops_its_own_saga_alone() {
    let world = World::start().await;
    let kafka = &world.config.kafka;
    let inventory = Participant::start(kafka, "inventory", |_| None).await;
    let _payment = Participant::start(kafka, "payment", |c| Some(yes(c))).await;
    let dead = Reader::of(kafka, "skald.inventory.outcomes.dlq");
    let mut ids = Vec::new();
    for n in 0..12 {
        ids.push(world.submit(&format!("k{n}")).await);
    }
    let mut commands = Vec::new();
    for id in &ids {
        commands.push(inventory.command(id, "reserve", Verb::Run).await);
    }
    let speaker = inventory.speaker();
    for (n, command) in commands.iter().enumerate() {
        // PostgreSQL stores no NUL in a text.
        let nul = Answer::Rejected(Rejected { code: "A\0B".into(), ..Default::default() });
        speaker.say(command, if n == 5 { nul } else { yes(command) }, None);
    }
    for (n, id) in ids.iter().enumerate().filter(|(n, _)| *n != 5) {
        let commit = inventory.command(id, "commit", Verb::Run).await;
        speaker.say(&commit, yes(&commit), None);
        assert_eq!(world.until(id, OrderStatus::Completed).await.version, 4, "order {n}");
    }
    let culprit = &ids[5];
    quarantined(&world, culprit, "0x00").await;
    assert!(world.saga(culprit).await.quarantine.contains("0x00"));
    assert!(world.order(culprit).await.needs_attention);
    let letter = skald_harness::eventually("the dead letter", DEADLINE, async || {
        dead.messages.lock().unwrap().first().cloned()
    })
    .await;
    let reason = letter.header_str("skald-reason").unwrap();
    assert!(reason.starts_with("POISON") && reason.contains("0x00"), "{reason}");
    assert_eq!(letter.header_str("skald-attempts"), Some("3"), "it failed alone three times");

    // Further inputs of it are dropped, not kept; callers are told.
    speaker.say(&commands[5], yes(&commands[5]), None);
    let pay =
        order::PayOrderRequest { order_id: culprit.clone(), payment_token: "t".into(), ..Default::default() };
    let status = world.orders().pay_order(pay).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("quarantined"), "{status:?}");
    world.all_finished("skald.inventory.outcomes").await;
    assert_eq!(dead.messages.lock().unwrap().len(), 1);
    assert_eq!(world.order(culprit).await.version, 1);
    sleeps(&world, culprit).await;
    crate::replay::every_history(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_whose_state_is_broken_is_set_aside_and_others_go_on() {
    let world = World::start_with(|c| c.driver.scan_every_ms = 100).await;
    let [inventory, _payment] = world.yes().await;
    let dead = Reader::of(&world.config.kafka, "skald.inventory.outcomes.dlq");
    let broken = world.place(later("broken")).await;
    let unknown = world.place(later("unknown")).await;
    world.until(&broken, OrderStatus::Reserved).await;
    world.until(&unknown, OrderStatus::Reserved).await;
    let mut sql = world.sql().await;
    let overdue = "wake_at = now() - interval '1 minute'";
    let spoil = format!("update saga set state = '\\xff', {overdue} where id = $1::uuid");
    sqlx::query(sqlx::AssertSqlSafe(spoil)).bind(&broken).execute(&mut sql).await.unwrap();
    // Found by the net, without any message.
    quarantined(&world, &broken, "table saga, column state").await;
    sleeps(&world, &broken).await;
    let spoil = format!("update saga set definition_id = 4711, {overdue} where id = $1::uuid");
    sqlx::query(sqlx::AssertSqlSafe(spoil)).bind(&unknown).execute(&mut sql).await.unwrap();
    quarantined(&world, &unknown, "definition_id").await;
    sleeps(&world, &unknown).await;

    // Late answers about them: dropped, in one batch with somebody else's.
    let command = inventory.command(&broken, "reserve", Verb::Run).await;
    for _ in 0..3 {
        inventory.speaker().say(&command, yes(&command), None);
    }
    let other = world.submit("other").await;
    world.until(&other, OrderStatus::Completed).await;
    world.all_finished("skald.inventory.outcomes").await;
    assert!(dead.messages.lock().unwrap().is_empty(), "what is about a quarantined saga is no dead letter");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_refuses_a_state_of_a_newer_format_and_stops_saying_so() {
    let world = World::start_with(|c| c.driver.scan_every_ms = 100).await;
    let _yes = world.yes().await;
    let id = world.place(later("k")).await;
    world.until(&id, OrderStatus::Reserved).await;
    let newer = "update saga set format = 99, wake_at = now() - interval '1 minute' where id = $1::uuid";
    sqlx::query(newer).bind(&id).execute(&mut world.sql().await).await.unwrap();
    let config = world.config.clone();
    let ended = tokio::time::timeout(DEADLINE, world.running).await.expect("it stops").unwrap();
    let error = format!("{:#}", ended.expect_err("with an error"));
    for word in ["table saga, column state", &id, "format 99", "reads up to 1"] {
        assert!(error.contains(word), "{word} in {error}");
    }
    let untouched: (i16, Option<String>) =
        sqlx::query_as("select format, quarantine from saga where id = $1::uuid")
            .bind(&id)
            .fetch_one(&mut skald_kit::pg::connection(&config.postgres.url).await.unwrap())
            .await
            .unwrap();
    assert_eq!(untouched, (99, None));

    // The newer binary finished the rollout back: this one goes on.
    let older = "update saga set format = 1 where id = $1::uuid";
    let mut sql = skald_kit::pg::connection(&config.postgres.url).await.unwrap();
    sqlx::query(older).bind(&id).execute(&mut sql).await.unwrap();
    let world = World::start_on(config).await;
    world.until_saga(&id, SagaStatus::Running).await;
    let pay =
        order::PayOrderRequest { order_id: id.clone(), payment_token: "t".into(), ..Default::default() };
    world.orders().pay_order(pay).await.unwrap();
    world.until(&id, OrderStatus::Completed).await;
    world.stop().await;
}
