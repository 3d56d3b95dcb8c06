//! The simulated gateway by itself: what it remembers, for how long, and how it misbehaves. Several of them on one set of books
//! are the instances of a company.

use std::time::Duration;

use skald_harness::eventually;
use skald_kit::config::Secret;
use skald_participant::Deadline;
use skald_payment::gateway::{
    Answer, Charge, Fault, Gateway as _, Kind, Refund,
    simulated::{Mood, Simulated},
};

use crate::support::{Installation, SOON};

const DAY: Duration = Duration::from_secs(24 * 3_600);

async fn books() -> Installation {
    let installation = Installation::new().await;
    skald_payment::migrate(&installation.config.postgres.url).await.expect("migrated");
    installation
}

fn gateway(installation: &Installation, key_lifetime: Duration) -> Simulated {
    Simulated::start(Secret::new(installation.database.url.clone()), key_lifetime, Mood::default())
}

fn charge(key: &str, token: &str) -> Charge {
    Charge {
        key: key.to_owned(),
        our_ref: "o/charge/1".to_owned(),
        amount_minor: 500,
        currency: "EUR".to_owned(),
        token: token.to_owned(),
        deadline: Deadline::after(DAY),
    }
}

fn reference(answer: Result<Answer, Fault>) -> String {
    match answer {
        Ok(Answer::Moved { reference }) => reference,
        other => panic!("{other:?}"),
    }
}

async fn movements(installation: &Installation) -> i64 {
    let mut connection = installation.connect().await;
    sqlx::query_scalar("select count(*) from gateway.movement")
        .fetch_one(&mut connection)
        .await
        .expect("counted")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_moves_money_once_however_many_ask_at_once() {
    let installation = books().await;
    let gateways = [gateway(&installation, DAY), gateway(&installation, DAY)];
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..400 {
        let (gateway, key) = (gateways[number % 2].clone(), format!("key-{}", number / 2 % 40));
        calls.spawn(async move { (key.clone(), reference(gateway.charge(&charge(&key, "tok_ok")).await)) });
    }
    let mut answers = std::collections::BTreeMap::new();
    for (key, reference) in calls.join_all().await {
        let first = answers.entry(key).or_insert_with(|| reference.clone());
        assert_eq!(*first, reference);
    }
    assert_eq!((answers.len(), movements(&installation).await), (40, 40));
}

#[tokio::test]
async fn a_key_is_forgotten_after_its_time_and_the_movement_is_not() {
    let installation = books().await;
    let gateway = gateway(&installation, Duration::from_secs(1));
    let first = reference(gateway.charge(&charge("key", "tok_ok")).await);
    assert_eq!(reference(gateway.charge(&charge("key", "tok_ok")).await), first);
    // it does charge a second time, and the books show it: that is what callers must prevent
    eventually("the key to be forgotten", SOON, async || {
        let again = reference(gateway.charge(&charge("key", "tok_ok")).await);
        (again != first).then_some(())
    })
    .await;
    assert_eq!(movements(&installation).await, 2);
    let found = gateway.find(Kind::Charge, "o/charge/1", "whatever").await.expect("found");
    assert_eq!(found, Some(Answer::Moved { reference: first }));
    eventually("old keys to be removed", SOON, async || {
        gateway.find(Kind::Refund, "o/other/1", "other").await.expect("an answer");
        let mut connection = installation.connect().await;
        let left: i64 = sqlx::query_scalar("select count(*) from gateway.remembered")
            .fetch_one(&mut connection)
            .await
            .expect("counted");
        (left == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_comes_too_late_is_not_sent() {
    let installation = books().await;
    let gateway = gateway(&installation, DAY);
    let late = Charge { deadline: Deadline::after(Duration::ZERO), ..charge("key", "tok_ok") };
    assert_eq!(gateway.charge(&late).await, Err(Fault::TooLate));
    // in time when it set out, too late when it arrives
    gateway.set_mood(Mood { latency: Duration::from_millis(100), ..Mood::default() });
    let late = Charge { deadline: Deadline::after(Duration::from_millis(20)), ..charge("key", "tok_ok") };
    assert_eq!(gateway.charge(&late).await, Err(Fault::TooLate));
    let refund = Refund {
        key: "key-u".to_owned(),
        our_ref: "o/charge/1".to_owned(),
        charge_ref: "ch".to_owned(),
        amount_minor: 500,
        currency: "EUR".to_owned(),
        deadline: Deadline::after(Duration::ZERO),
    };
    assert_eq!(gateway.refund(&refund).await, Err(Fault::TooLate));
    assert_eq!(movements(&installation).await, 0);
}

#[tokio::test]
async fn moods_can_be_set_while_it_runs() {
    let installation = books().await;
    let gateway = gateway(&installation, DAY);
    gateway.set_mood(Mood { outage: true, ..Mood::default() });
    assert_eq!(gateway.charge(&charge("a", "tok_ok")).await, Err(Fault::Unavailable));
    assert_eq!(gateway.find(Kind::Charge, "o/charge/1", "a").await, Err(Fault::Unavailable));
    assert_eq!(movements(&installation).await, 0);
    gateway.set_mood(Mood { lost_answers_per_mille: 1_000, ..Mood::default() });
    assert_eq!(gateway.charge(&charge("a", "tok_ok")).await, Err(Fault::Lost));
    assert_eq!(movements(&installation).await, 1);
    gateway.set_mood(Mood::default());
    reference(gateway.charge(&charge("a", "tok_ok")).await);
    assert_eq!(movements(&installation).await, 1);
    let latency = Duration::from_millis(150);
    gateway.set_mood(Mood { latency, ..Mood::default() });
    let began = std::time::Instant::now();
    reference(gateway.charge(&charge("b", "tok_ok")).await);
    assert!(began.elapsed() >= latency);
}

#[tokio::test]
async fn books_that_are_away_are_an_outage_and_come_back() {
    let mut postgres = skald_harness::owned_postgres().await;
    let url = Secret::new(postgres.url("postgres"));
    skald_payment::migrate(&url).await.expect("migrated");
    let gateway = Simulated::start(url, DAY, Mood::default());
    let first = reference(gateway.charge(&charge("a", "tok_ok")).await);
    postgres.kill().await.expect("killed");
    let fault = gateway.charge(&charge("b", "tok_ok")).await.expect_err("no answer");
    assert!(matches!(fault, Fault::Unavailable | Fault::Lost), "{fault:?}");
    postgres.restart().await.expect("back");
    let again = eventually("the gateway", SOON, async || gateway.charge(&charge("a", "tok_ok")).await).await;
    assert_eq!(again, Answer::Moved { reference: first });
}
