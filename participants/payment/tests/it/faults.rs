//! A process that dies or freezes between the committed intent and the call, and keys that grow too old meanwhile. Whatever
//! happens, the gateway's own books show one charge at most.

use prost::Message as _;
use skald_harness::eventually;
use skald_kit::kafka::Message;
use skald_proto::{
    participant::v1::{Outcome, outcome::Answer},
    payment::v1::ChargeState,
};
use uuid::Uuid;

use crate::support::{Installation, Instance, Listener, SOON, Sender, charge, order, refund};

/// What a call takes until it is sent: long enough to stop the process in it.
const ON_ITS_WAY_MS: u32 = 1_500;

/// A process whose call to charge this order is on its way, not yet sent.
async fn on_its_way(installation: &mut Installation, order: Uuid) -> Instance {
    installation.config.gateway.latency_ms = ON_ITS_WAY_MS;
    let process = installation.spawn().await;
    installation.config.gateway.latency_ms = 0;
    assert_eq!(process.execute(charge(order, "tok_ok")).await, None);
    installation.intent_is_open(order).await;
    process
}

#[tokio::test]
async fn killed_between_intent_and_call_another_one_charges_once() {
    let mut installation = Installation::new().await;
    let id = order();
    let victim = on_its_way(&mut installation, id).await;
    victim.kill9().await;
    installation.forget_instances().await;
    assert_eq!(installation.calls(id).await, [], "the kill came too late");
    let other = installation.start().await;
    assert!(matches!(other.answer(&charge(id, "tok_ok")).await, Answer::Succeeded(_)));
    assert_eq!(installation.kinds(id).await, ["charge"]);
    // the other one could not know that nothing had been sent
    let kinds: Vec<String> = installation.calls(id).await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["find", "charge"]);
}

#[tokio::test]
async fn killed_after_the_capture_another_one_finds_it() {
    let installation = Installation::new().await;
    let id = order();
    let victim = installation.spawn().await;
    // the gap before the search is a second, so the process dies before it knows
    assert_eq!(victim.execute(charge(id, "tok_lost_answer")).await, None);
    eventually("the capture", SOON, async || installation.movements(id).await.first().cloned()).await;
    victim.kill9().await;
    installation.forget_instances().await;
    let other = installation.start().await;
    assert!(matches!(other.answer(&charge(id, "tok_lost_answer")).await, Answer::Succeeded(_)));
    assert!(matches!(other.answer(&refund(id)).await, Answer::Undone(_)));
    assert_eq!(installation.kinds(id).await, ["charge", "refund"]);
}

/// Design section 10, test 8.
#[tokio::test]
async fn frozen_between_intent_and_call_undone_elsewhere_and_thawed() {
    let mut installation = Installation::new().await;
    let id = order();
    let frozen = on_its_way(&mut installation, id).await;
    frozen.freeze();
    installation.forget_instances().await;
    let other = installation.start().await;
    assert!(matches!(other.answer(&refund(id)).await, Answer::Undone(_)));
    assert_eq!(installation.kinds(id).await, ["charge", "refund"]);
    let before = installation.calls(id).await.len();
    frozen.thaw();
    // it does send, with the same key, and gets the answer that the other one got
    let calls = eventually("the thawed call", SOON, async || {
        let calls = installation.calls(id).await;
        (calls.len() > before).then_some(calls)
    })
    .await;
    let (kind, answer) = &calls[before];
    assert!(kind == "charge" && answer.starts_with("repeated"), "{calls:?}");
    for payment in [&frozen, &other] {
        assert!(matches!(payment.answer(&charge(id, "tok_ok")).await, Answer::Succeeded(_)));
        assert!(matches!(payment.answer(&refund(id)).await, Answer::Undone(_)));
        assert_eq!(payment.charge(id).await.state(), ChargeState::Refunded);
    }
    assert_eq!(installation.kinds(id).await, ["charge", "refund"]);
    frozen.stop().await;
    other.stop().await;
}

/// Design section 10, test 9: the key is forgotten while the process that would use it is frozen.
#[tokio::test]
async fn frozen_until_the_key_is_forgotten_nothing_is_sent() {
    let mut installation = Installation::new().await;
    installation.config.gateway.key_lifetime_seconds = 6;
    installation.config.calls.key_margin_seconds = 1;
    // Longer than the freeze on any machine: a call that is cut off tells nobody whether it would have sent.
    installation.config.calls.timeout_ms = 60_000;
    let id = order();
    let frozen = on_its_way(&mut installation, id).await;
    frozen.freeze();
    installation.forget_instances().await;
    let other = installation.start().await;
    assert!(matches!(other.answer(&charge(id, "tok_ok")).await, Answer::Succeeded(_)));
    assert_eq!(installation.kinds(id).await, ["charge"]);
    eventually("the key to be forgotten", SOON, async || {
        let query =
            "select count(*) from gateway.remembered where at > clock_timestamp() - interval '6 seconds'";
        let young: i64 =
            sqlx::query_scalar(query).fetch_one(&mut installation.connect().await).await.expect("counted");
        (young == 0).then_some(())
    })
    .await;
    frozen.thaw();
    let ended = eventually("the thawed process's call to end", SOON, async || {
        let metrics = frozen.metrics().await;
        let ended = |line: &&str| line.starts_with("payment_gateway_calls_total{kind=\"charge\"");
        metrics.lines().find(ended).map(str::to_owned)
    })
    .await;
    assert_eq!(installation.kinds(id).await, ["charge"], "charged twice");
    assert!(ended.contains("not_sent"), "{ended}");
    assert!(matches!(frozen.answer(&charge(id, "tok_ok")).await, Answer::Succeeded(_)));
    frozen.stop().await;
}

/// Design section 10, test 9: nobody can tell whether it was sent, and the key is too old to try.
#[tokio::test]
async fn an_intent_whose_key_grew_too_old_is_unresolved_and_never_repeated() {
    let mut installation = Installation::new().await;
    installation.config.gateway.key_lifetime_seconds = 2;
    installation.config.calls.key_margin_seconds = 1;
    installation.config.gateway.latency_ms = ON_ITS_WAY_MS;
    let id = order();
    let victim = installation.spawn().await;
    let (sender, mut outcomes) =
        (Sender::new(&installation), Listener::new(&installation, "skald.payment.outcomes"));
    sender.send(&charge(id, "tok_ok"));
    installation.intent_is_open(id).await;
    victim.kill9().await;
    installation.forget_instances().await;
    eventually("the key to grow too old", SOON, async || {
        let query =
            "select count(*) from skald.intent where key_at > clock_timestamp() - interval '1 second'";
        let young: i64 =
            sqlx::query_scalar(query).fetch_one(&mut installation.connect().await).await.expect("counted");
        (young == 0).then_some(())
    })
    .await;
    installation.config.gateway.latency_ms = 0;
    let other = installation.start().await;
    assert_unresolved(outcomes.until(1).await.last());
    assert_eq!(other.charge(id).await.state(), ChargeState::Unresolved);
    // asked again, or to be undone: searched again, never sent
    let seen = outcomes.until(1).await.len();
    sender.send(&charge(id, "tok_ok"));
    assert_unresolved(outcomes.until(seen + 1).await.last());
    let seen = outcomes.until(1).await.len();
    sender.send(&refund(id));
    assert_unresolved(outcomes.until(seen + 1).await.last());
    assert_eq!(installation.movements(id).await, []);
    let kinds: Vec<String> = installation.calls(id).await.into_iter().map(|(kind, _)| kind).collect();
    assert!(!kinds.is_empty() && kinds.iter().all(|kind| kind == "find"), "{kinds:?}");
    other.stop().await;
}

fn assert_unresolved(message: Option<&Message>) {
    let outcome = Outcome::decode(message.expect("an outcome").payload.as_slice()).expect("an outcome");
    let Some(Answer::Failed(failed)) = outcome.answer else { panic!("{outcome:?}") };
    assert_eq!((failed.code.as_str(), failed.retryable), ("UNRESOLVED", false));
}
