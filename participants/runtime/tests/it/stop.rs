//! A stop with everything in flight: within the deadline, as a clean end, and nothing of the participant is left behind.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use skald_harness::eventually;
use skald_participant::Verb;
use skald_proto::participant::v1::{ExecuteRequest, participant_service_client::ParticipantServiceClient};
use sqlx::Connection as _;

use crate::{
    house::{House, LONG, ask, by_saga, command, saga},
    toy::{Gateway, Toy},
};

#[tokio::test(flavor = "multi_thread")]
async fn streams_calls_and_waves_under_way_end_with_the_participant() {
    let mut house = House::new("busy").await;
    house.config.shutdown.deadline_seconds = 8;
    let gateway = Arc::new(Gateway::default());
    gateway.with(|books| books.mood = "hang");
    let address = house.start(Toy { gateway: Arc::clone(&gateway), ..Toy::default() }).await;

    // three calls hang at the gateway, one of them asked for over Kafka
    let charges: Vec<String> = (0..3).map(|_| saga()).collect();
    for id in &charges[..2] {
        assert_eq!(ask(&address, &[command(id, "charge", Verb::Run)]).await, []);
    }
    house.send(&[command(&charges[2], "charge", Verb::Run)]).await;
    eventually("the calls to hang", LONG, async || {
        gateway.with(|books| (books.called.len() == 3).then_some(()))
    })
    .await;

    // two streams without an end, and two waves that wait for a lock: one over Kafka, one over a stream
    let mut client = ParticipantServiceClient::connect(address.clone()).await.expect("connected");
    let mut idle = Vec::new();
    for _ in 0..2 {
        let endless = tokio_stream::pending::<ExecuteRequest>();
        idle.push(client.execute(endless).await.expect("taken").into_inner());
    }
    let mut sql = house.sql().await;
    let mut lock = sql.begin().await.expect("begun");
    sqlx::query("select from public.shelf for update").execute(&mut *lock).await.expect("locked");
    let (kafka, streamed) = (saga(), saga());
    house.send(&[command(&kafka, "reserve", Verb::Run)]).await;
    let request =
        ExecuteRequest { commands: vec![command(&streamed, "reserve", Verb::Run)], ..Default::default() };
    let mut waiting = client.execute(tokio_stream::iter([request])).await.expect("taken").into_inner();
    eventually("both waves to wait for the lock", LONG, async || {
        let waiting: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        )
        .fetch_one(&mut house.sql().await)
        .await
        .expect("counted");
        (waiting == 2).then_some(())
    })
    .await;

    let began = Instant::now();
    house.stop().await;
    assert!(began.elapsed() < Duration::from_secs(8), "it took {:?}", began.elapsed());
    assert!(waiting.message().await.is_err(), "nothing was decided, so nothing is answered");
    eventually("the last task to let go of the service", LONG, async || {
        let held = Arc::strong_count(&gateway);
        if held == 1 { Ok(()) } else { Err(held) }
    })
    .await;
    lock.rollback().await.expect("let go");

    // nothing was lost: what came over Kafka comes again, calls are searched for
    gateway.with(|books| books.mood = "");
    house.start(Toy { gateway: Arc::clone(&gateway), ..Toy::default() }).await;
    let told = by_saga(&house.outcomes(2).await);
    assert_eq!((&told[&kafka], &told[&charges[2]]), (&vec!["succeeded".into()], &vec!["succeeded".into()]));
    for id in &charges {
        house.barrier_is(id, "RS").await;
    }
    assert_eq!((gateway.moved("charge"), house.open_intents().await), (3, 0));
    assert_eq!(house.barrier(&streamed).await, "");
    house.stop().await;
}
