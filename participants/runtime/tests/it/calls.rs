//! Calls to the outside world: each at most once, whatever freezes, dies or expires.

use std::{sync::Arc, time::Duration};

use skald_harness::eventually;
use skald_kit::partitions;
use skald_participant::Verb;
use skald_proto::participant::v1 as wire;
use sqlx::AssertSqlSafe;

use crate::{
    house::{House, LONG, ask, by_saga, command, names, saga, saga_of},
    toy::{Gateway, Ice, Toy},
};

fn charge(id: &str) -> wire::Command {
    command(id, "charge", Verb::Run)
}

fn refund(id: &str) -> wire::Command {
    command(id, "refund", Verb::Undo)
}

fn attempt(mut command: wire::Command, attempt: u32) -> wire::Command {
    command.attempt = attempt;
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charge_and_its_refund_over_kafka() {
    let house = House::new("charge").await;
    let toy = Toy::default();
    let gateway = Arc::clone(&toy.gateway);
    house.start(toy).await;
    let ids: Vec<String> = (0..100).map(|_| saga()).collect();
    let all = |make: fn(&str) -> wire::Command| ids.iter().map(|id| make(id)).collect::<Vec<_>>();
    house.send(&all(charge)).await;
    assert!(house.outcomes(100).await.iter().all(|o| o.attempt == 1));
    house.send(&all(refund)).await;
    let told = by_saga(&house.outcomes(200).await);
    assert!(ids.iter().all(|id| told[id] == ["succeeded", "undone"]), "{told:?}");
    assert_eq!((gateway.moved("charge"), gateway.moved("refund")), (100, 100));
    assert_eq!(house.open_intents().await, 0);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definite_no_is_answered_and_the_next_attempt_has_a_new_key() {
    let house = House::new("refuse").await;
    let toy = Toy::default();
    let gateway = Arc::clone(&toy.gateway);
    gateway.with(|books| books.mood = "refuse");
    house.start(toy).await;
    let id = saga();
    house.send(&[charge(&id)]).await;
    assert_eq!(by_saga(&house.outcomes(1).await)[&id], ["failed BUSY"]);
    assert_eq!(house.barrier(&id).await, "RI", "an intent is never deleted");
    gateway.with(|books| books.mood = "");
    house.send(&[attempt(charge(&id), 2)]).await;
    let outcomes = house.outcomes(2).await;
    assert_eq!(names(&outcomes), ["failed BUSY", "succeeded"]);
    assert_eq!(outcomes[1].attempt, 2, "the attempt that stands on the intent");
    let keys: Vec<String> = gateway.with(|books| books.called.iter().map(|(_, key)| key.clone()).collect());
    assert_eq!(keys[1], format!("{}#1", keys[0]));
    assert_eq!(gateway.moved("charge"), 1);
    house.stop().await;
}

/// A decline meets an undo that came while the call was open: nothing to undo, and no call for it.
#[tokio::test(flavor = "multi_thread")]
async fn an_undo_behind_an_open_charge_follows_its_verdict() {
    let house = House::new("behind").await;
    for (mood, told, barrier) in [("decline", "nothing to undo", "RR UN"), ("", "undone", "RS US")] {
        let toy = Toy::default();
        let gateway = Arc::clone(&toy.gateway);
        gateway.with(|books| books.mood = "lost before");
        house.start(toy).await;
        let id = saga();
        house.send(&[charge(&id)]).await;
        house.barrier_is(&id, "RI").await;
        house.send(&[refund(&id)]).await;
        house.barrier_is(&id, "RI UI").await;
        gateway.with(|books| books.mood = mood);
        house.barrier_is(&id, barrier).await;
        let outcomes = eventually("the undo's answer", LONG, async || {
            let found = house.outcomes(2).await;
            let mine = found.into_iter().filter(|o| o.saga_id == id).collect::<Vec<_>>();
            if mine.len() == 2 { Ok(mine) } else { Err(mine.len()) }
        })
        .await;
        let mut names = names(&outcomes);
        names.sort();
        assert!(names.contains(&told.to_owned()), "{names:?}");
        assert_eq!(gateway.moved("refund"), usize::from(mood.is_empty()));
        house.stop().await;
    }
}

/// Design section 10, test 8: payment frozen between intent and call, undo elsewhere, thawed.
#[tokio::test(flavor = "multi_thread")]
async fn a_participant_that_froze_before_its_call_does_no_harm_when_it_thaws() {
    let house = House::new("frozen").await;
    let gateway = Arc::new(Gateway::default());
    let ice = Arc::new(Ice::default());
    let freezes =
        Toy { gateway: Arc::clone(&gateway), freeze_calls: Some(Arc::clone(&ice)), ..Toy::default() };
    let frozen = house.start_on_a_thread(freezes).await;
    let other = house.start(Toy { gateway: Arc::clone(&gateway), ..Toy::default() }).await;
    let id = saga();
    // the whole thread freezes, so no answer comes
    let asked = tokio::spawn({
        let charge = charge(&id);
        async move { ask(&frozen, &[charge]).await }
    });
    eventually("the call to freeze", LONG, async || (ice.frozen() == 1).then_some(())).await;
    assert_eq!(house.barrier(&id).await, "RI");
    assert_eq!(names(&ask(&other, &[refund(&id)]).await), Vec::<String>::new(), "it waits for the charge");

    // the other one takes over: charges with the same key, then refunds
    house.barrier_is(&id, "RS US").await;
    assert_eq!((gateway.moved("charge"), gateway.moved("refund")), (1, 1));
    ice.melt();
    asked.await.expect("thawed");
    // thawed, its key is young: it sends, and the gateway remembers
    let calls = || gateway.with(|books| books.called.iter().filter(|(kind, _)| *kind == "charge").count());
    eventually("the late call", LONG, async || (calls() == 2).then_some(())).await;
    assert_eq!((gateway.moved("charge"), gateway.moved("refund")), (1, 1));
    house.stop().await;
    assert_eq!(house.barrier(&id).await, "RS US");
    assert_eq!(house.thing(&id).await.expect("a row").0, "B");
    assert_eq!(house.open_intents().await, 0);
    let last = house.start(Toy::default()).await;
    assert_eq!(names(&ask(&last, &[charge(&id), refund(&id)]).await), ["succeeded", "undone"]);
    house.stop().await;
}

/// Design section 10, test 9: the answer is lost, and the key expires before anybody can ask.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_key_expired_is_never_repeated() {
    let house = House::new("expired").await;
    let life = Duration::from_millis(1500);
    let toy = Toy { key_lifetime: Some(life), ..Toy::default() };
    let gateway = Arc::clone(&toy.gateway);
    gateway.with(|books| (books.mood, books.lifetime) = ("lost before", Some(life)));
    let address = house.start_with(toy, |calls| calls.key_margin_seconds = 0).await;
    let id = saga();
    house.send(&[charge(&id)]).await;
    house.barrier_is(&id, "RI").await;
    key_is_old(&house, life).await;
    gateway.with(|books| books.mood = "");
    let unresolved = "failed UNRESOLVED final";
    assert_eq!(by_saga(&house.outcomes(1).await)[&id], [unresolved]);
    assert_eq!(gateway.moved("charge"), 0, "it was never sent again");
    assert_eq!(house.thing(&id).await.expect("a row").0, "U");
    // whoever waits for it hears the same
    let seal = command(&id, "charge", Verb::SealRun);
    assert_eq!(names(&ask(&address, &[seal]).await), [unresolved]);
    house.send(&[refund(&id)]).await;
    let told = names(&house.outcomes(3).await);
    assert!(told.iter().all(|told| told == unresolved), "{told:?}");
    assert_eq!(house.barrier(&id).await, "RI UI", "an intent is never deleted and never sealed");

    // in truth the charge had arrived; the next attempt finds it, and the undo follows
    let our_ref = format!("{id}/charge/1");
    gateway.with(|books| books.moved.push(("charge", our_ref, "lost".to_owned())));
    house.send(&[attempt(refund(&id), 2)]).await;
    house.barrier_is(&id, "RS US").await;
    assert_eq!((gateway.moved("charge"), gateway.moved("refund")), (1, 1));
    house.stop().await;
}

/// Test 9, also while frozen: it thaws after its key expired and must not send.
#[tokio::test(flavor = "multi_thread")]
async fn a_participant_that_thaws_after_its_key_expired_sends_nothing() {
    let house = House::new("thaw").await;
    let life = Duration::from_secs(2);
    let gateway = Arc::new(Gateway::default());
    gateway.with(|books| books.lifetime = Some(life));
    let toy = |ice| Toy {
        gateway: Arc::clone(&gateway),
        freeze_calls: ice,
        key_lifetime: Some(life),
        ..Toy::default()
    };
    let mut house = house;
    house.config.calls.key_margin_seconds = 0;
    let ice = Arc::new(Ice::default());
    let frozen = house.start_on_a_thread(toy(Some(Arc::clone(&ice)))).await;
    let id = saga();
    let asked = tokio::spawn({
        let charge = charge(&id);
        async move { ask(&frozen, &[charge]).await }
    });
    eventually("the call to freeze", LONG, async || (ice.frozen() == 1).then_some(())).await;
    let other = house.start(toy(None)).await;
    eventually("the other to give up", LONG, async || {
        (house.thing(&id).await.expect("a row").0 == "U").then_some(())
    })
    .await;
    ice.melt();
    asked.await.expect("thawed");
    house.stop().await;
    assert_eq!(gateway.moved("charge"), 0);
    assert_eq!(house.barrier(&id).await, "RI");
    // the late result ends nobody's sleep: a person still sees it, and the next attempt wakes it
    let waits = "select count(*) from skald.intent where answered = 'UNRESOLVED' and call_after = 'infinity'";
    let waits = sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut house.sql().await).await.expect("asked");
    assert_eq!(waits, 1);
    drop(other);
}

/// The sweeper, not Kafka, resumes: the first one died after it had committed the intent.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_instance_left_is_resumed() {
    let house = House::new("resume").await;
    let gateway = Arc::new(Gateway::default());
    gateway.with(|books| books.mood = "lost after");
    house.start(Toy { gateway: Arc::clone(&gateway), ..Toy::default() }).await;
    let ids: Vec<String> = (0..30).map(|_| saga()).collect();
    house.send(&ids.iter().map(|id| charge(id)).collect::<Vec<_>>()).await;
    eventually("all to be charged", LONG, async || (gateway.moved("charge") == 30).then_some(())).await;
    house.stop().await;
    // as if it had died: its leases run for a minute
    let lease = "update skald.intent set call_after = now() + interval '1 minute'";
    sqlx::query(lease).execute(&mut house.sql().await).await.expect("updated");
    gateway.with(|books| books.mood = "");
    house.start(Toy { gateway: Arc::clone(&gateway), ..Toy::default() }).await;
    let told = by_saga(&house.outcomes(30).await);
    assert!(ids.iter().all(|id| told[id] == ["succeeded"]), "{told:?}");
    assert_eq!(gateway.moved("charge"), 30, "found, not charged again");
    assert_eq!(house.open_intents().await, 0);
    house.stop().await;
}

/// More intents than places: those without one wait in the table and are called all the same.
#[tokio::test(flavor = "multi_thread")]
async fn calls_are_bounded_and_the_rest_waits_in_the_table() {
    let house = House::new("bounded").await;
    let toy = Toy::default();
    let gateway = Arc::clone(&toy.gateway);
    house.start_with(toy, |calls| (calls.concurrency, calls.sweep_ms) = (2, 60_000)).await;
    let ids: Vec<String> = (0..200).map(|_| saga()).collect();
    house.send(&ids.iter().map(|id| charge(id)).collect::<Vec<_>>()).await;
    let told = by_saga(&house.outcomes(200).await);
    assert!(ids.iter().all(|id| told[id] == ["succeeded"]), "{told:?}");
    assert_eq!(gateway.moved("charge"), 200);
    house.stop().await;
}

async fn key_is_old(house: &House, life: Duration) {
    let mut sql = house.sql().await;
    eventually("the key to be old", LONG, async || {
        let old = "select bool_and(now() - key_at > make_interval(secs => $1)) from skald.intent";
        let old = sqlx::query_scalar::<_, Option<bool>>(old).bind(life.as_secs_f64());
        old.fetch_one(&mut sql).await.expect("asked").unwrap_or(false).then_some(())
    })
    .await;
}

/// A stop does not wait for the outside world: who hangs is cut off, who got no turn was never sent, the next start does both.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_cuts_calls_off_and_the_next_start_makes_them() {
    let mut house = House::new("stop").await;
    house.config.shutdown.deadline_seconds = 4;
    let gateway = Arc::new(Gateway::default());
    gateway.with(|books| books.mood = "hang");
    let toy = || Toy { gateway: Arc::clone(&gateway), ..Toy::default() };
    house.start_with(toy(), |calls| calls.concurrency = 2).await;
    let ids: Vec<String> = (0..6).map(|_| saga()).collect();
    house.send(&ids.iter().map(|id| charge(id)).collect::<Vec<_>>()).await;
    let hanging = || gateway.with(|books| books.called.len());
    eventually("two calls to hang", LONG, async || (hanging() == 2).then_some(())).await;
    house.stop().await;
    let mut calls: Vec<i32> = sqlx::query_scalar("select calls from skald.intent")
        .fetch_all(&mut house.sql().await)
        .await
        .expect("rows");
    calls.sort_unstable();
    assert_eq!(calls, [0, 0, 0, 0, 1, 1], "two may have arrived");
    gateway.with(|books| books.mood = "");
    house.start(toy()).await;
    let told = by_saga(&house.outcomes(6).await);
    assert!(ids.iter().all(|id| told[id] == ["succeeded"]), "{told:?}");
    let found = gateway.with(|books| books.called.iter().filter(|(kind, _)| *kind == "find").count());
    assert_eq!((gateway.moved("charge"), found), (6, 2), "searched for those two first");
    house.stop().await;
}

/// What an open intent will settle stands in the barrier: its partition is kept, however old.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_intent_keeps_its_partition() {
    let house = House::new("kept").await;
    let old = saga_of(60);
    let at = skald_kit::ids::timestamp_ms(old.parse().expect("an id")).expect("version 7");
    let mut sql = house.sql().await;
    let barrier = partitions::Table { schema: "skald", name: "barrier" };
    partitions::ensure(&mut sql, barrier, at, at, None).await.expect("made");
    let left = format!(
        "insert into skald.barrier (saga_id, step, epoch, verb, verdict) values ('{old}', 'charge', 1, 'R', 'I');
         insert into skald.intent (saga_id, step, epoch, verb, attempt, gateway_key, call_after, owner, partition)
         values ('{old}', 'charge', 1, 'R', 1, 'k', now(), gen_random_uuid(), -1);
         insert into public.thing values ('{old}', 'charge', 1, 'I')"
    );
    sqlx::raw_sql(AssertSqlSafe(left)).execute(&mut sql).await.expect("left behind");
    let address = house.start(Toy::default()).await;
    // between it and the others there is nothing: what falls there is refused, not tried for ever
    let between = command(&saga_of(53), "reserve", Verb::Run);
    assert_eq!(names(&ask(&address, &[between]).await), ["failed TOO_OLD final"]);
    house.barrier_is(&old, "RS").await;
    house.stop().await;
    // the next start drops it
    house.start(Toy::default()).await;
    assert_eq!(house.barrier(&old).await, "");
    house.stop().await;
}
