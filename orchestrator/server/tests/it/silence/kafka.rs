//! Kafka is away: orders are accepted, nothing burns, and afterwards everything goes on.

use skald_proto::order::v1::{self as order, OrderStatus};

use crate::support::{DEADLINE, Participant, World, draft, yes};

/// Seconds: the settings' three, and librdkafka's own pace.
const EVERY_DELIVERY_FAILED: u32 = 4;

async fn submit(world: &World, from: usize, orders: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for n in from..from + orders {
        let request = order::SubmitOrderRequest { idempotency_key: format!("k{n}"), order: Some(draft()) };
        let accepted = tokio::time::timeout(DEADLINE, world.orders().submit_order(request)).await;
        ids.push(accepted.expect("accepted without Kafka").unwrap().into_inner().order_id);
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_accepted_while_kafka_is_away_and_completed_afterwards() {
    let mut broker = skald_harness::owned_kafka().await;
    let servers = broker.bootstrap_servers();
    let world = World::start_with(|c| {
        c.kafka.bootstrap_servers = servers;
        // So that deliveries fail soon, and not after half a minute.
        c.kafka.properties.insert("message.timeout.ms".into(), "3000".into());
        // Whoever could not say farewell is forgotten as soon as the broker allows.
        c.kafka.properties.insert("session.timeout.ms".into(), "6000".into());
        c.shutdown.deadline_seconds = 6;
        // So patient that nothing is sent again but what did not get there.
        c.driver.resend_gaps_ms = vec![600_000];
    })
    .await;
    let kafka = world.config.kafka.clone();
    let inventory = Participant::start(&kafka, "inventory", |c| Some(yes(c))).await;
    let payment = Participant::start(&kafka, "payment", |c| Some(yes(c))).await;
    let mut ids = submit(&world, 0, 20).await;
    world.all_complete(&ids).await;

    broker.kill().await.unwrap();
    ids.extend(submit(&world, 20, 40).await);
    skald_harness::eventually("health says so", DEADLINE, async || {
        let health = world.health("kafka").await;
        if health.0 == "DEGRADED" { Ok(()) } else { Err(health) }
    })
    .await;
    world.beats(EVERY_DELIVERY_FAILED).await;
    for id in &ids[20..] {
        assert_eq!(world.order(id).await.version, 1, "nothing burns");
    }

    // Stopped and started without Kafka: it goes on accepting.
    let config = world.config.clone();
    world.shutdown.request();
    let ended = tokio::time::timeout(config.shutdown.deadline(), world.running).await;
    ended.expect("it ends within its deadline").unwrap().expect("cleanly");
    let world = World::start_on(config).await;
    ids.extend(submit(&world, 60, 20).await);
    // One that never saw Kafka, whose topics nobody has made yet.
    let new = World::start_with(|c| {
        c.kafka.bootstrap_servers = kafka.bootstrap_servers.clone();
    })
    .await;
    let first = submit(&new, 0, 5).await;

    // One that is under way when the broker comes back may arrive and be told to have failed: it is sent again.
    world.beats(EVERY_DELIVERY_FAILED / 2).await;
    broker.restart().await.unwrap();
    world.all_complete(&ids).await;
    let _yes = new.yes().await;
    new.all_complete(&first).await;
    new.stop().await;
    skald_harness::eventually("health is UP again", DEADLINE, async || {
        let health = world.health("kafka").await;
        if health.0 == "UP" { Ok(()) } else { Err(health) }
    })
    .await;
    for (participant, each) in [(&inventory, 2), (&payment, 1)] {
        let commands = participant.seen.lock().unwrap().len();
        let needed = each * ids.len();
        assert!(commands <= needed + needed / 10 + 10, "{}: {commands} for {needed}", participant.name);
    }
    assert_eq!(world.order(&ids[0]).await.status(), OrderStatus::Completed);
    crate::replay::every_history(&world).await;
    world.stop().await;
}
