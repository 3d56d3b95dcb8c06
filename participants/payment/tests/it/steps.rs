//! `charge` and `refund` as the orchestrator sees them, with every documented token.

use skald_proto::{
    participant::v1::outcome::Answer,
    payment::v1::{ChargeState, Charged, Declined, Refunded},
};

use crate::support::{Installation, any, charge, charge_of, order, refund, refund_of};

#[tokio::test]
async fn a_charge_is_captured_and_refunded_once() {
    let installation = Installation::new().await;
    let payment = installation.start().await;
    let order = order();
    let mut answers = Vec::new();
    for _ in 0..2 {
        answers.push(payment.answer(&charge(order, "tok_ok")).await);
    }
    let [(kind, reference)] = &installation.movements(order).await[..] else { panic!("not one movement") };
    assert_eq!(kind, "charge");
    let charged = Charged { gateway_ref: reference.clone(), amount_minor: 500, currency: "EUR".into() };
    for answer in answers {
        let Answer::Succeeded(answer) = answer else { panic!("{answer:?}") };
        assert_eq!(answer.result, Some(any(&charged)));
    }
    let row = payment.charge(order).await;
    assert_eq!((row.state(), row.gateway_ref.as_str()), (ChargeState::Captured, reference.as_str()));
    assert!(row.settled_at.is_some() && row.refunded_at.is_none());

    for _ in 0..2 {
        let Answer::Undone(answer) = payment.answer(&refund(order)).await else { panic!("not undone") };
        let movements = installation.movements(order).await;
        assert_eq!(movements.len(), 2, "{movements:?}");
        let refunded =
            Refunded { refund_ref: movements[1].1.clone(), amount_minor: 500, currency: "EUR".into() };
        assert_eq!(answer.result, Some(any(&refunded)));
    }
    let row = payment.charge(order).await;
    assert_eq!(row.state(), ChargeState::Refunded);
    assert!(row.refunded_at.is_some());
    // the charge's verdict stands
    assert!(matches!(payment.answer(&charge(order, "tok_ok")).await, Answer::Succeeded(_)));
    payment.stop().await;
}

#[tokio::test]
async fn what_is_declined_moves_no_money_and_has_nothing_to_undo() {
    let installation = Installation::new().await;
    let payment = installation.start().await;
    for (token, code) in [
        ("tok_declined", "card_declined"),
        ("tok_insufficient_funds", "insufficient_funds"),
        ("tok_unheard_of", "invalid_token"),
    ] {
        let order = order();
        for _ in 0..2 {
            let Answer::Rejected(answer) = payment.answer(&charge(order, token)).await else {
                panic!("{token}: not rejected")
            };
            assert_eq!(answer.code, "PAYMENT_DECLINED");
            assert_eq!(answer.detail, Some(any(&Declined { decline_code: code.into() })));
        }
        assert_eq!(payment.charge(order).await.state(), ChargeState::Declined);
        assert!(matches!(payment.answer(&refund(order)).await, Answer::NothingToUndo(_)));
        assert_eq!(installation.kinds(order).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn slow_flaky_and_lost_answers_end_as_one_charge() {
    let installation = Installation::new().await;
    let payment = installation.start().await;
    for (token, expected) in [
        ("tok_slow", &["moved"][..]),
        ("tok_flaky", &["unavailable", "moved"]),
        ("tok_lost_answer", &["moved", "found"]),
    ] {
        let order = order();
        let answer = payment.answer(&charge(order, token)).await;
        assert!(matches!(answer, Answer::Succeeded(_)), "{token}: {answer:?}");
        assert_eq!(installation.kinds(order).await, ["charge"], "{token}");
        let calls = installation.calls(order).await;
        let answers: Vec<&str> =
            calls.iter().map(|(_, answer)| answer.split([':', ',']).next().unwrap_or_default()).collect();
        assert_eq!(answers, expected, "{token}");
    }
}

#[tokio::test]
async fn what_costs_nothing_succeeds_without_the_gateway() {
    let installation = Installation::new().await;
    let payment = installation.start().await;
    let order = order();
    let Answer::Succeeded(answer) = payment.answer(&charge_of(order, "tok_declined", 0)).await else {
        panic!("not succeeded")
    };
    let charged = Charged { gateway_ref: String::new(), amount_minor: 0, currency: "EUR".into() };
    assert_eq!(answer.result, Some(any(&charged)));
    assert!(matches!(payment.answer(&refund_of(order, 0)).await, Answer::Undone(_)));
    assert_eq!(installation.calls(order).await, []);
}

#[tokio::test]
async fn a_refund_that_comes_first_seals_the_charge() {
    let installation = Installation::new().await;
    let payment = installation.start().await;
    let order = order();
    assert!(matches!(payment.answer(&refund(order)).await, Answer::NothingToUndo(_)));
    assert!(matches!(payment.answer(&charge(order, "tok_ok")).await, Answer::Sealed(_)));
    assert_eq!(payment.charge(order).await.state(), ChargeState::Void);
    assert_eq!(installation.calls(order).await, []);
}

#[tokio::test]
async fn an_undo_waits_for_the_charge_under_way_and_refunds_it() {
    let installation = Installation::new().await;
    let payment = installation.start().await;
    let order = order();
    assert_eq!(payment.execute(charge(order, "tok_slow")).await, None);
    assert!(matches!(payment.answer(&refund(order)).await, Answer::Undone(_)));
    assert_eq!(installation.kinds(order).await, ["charge", "refund"]);
    assert_eq!(payment.charge(order).await.state(), ChargeState::Refunded);
}

#[tokio::test]
async fn what_is_no_order_fails_for_good() {
    let installation = Installation::new().await;
    let payment = installation.start().await;
    let mut no_token = charge(order(), "tok_ok");
    no_token.needs.clear();
    for command in [no_token, charge_of(order(), "tok_ok", -1), charge(order(), "")] {
        let Some(Answer::Failed(failed)) = payment.execute(command).await else { panic!("not failed") };
        assert_eq!((failed.code.as_str(), failed.retryable), ("BAD_INPUT", false));
    }
}
