//! Two who decide about one command at once.

use std::sync::Arc;

use skald_harness::eventually;
use skald_participant::Verb;
use sqlx::AssertSqlSafe;
use tokio::sync::Notify;

use crate::{
    house::{House, LONG, ask, command, names, saga},
    toy::Toy,
};

/// Design section 10, test 1: release overtakes an uncommitted reserve.
#[tokio::test(flavor = "multi_thread")]
async fn release_overtakes_an_uncommitted_reserve() {
    let house = House::new("overtake").await;
    let gate = Arc::new(Notify::new());
    let slow = house.start(Toy { hold_write: Some(Arc::clone(&gate)), ..Toy::default() }).await;
    let quick = house.start(Toy::default()).await;
    let id = saga();

    let reserve = tokio::spawn({
        let reserve = command(&id, "reserve", Verb::Run);
        async move { ask(&slow, &[reserve]).await }
    });
    // the slow one stands in its transaction, with the row inserted and the shelf locked
    wrote_and_waits(&house).await;
    let release = tokio::spawn({
        let release = command(&id, "release", Verb::Undo);
        async move { ask(&quick, &[release]).await }
    });
    // the quick one found no row, and waits for a lock of the slow one
    waits_for_a_lock(&house).await;
    gate.notify_one();

    assert_eq!(names(&reserve.await.expect("reserved")), ["succeeded"]);
    assert_eq!(names(&release.await.expect("released")), ["undone"]);
    assert_eq!(house.barrier(&id).await, "RS US");
    assert_eq!(house.shelf().await, (100, 0), "what was reserved was released");
    assert_eq!(house.thing(&id).await, Some(("L".to_owned(), 2)));
    house.stop().await;
}

/// The same without the shelf's lock between them: the domain has nothing to wait for, the barrier alone decides.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_run_the_same_command_one_decides() {
    let house = House::new("twice").await;
    let gate = Arc::new(Notify::new());
    let one = house.start(Toy { hold_write: Some(Arc::clone(&gate)), ..Toy::default() }).await;
    let other = house.start(Toy::default()).await;
    let id = saga();
    let (first, second) = (command(&id, "reserve", Verb::Run), command(&id, "reserve", Verb::Run));
    let first = tokio::spawn(async move { ask(&one, &[first]).await });
    wrote_and_waits(&house).await;
    let second = tokio::spawn(async move { ask(&other, &[second]).await });
    waits_for_a_lock(&house).await;
    gate.notify_one();
    assert_eq!(names(&first.await.expect("answered")), ["succeeded"]);
    assert_eq!(names(&second.await.expect("answered")), ["succeeded"]);
    assert_eq!(house.shelf().await, (99, 1), "one effect");
    house.stop().await;
}

/// Waits until a transaction of the toy has written its things and stays open.
async fn wrote_and_waits(house: &House) {
    asks(
        house,
        "a transaction to be held up",
        "state = 'idle in transaction' and query like '%public.thing%'",
    )
    .await;
}

/// Waits until a transaction waits for a lock.
async fn waits_for_a_lock(house: &House) {
    asks(house, "a transaction to wait for a lock", "wait_event_type = 'Lock'").await;
}

async fn asks(house: &House, what: &str, condition: &str) {
    let mut sql = house.sql().await;
    let count = format!(
        "select count(*) from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid() and {condition}"
    );
    eventually(what, LONG, async || {
        let count = sqlx::query_scalar::<_, i64>(AssertSqlSafe(count.clone()));
        (count.fetch_one(&mut sql).await.expect("counted") > 0).then_some(())
    })
    .await;
}
