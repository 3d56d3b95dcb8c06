//! One page about an order.

use skald_proto::{
    admin::v1::{self as admin, action::Verb},
    order::v1::OrderStatus,
    participant::v1::Verb as Asked,
};

use crate::support::{Participant, World, later, yes};

async fn page(world: &World, id: &str) -> admin::ExplainResponse {
    world.admin().explain(admin::ExplainRequest { saga_id: id.into() }).await.unwrap().into_inner()
}

/// The possible actions, in words.
fn possible(page: &admin::ExplainResponse) -> Vec<String> {
    let name = |action: &admin::Possible| match action.action.as_ref().unwrap().verb.as_ref().unwrap() {
        Verb::Retry(r) => format!("retry {}", r.step),
        Verb::Skip(s) => format!("skip {}", s.step),
        Verb::Resolve(r) => format!("resolve {}", r.step),
        Verb::Compensate(_) => "compensate".into(),
        Verb::Cancel(_) => "cancel".into(),
        Verb::Pause(_) => "pause".into(),
        Verb::Resume(_) => "resume".into(),
        Verb::Migrate(_) => panic!("nobody said where to"),
    };
    page.possible.iter().map(name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_what_an_order_waits_for_and_what_could_be_done() {
    let world = World::start().await;
    let kafka = &world.config.kafka;
    let inventory = Participant::start(kafka, "inventory", |c| Some(yes(c))).await;
    let payment = Participant::start(kafka, "payment", |_| None).await;
    let id = world.place(later("k")).await;
    world.until(&id, OrderStatus::Reserved).await;
    let paying = page(&world, &id).await;
    assert_eq!(paying.stands, "RUNNING");
    assert_eq!((paying.waits.len(), paying.waits[0].text.as_str()), (1, "pay waits for its signal"));
    assert_eq!(paying.upcoming[0].text, "pay gives up: the saga is undone, EXPIRED");
    assert!(paying.upcoming[0].at.unwrap().seconds > paying.waits[0].since.unwrap().seconds + 1_700);
    assert_eq!(possible(&paying), ["skip pay", "compensate", "cancel", "pause"]);

    let pay = skald_proto::order::v1::PayOrderRequest {
        order_id: id.clone(),
        payment_token: "tok".into(),
        request_id: "p".into(),
    };
    world.orders().pay_order(pay).await.unwrap();
    let command = payment.command(&id, "charge", Asked::Run).await;
    let charging = page(&world, &id).await;
    let wait = &charging.waits[0];
    assert_eq!(wait.text, "charge: RUN was sent to payment and not answered");
    assert!(wait.sent_to.contains("skald.payment.commands/"), "{}", wait.sent_to);
    assert!(charging.upcoming.iter().any(|u| u.text.contains("sent again")), "{:?}", charging.upcoming);
    assert_eq!(possible(&charging), ["skip charge", "compensate", "cancel", "pause"]);
    let compensate = charging
        .possible
        .iter()
        .find(|p| matches!(p.action.as_ref().unwrap().verb, Some(Verb::Compensate(_))));
    assert_eq!(
        compensate.unwrap().text,
        "charge becomes UNDOING, UNDO of charge goes to payment, the saga is COMPENSATING"
    );

    // Nobody has said where the participants' own desks are.
    assert_eq!(charging.unknown.len(), 2, "{:?}", charging.unknown);
    assert!(charging.unknown[0].contains("participants.inventory"), "{:?}", charging.unknown);

    payment.speaker().say(&command, yes(&command), None);
    drop(inventory);
    world.stop().await;
}
