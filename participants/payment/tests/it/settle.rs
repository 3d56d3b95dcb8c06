//! Settle: a named person says what became of a call that nobody can ask about any more.

use prost::Message as _;
use skald_harness::eventually;
use skald_kit::kafka::Message;
use skald_proto::{
    participant::v1::{Command, Outcome, Verb, outcome::Answer},
    payment::v1::{
        ChargeState, Charged, DidNotHappen, Happened, Refunded, SetGatewayMoodRequest, SettleRequest,
        SettleResponse, settle_request::Found,
    },
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::support::{
    Installation, Instance, Listener, SOON, Sender, any, bad_fields, charge, order, refund,
};

fn says(id: Uuid, verb: Verb, reference: Option<&str>) -> SettleRequest {
    let found = match reference {
        Some(reference) => Found::Happened(Happened { reference: reference.to_owned() }),
        None => Found::DidNotHappen(DidNotHappen {}),
    };
    SettleRequest {
        saga_id: id.to_string(),
        step: "charge".to_owned(),
        epoch: 1,
        verb: verb.into(),
        found: Some(found),
        request_id: format!("{id}/{verb:?}"),
        actor: "tester".to_owned(),
        reason: "looked it up".to_owned(),
    }
}

async fn settle(payment: &Instance, request: &SettleRequest) -> Result<SettleResponse, Status> {
    payment.api().settle(request.clone()).await.map(tonic::Response::into_inner)
}

/// FAILED_PRECONDITION, and where it stands.
fn stands(status: &Status) -> String {
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    let state = status.get_details_precondition_failure().expect("google.rpc.PreconditionFailure");
    state.violations[0].description.clone()
}

/// Sends the command while the gateway is away, and the gateway comes back when the key has grown too old.
async fn becomes_unresolved(
    installation: &Installation,
    payment: &Instance,
    sender: &Sender,
    command: &Command,
) {
    let mut api = payment.api();
    api.set_gateway_mood(SetGatewayMoodRequest { outage: true, ..Default::default() }).await.expect("set");
    sender.send(command);
    let mut connection = installation.connect().await;
    eventually("a call that was not sent", SOON, async || {
        // as if an earlier one might have been
        let older = "update skald.intent set calls = 1, key_at = now() - interval '2 days'
                     where saga_id = $1::uuid and calls = 0";
        let done = sqlx::query(older).bind(&command.saga_id).execute(&mut connection).await.expect("asked");
        (done.rows_affected() == 1).then_some(())
    })
    .await;
    api.set_gateway_mood(SetGatewayMoodRequest::default()).await.expect("set");
    eventually("it to be unresolved", SOON, async || {
        let open = "select count(*) from skald.intent where saga_id = $1::uuid and answered = 'UNRESOLVED'";
        let open = sqlx::query_scalar::<_, i64>(open).bind(&command.saga_id);
        (open.fetch_one(&mut connection).await.expect("counted") == 1).then_some(())
    })
    .await;
}

/// What an order's outcomes say, in the order of their partition.
fn told(messages: &[Message], id: Uuid) -> Vec<Answer> {
    let outcomes = messages.iter().map(|m| Outcome::decode(m.payload.as_slice()).expect("an outcome"));
    outcomes.filter(|o| o.saga_id == id.to_string()).map(|o| o.answer.expect("an answer")).collect()
}

fn unresolved(answer: &Answer) -> bool {
    matches!(answer, Answer::Failed(failed) if failed.code == "UNRESOLVED" && !failed.retryable)
}

async fn intents(installation: &Installation, id: Uuid) -> i64 {
    sqlx::query_scalar("select count(*) from skald.intent where saga_id = $1")
        .bind(id)
        .fetch_one(&mut installation.connect().await)
        .await
        .expect("counted")
}

#[tokio::test]
async fn a_charge_that_happened_goes_on_as_if_the_gateway_had_said_so() {
    let installation = Installation::new().await;
    let payment = installation.start().await;
    let (sender, mut outcomes) =
        (Sender::new(&installation), Listener::new(&installation, "skald.payment.outcomes"));
    let mut events = Listener::new(&installation, "payments.events");
    let id = order();
    becomes_unresolved(&installation, &payment, &sender, &charge(id, "tok_ok")).await;
    assert!(unresolved(&told(outcomes.until(1).await, id)[0]));
    assert_eq!(payment.charge(id).await.state(), ChargeState::Unresolved);

    let request = says(id, Verb::Run, Some("ch_by_phone"));
    let first = settle(&payment, &request).await.expect("settled");
    let after = first.charge.clone().expect("the charge");
    assert_eq!(
        (first.applied, after.state(), after.gateway_ref.as_str()),
        (true, ChargeState::Captured, "ch_by_phone")
    );
    let charged = Charged { gateway_ref: "ch_by_phone".into(), amount_minor: 500, currency: "EUR".into() };
    let heard = told(outcomes.until(2).await, id);
    assert!(matches!(&heard[1], Answer::Succeeded(s) if s.result == Some(any(&charged))), "{heard:?}");
    assert_eq!(events.until(1).await[0].header_str("ce_type"), Some("payment.charged"));
    assert_eq!(intents(&installation, id).await, 0);

    // a repeat gets the first answer, whatever happened since
    let mut connection = installation.connect().await;
    sqlx::query("update charge set state = 'R', refund_ref = 're' where saga_id = $1")
        .bind(id)
        .execute(&mut connection)
        .await
        .expect("updated");
    let again = settle(&payment, &request).await.expect("a repeat");
    assert_eq!((again.applied, again.charge), (false, first.charge));
    for other in [
        says(id, Verb::Run, None),
        says(id, Verb::Undo, Some("ch_by_phone")),
        says(order(), Verb::Run, Some("ch_by_phone")),
        SettleRequest { epoch: 2, ..request.clone() },
        SettleRequest { actor: "another".into(), ..request.clone() },
        SettleRequest { reason: "another".into(), ..request.clone() },
    ] {
        let other = SettleRequest { request_id: request.request_id.clone(), ..other };
        let status = settle(&payment, &other).await.expect_err("refused");
        assert_eq!(status.code(), Code::AlreadyExists, "{status}");
    }
    payment.stop().await;
}

#[tokio::test]
async fn a_charge_that_did_not_happen_is_declined_and_its_undo_has_nothing_to_do() {
    let installation = Installation::new().await;
    let payment = installation.start().await;
    let (sender, mut outcomes) =
        (Sender::new(&installation), Listener::new(&installation, "skald.payment.outcomes"));
    let id = order();
    becomes_unresolved(&installation, &payment, &sender, &charge(id, "tok_ok")).await;
    // an undo waits behind it, and hears the same
    sender.send(&refund(id));
    eventually("the undo to wait for a person, too", SOON, async || {
        let waits = "select count(*) from skald.intent where saga_id = $1 and answered = 'UNRESOLVED'";
        let waits = sqlx::query_scalar::<_, i64>(waits).bind(id);
        (waits.fetch_one(&mut installation.connect().await).await.expect("counted") == 2).then_some(())
    })
    .await;
    let status = settle(&payment, &says(id, Verb::Undo, Some("re"))).await.expect_err("refused");
    assert!(stands(&status) == "INTENT" && status.message().contains("VERB_RUN"), "{status}");

    let settled = settle(&payment, &says(id, Verb::Run, None)).await.expect("settled");
    assert_eq!(settled.charge.expect("the charge").state(), ChargeState::Declined);
    let heard = eventually("both verdicts", SOON, async || {
        let count = outcomes.until(1).await.len();
        let heard = told(outcomes.until(count).await, id);
        let verdict = |answer: &&Answer| !matches!(answer, Answer::Failed(_));
        if heard.iter().filter(verdict).count() == 2 {
            Ok(heard)
        } else {
            outcomes.until(count + 1).await;
            Err(heard)
        }
    })
    .await;
    let verdicts: Vec<&Answer> = heard.iter().filter(|a| !unresolved(a)).collect();
    let [Answer::Rejected(no), Answer::NothingToUndo(_)] = verdicts[..] else { panic!("{heard:?}") };
    assert_eq!(no.code, "PAYMENT_DECLINED");
    assert_eq!(installation.movements(id).await, []);
    assert_eq!(intents(&installation, id).await, 0);
    payment.stop().await;
}

#[tokio::test]
async fn a_refund_that_happened_is_done_and_one_that_did_not_is_asked_for_again() {
    let installation = Installation::new().await;
    let payment = installation.start().await;
    let (sender, mut outcomes) =
        (Sender::new(&installation), Listener::new(&installation, "skald.payment.outcomes"));
    for (number, reference) in [Some("re_by_phone"), None].into_iter().enumerate() {
        let id = order();
        payment.answer(&charge(id, "tok_ok")).await;
        becomes_unresolved(&installation, &payment, &sender, &refund(id)).await;
        assert_eq!(payment.charge(id).await.state(), ChargeState::Unresolved);
        let settled = settle(&payment, &says(id, Verb::Undo, reference)).await.expect("settled");
        let state = settled.charge.expect("the charge").state();
        let heard = told(outcomes.until(number * 2 + 2).await, id);
        let [first, Answer::Undone(undone)] = &heard[..] else { panic!("{heard:?}") };
        assert!(unresolved(first), "{heard:?}");
        let row = payment.charge(id).await;
        assert_eq!(row.state(), ChargeState::Refunded);
        let refunded =
            Refunded { refund_ref: row.refund_ref.clone(), amount_minor: 500, currency: "EUR".into() };
        assert_eq!(undone.result, Some(any(&refunded)));
        match reference {
            Some(reference) => {
                assert_eq!((state, row.refund_ref.as_str()), (ChargeState::Refunded, reference));
                assert_eq!(installation.kinds(id).await, ["charge"], "nothing more was asked for");
            }
            None => {
                assert_eq!(state, ChargeState::Captured);
                assert_eq!(installation.kinds(id).await, ["charge", "refund"]);
                let key: String = sqlx::query_scalar("select key from gateway.movement where reference = $1")
                    .bind(&row.refund_ref)
                    .fetch_one(&mut installation.connect().await)
                    .await
                    .expect("the movement");
                assert!(key.ends_with("#1"), "a new key: {key}");
            }
        }
    }
    payment.stop().await;
}

#[tokio::test]
async fn only_what_waits_for_a_person_is_settled_by_one() {
    let installation = Installation::new().await;
    let payment = installation.start().await;
    let id = order();
    let status = settle(&payment, &says(id, Verb::Run, None)).await.expect_err("refused");
    assert_eq!(status.code(), Code::NotFound);
    payment.answer(&charge(id, "tok_ok")).await;
    let status = settle(&payment, &says(id, Verb::Run, None)).await.expect_err("refused");
    assert_eq!(stands(&status), "SUCCEEDED");
    let status = settle(&payment, &says(id, Verb::Undo, None)).await.expect_err("refused");
    assert_eq!(status.code(), Code::NotFound, "never asked to be refunded");
    payment.answer(&refund(id)).await;
    let status = settle(&payment, &says(id, Verb::Undo, Some("x"))).await.expect_err("refused");
    assert_eq!(stands(&status), "UNDONE");
    // a call under way
    let slow = order();
    payment
        .api()
        .set_gateway_mood(SetGatewayMoodRequest { outage: true, ..Default::default() })
        .await
        .expect("set");
    assert_eq!(payment.execute(charge(slow, "tok_ok")).await, None);
    let status = settle(&payment, &says(slow, Verb::Run, Some("x"))).await.expect_err("refused");
    assert_eq!(stands(&status), "INTENT");
    assert_eq!(payment.charge(slow).await.state(), ChargeState::Intent);
    payment.api().set_gateway_mood(SetGatewayMoodRequest::default()).await.expect("set");
    // a definite no waits for the next attempt, not for a person
    let refused = order();
    payment.answer(&charge(refused, "tok_ok")).await;
    let mut connection = installation.connect().await;
    sqlx::query("delete from gateway.movement where our_ref like $1 || '/%'")
        .bind(refused.to_string())
        .execute(&mut connection)
        .await
        .expect("deleted");
    assert_eq!(payment.execute(refund(refused)).await, None);
    eventually("the gateway's no", SOON, async || {
        let no = "select count(*) from skald.intent where saga_id = $1 and answered = 'REFUND_REFUSED'";
        let no = sqlx::query_scalar::<_, i64>(no).bind(refused);
        (no.fetch_one(&mut connection).await.expect("counted") == 1).then_some(())
    })
    .await;
    let status = settle(&payment, &says(refused, Verb::Undo, Some("x"))).await.expect_err("refused");
    assert_eq!(stands(&status), "REFUND_REFUSED");
    // nothing that was refused was kept
    let kept: i64 = sqlx::query_scalar("select count(*) from settlement")
        .fetch_one(&mut connection)
        .await
        .expect("counted");
    assert_eq!(kept, 0);
    payment.stop().await;
}

#[tokio::test]
async fn each_bad_field_is_named() {
    let payment = Installation::new().await.start().await;
    let status = settle(&payment, &SettleRequest::default()).await.expect_err("refused");
    let all = ["saga_id", "step", "epoch", "verb", "found", "request_id", "actor", "reason"];
    assert_eq!(bad_fields(&status), all);
    let long = SettleRequest {
        saga_id: "x".into(),
        step: "x".repeat(65),
        epoch: u32::MAX,
        verb: Verb::SealRun.into(),
        found: Some(Found::Happened(Happened { reference: String::new() })),
        request_id: "x".repeat(129),
        actor: "nul\0".into(),
        reason: "x".repeat(513),
    };
    let status = settle(&payment, &long).await.expect_err("refused");
    let all = ["saga_id", "step", "epoch", "verb", "happened.reference", "request_id", "actor", "reason"];
    assert_eq!(bad_fields(&status), all);
}

/// The sweeper holds the charge when the person comes, and commits first.
#[tokio::test]
async fn a_person_who_comes_second_changes_nothing() {
    let installation = Installation::new().await;
    let payment = installation.start().await;
    let sender = Sender::new(&installation);
    let id = order();
    becomes_unresolved(&installation, &payment, &sender, &charge(id, "tok_ok")).await;
    // another instance settles: as the settler does, the charge's lock first
    let mut connection = installation.connect().await;
    let settles = "begin;
        select from charge where saga_id = 'ID' for update;
        update skald.barrier set verdict = 'S' where saga_id = 'ID' and verb = 'R';
        delete from skald.intent where saga_id = 'ID';
        update charge set state = 'C', gateway_ref = 'ch_first', settled_at = now() where saga_id = 'ID';"
        .replace("ID", &id.to_string());
    sqlx::raw_sql(sqlx::AssertSqlSafe(settles)).execute(&mut connection).await.expect("settles");
    let (channel, request) = (payment.api(), says(id, Verb::Run, None));
    let asked = tokio::spawn(async move {
        let mut api = channel;
        api.settle(request).await
    });
    let mut other = installation.connect().await;
    eventually("the person to wait", SOON, async || {
        let waits = "select count(*) from pg_stat_activity
                     where datname = current_database() and wait_event_type = 'Lock'";
        (sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut other).await.expect("counted") > 0).then_some(())
    })
    .await;
    sqlx::raw_sql("commit").execute(&mut connection).await.expect("committed");
    let status = asked.await.expect("no panic").expect_err("refused");
    assert_eq!(stands(&status), "SUCCEEDED");
    let row = payment.charge(id).await;
    assert_eq!((row.state(), row.gateway_ref.as_str()), (ChargeState::Captured, "ch_first"));
    payment.stop().await;
}

/// The sweeper searches again, and finds the money, while persons say that it never moved: each order has one end, and who was
/// second hears so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sweeper_and_person_race_and_one_of_them_settles() {
    let installation = Installation::new().await;
    let payment = installation.start().await;
    let (sender, mut outcomes) =
        (Sender::new(&installation), Listener::new(&installation, "skald.payment.outcomes"));
    let mut ids = Vec::new();
    for _ in 0..6 {
        let id = order();
        becomes_unresolved(&installation, &payment, &sender, &charge(id, "tok_ok")).await;
        ids.push(id);
    }
    let heard = outcomes.until(ids.len()).await.len();
    let mut connection = installation.connect().await;
    for id in &ids {
        let moved = "insert into gateway.movement (reference, kind, key, our_ref, amount_minor, currency)
                     values ('ch_' || $1::text, 'charge', 'lost', $1::text || '/charge/1', 500, 'EUR')";
        sqlx::query(moved).bind(id.to_string()).execute(&mut connection).await.expect("moved");
    }
    let slow = SetGatewayMoodRequest { latency_ms: 300, ..Default::default() };
    payment.api().set_gateway_mood(slow).await.expect("set");
    let mut persons = Vec::new();
    for (number, id) in ids.iter().enumerate() {
        sender.send(&Command { attempt: 2, ..charge(*id, "tok_ok") });
        if number % 2 == 1 {
            // the person comes while the sweeper searches
            eventually("a search", SOON, async || {
                let woken = "select count(*) from skald.intent where saga_id = $1 and answered is null
                             and call_after > now()";
                let woken = sqlx::query_scalar::<_, i64>(woken).bind(id);
                (woken.fetch_one(&mut connection).await.expect("counted") == 1).then_some(())
            })
            .await;
        }
        let (mut api, request) = (payment.api(), says(*id, Verb::Run, None));
        persons.push(tokio::spawn(async move { api.settle(request).await.map(|_| ()) }));
    }
    let mut settled = Vec::new();
    for person in persons {
        settled.push(person.await.expect("no panic"));
    }
    assert!(settled.iter().skip(1).step_by(2).all(Result::is_err), "{settled:?}");
    for (id, settled) in ids.iter().zip(settled) {
        let expected = match settled {
            Ok(()) => ChargeState::Declined,
            Err(status) => {
                assert!(["INTENT", "SUCCEEDED"].contains(&stands(&status).as_str()), "{status}");
                ChargeState::Captured
            }
        };
        eventually("its end", SOON, async || {
            let state = payment.charge(*id).await.state();
            if state == expected { Ok(()) } else { Err(state) }
        })
        .await;
        assert_eq!(intents(&installation, *id).await, 0);
    }
    // one verdict for each, and the same to who asks again
    outcomes.until(heard + ids.len()).await;
    for id in &ids {
        let verdict = payment.answer(&charge(*id, "tok_ok")).await;
        let heard = told(outcomes.until(1).await, *id);
        let others = heard.iter().filter(|answer| !unresolved(answer) && **answer != verdict);
        assert_eq!(others.count(), 0, "{heard:?}, but {verdict:?}");
    }
    payment.stop().await;
    // whatever was under way has ended: charge and barrier say the same
    let ends = "select b.verdict::text || c.state::text from skald.barrier b
                join charge c on c.saga_id = b.saga_id where b.verb = 'R'";
    let ends: Vec<String> = sqlx::query_scalar(ends).fetch_all(&mut connection).await.expect("rows");
    assert!(ends.len() == ids.len() && ends.iter().all(|end| end == "SC" || end == "RD"), "{ends:?}");
}
