//! COMMIT is answered by a dropped connection: nobody knows, everybody may ask again.

use skald_proto::order::v1::{self as order, OrderStatus};
use tonic::Code;

use crate::support::{Cut, DEADLINE, Load, Participant, Proxy, Reader, World, draft, yes};

async fn world() -> (World, Proxy) {
    let mut proxy = None;
    let database = skald_kit::config::Secret::new(skald_harness::database("server").await.url);
    let through = Proxy::start(&database).await;
    let world = World::start_with(|c| {
        c.driver.workers = 1;
        // So patient that nothing is sent again but what may never have been sent.
        c.driver.resend_gaps_ms = vec![600_000];
        c.postgres.url = through.url(&database);
        proxy = Some(through);
    })
    .await;
    (world, proxy.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_caller_is_told_that_it_may_have_been_accepted_and_a_repeat_tells() {
    let (world, proxy) = world().await;
    let mut orders = world.orders();
    for (key, cut) in [("landed", Cut::After), ("lost", Cut::Before)] {
        let submit = || order::SubmitOrderRequest { idempotency_key: key.into(), order: Some(draft()) };
        proxy.cut(cut);
        // Some other transaction may have had the cut: the net's, the relay's.
        let mut tries = 0;
        let status = loop {
            tries += 1;
            let key = format!("{key}-{tries}");
            match orders.submit_order(order::SubmitOrderRequest { idempotency_key: key, ..submit() }).await {
                Err(status) => break status,
                Ok(_) => proxy.cut(cut),
            }
            assert!(tries < 20, "it is never cut");
        };
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert!(status.message().contains("may have been accepted"), "{status:?}");
        let again = || order::SubmitOrderRequest { idempotency_key: format!("{key}-{tries}"), ..submit() };
        let first =
            skald_harness::eventually("an answer", DEADLINE, async || orders.submit_order(again()).await)
                .await
                .into_inner();
        assert_eq!(first.created, cut == Cut::Before, "{cut:?}");
        let second = orders.submit_order(again()).await.unwrap().into_inner();
        assert_eq!((second.order_id, second.created), (first.order_id, false));
    }
    let _yes = world.yes().await;
    let open: Vec<(uuid::Uuid, String)> =
        sqlx::query_as("select id, client || key from submission join saga on id = saga_id")
            .fetch_all(&mut world.sql().await)
            .await
            .unwrap();
    let ids: Vec<String> = open.into_iter().map(|(id, _)| id.to_string()).collect();
    world.all_complete(&ids).await;
    let sagas: i64 =
        sqlx::query_scalar("select count(*) from saga").fetch_one(&mut world.sql().await).await.unwrap();
    assert_eq!(sagas as usize, ids.len(), "no order without its key");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_whose_commit_is_unknown_still_moves_its_saga() {
    let (world, proxy) = world().await;
    let kafka = &world.config.kafka;
    let inventory = Participant::start(kafka, "inventory", |_| None).await;
    let _payment = Participant::start(kafka, "payment", |c| Some(yes(c))).await;
    for (key, cut) in [("landed", Cut::After), ("lost", Cut::Before)] {
        let id = world.submit(key).await;
        let reserve = inventory.command(&id, "reserve", skald_proto::participant::v1::Verb::Run).await;
        let before = proxy.cuts();
        proxy.cut(cut);
        inventory.speaker().say(&reserve, yes(&reserve), None);
        let commit = inventory.command(&id, "commit", skald_proto::participant::v1::Verb::Run).await;
        inventory.speaker().say(&commit, yes(&commit), None);
        let order = world.until(&id, OrderStatus::Completed).await;
        assert_eq!(order.version, 4, "each outcome counted once");
        assert!(proxy.cuts() > before, "it was cut");
    }
    crate::replay::every_history(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_with_commits_cut_again_and_again() {
    let (world, proxy) = world().await;
    let dead = Reader::of(&world.config.kafka, "skald.inventory.outcomes.dlq");
    let _yes = world.yes().await;
    let load = Load::start(16, &[world.channel()]);
    for n in 0..12 {
        load.more(15).await;
        proxy.cut(if n % 2 == 0 { Cut::After } else { Cut::Before });
    }
    let acknowledged = load.end().await;
    assert!(proxy.cuts() >= 10);
    world.all_complete(&acknowledged).await;
    // Also those that were stored although nobody was told.
    skald_harness::eventually("nothing is under way", DEADLINE, async || {
        let open: i64 = sqlx::query_scalar("select count(*) from saga where wake_at is not null")
            .fetch_one(&mut world.sql().await)
            .await
            .unwrap();
        if open == 0 { Ok(()) } else { Err(open) }
    })
    .await;
    assert!(dead.messages.lock().unwrap().is_empty());
    crate::replay::every_history(&world).await;
    world.stop().await;
}
