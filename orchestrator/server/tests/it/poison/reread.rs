//! Offsets reset to earliest: everything comes again, and nothing changes.

use rdkafka::admin::{AdminClient, AdminOptions};
use skald_proto::order::v1::OrderStatus;

use crate::support::{DEADLINE, Participant, Reader, World, no, yes};

async fn rows(world: &World) -> Vec<(String, i32, Vec<u8>, i64)> {
    let all = "select s.id::text, s.version, s.state, (select count(*) from history h where h.saga_id = s.id)
                 from saga s order by s.id";
    sqlx::query_as(all).fetch_all(&mut world.sql().await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_reset_to_earliest_change_nothing() {
    let world = World::start().await;
    let kafka = world.config.kafka.clone();
    let _inventory = Participant::start(&kafka, "inventory", |c| Some(yes(c))).await;
    let _payment = Participant::start(&kafka, "payment", |c| {
        let last = c.saga_id.bytes().last().unwrap();
        Some(if last.is_ascii_digit() { yes(c) } else { no("PAYMENT_DECLINED") })
    })
    .await;
    let mut ids = Vec::new();
    for n in 0..60 {
        ids.push(world.submit(&format!("k{n}")).await);
    }
    for id in &ids {
        skald_harness::eventually("an end", DEADLINE, async || {
            let status = world.order(id).await.status();
            matches!(status, OrderStatus::Completed | OrderStatus::Cancelled).then_some(())
        })
        .await;
    }
    let before = rows(&world).await;
    let config = world.config.clone();
    world.stop().await;

    let admin: AdminClient<_> = skald_kit::kafka::client_config(&kafka).create().unwrap();
    let group = kafka.topic("skald-orchestrator");
    skald_harness::eventually("the group is forgotten", DEADLINE, async || {
        let deleted = admin.delete_groups(&[&group], &AdminOptions::new()).await.unwrap();
        deleted.into_iter().next().unwrap().map_err(|(_, code)| code)
    })
    .await;
    let dead = Reader::of(&kafka, "skald.inventory.outcomes.dlq");
    let world = World::start_on(config).await;
    for topic in ["skald.inventory.outcomes", "skald.payment.outcomes"] {
        world.all_finished(topic).await;
    }
    assert_eq!(rows(&world).await, before);
    assert!(dead.messages.lock().unwrap().is_empty());
    let next = world.submit("next").await;
    skald_harness::eventually("the next one goes through", DEADLINE, async || {
        let status = world.order(&next).await.status();
        matches!(status, OrderStatus::Completed | OrderStatus::Cancelled).then_some(())
    })
    .await;
    crate::replay::every_history(&world).await;
    world.stop().await;
}
