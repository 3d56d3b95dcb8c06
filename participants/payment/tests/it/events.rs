//! Commands over Kafka, and the events on `payments.events`.

use prost::Message as _;
use skald_proto::{
    participant::v1::{Outcome, outcome::Answer},
    payment::v1::PaymentEvent,
};

use crate::support::{Installation, Listener, Sender, charge, order, refund};

#[tokio::test]
async fn what_happened_to_the_money_is_answered_and_told_once() {
    let installation = Installation::new().await;
    let payment = installation.start().await;
    let mut events = Listener::new(&installation, "payments.events");
    let mut outcomes = Listener::new(&installation, "skald.payment.outcomes");
    let sender = Sender::new(&installation);
    let (paid, declined) = (order(), order());
    sender.send(&charge(paid, "tok_ok"));
    sender.send(&charge(declined, "tok_declined"));
    outcomes.until(2).await;
    sender.send(&refund(paid));
    let mut answers: Vec<(String, Answer)> = outcomes
        .until(3)
        .await
        .iter()
        .map(|message| Outcome::decode(message.payload.as_slice()).expect("an outcome"))
        .map(|outcome| (outcome.saga_id, outcome.answer.expect("an answer")))
        .collect();
    let last = answers.pop();
    assert!(matches!(last, Some((id, Answer::Undone(_))) if id == paid.to_string()));
    for (id, answer) in answers {
        let good = match answer {
            Answer::Succeeded(_) => id == paid.to_string(),
            Answer::Rejected(_) => id == declined.to_string(),
            _ => false,
        };
        assert!(good, "{id}");
    }

    let movements = installation.movements(paid).await;
    let mut told = Vec::new();
    for message in events.until(3).await {
        let event = PaymentEvent::decode(message.payload.as_slice()).expect("an event");
        assert_eq!(message.key.as_deref(), Some(event.order_id.as_bytes()));
        let subject = format!("{}/charge/1", event.order_id);
        assert_eq!(message.header_str("ce_subject"), Some(subject.as_str()));
        assert_eq!((event.amount_minor, event.currency.as_str()), (500, "EUR"));
        let kind = message.header_str("ce_type").expect("a type").to_owned();
        told.push((event.order_id, kind, event.reference, event.decline_code));
    }
    let event = |order: uuid::Uuid, kind: &str, reference: &str, code: &str| {
        (order.to_string(), kind.to_owned(), reference.to_owned(), code.to_owned())
    };
    let mut expected = vec![
        event(paid, "payment.charged", &movements[0].1, ""),
        event(paid, "payment.refunded", &movements[1].1, ""),
        event(declined, "payment.declined", "", "card_declined"),
    ];
    told.sort();
    expected.sort();
    assert_eq!(told, expected);
    payment.stop().await;
}
