//! A definition of somebody else's: a diamond, through the generic service.

use skald_proto::{
    participant::v1::Verb,
    saga::v1::{self as saga, SagaStatus, StepStatus},
};

use super::define;
use crate::{
    replay,
    support::{Participant, Reader, World, no, yes},
};

const DIAMOND: &str = r#"
name = "diamond"
version = 1
stages = ["BEGUN", "DONE"]
max_age = "1d"

[[step]]
name = "top"
participant = "north"
action = "open"
undo = "close"
stage = "BEGUN"

[[step]]
name = "left"
participant = "west"
action = "take"
undo = "give"
after = ["top"]

[[step]]
name = "right"
participant = "east"
action = "take"
undo = "give"
after = ["top"]
needs = ["top"]

[[step]]
name = "bottom"
participant = "north"
action = "seal"
pivot = true
after = ["left", "right"]
needs = ["left", "right"]
stage = "DONE"
"#;

async fn start(world: &World, key: &str) -> String {
    let request = saga::StartRequest {
        definition: "diamond".into(),
        idempotency_key: key.into(),
        input: Some(prost_types::Any { type_url: "example.com/Anything".into(), value: key.into() }),
        customer_id: "somebody".into(),
        signals: Vec::new(),
    };
    world.sagas().start(request).await.unwrap().into_inner().saga_id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diamond_goes_down_both_sides_and_back_up() {
    let world = World::start_with(|c| define(c, "diamond", DIAMOND)).await;
    let kafka = &world.config.kafka;
    let north = Participant::start(kafka, "north", |c| Some(yes(c))).await;
    let west = Participant::start(kafka, "west", |c| Some(yes(c))).await;
    let east = Participant::start(kafka, "east", |c| {
        Some(if c.input.as_ref().unwrap().value == b"bad" { no("NOT_HERE") } else { yes(c) })
    })
    .await;
    let events = Reader::of(kafka, "orders.events");
    let good = start(&world, "good").await;
    let saga = world.until_saga(&good, SagaStatus::Completed).await;
    assert_eq!((saga.stage.as_str(), saga.definition.as_str()), ("DONE", "diamond"));
    assert_eq!(saga.input.unwrap().type_url, "example.com/Anything", "as submitted");
    let bottom = north.command(&good, "bottom", Verb::Run).await;
    let needs: Vec<_> = bottom.needs.iter().map(|n| n.step.as_str()).collect();
    assert_eq!((bottom.action.as_str(), needs), ("seal", vec!["left", "right"]));
    let take =
        |c: &Participant, id: &str| c.asked(id).into_iter().map(|(_, verb, _)| verb).collect::<Vec<_>>();
    assert_eq!((take(&west, &good), take(&east, &good)), (vec![Verb::Run], vec![Verb::Run]));

    let bad = start(&world, "bad").await;
    let saga = world.until_saga(&bad, SagaStatus::Compensated).await;
    assert_eq!(saga.reason, "NOT_HERE", "a code without a reason is the reason");
    let steps: Vec<_> = saga.steps.iter().map(|s| s.status()).collect();
    use StepStatus::{Rejected, Undone, Waiting};
    assert_eq!(steps, [Undone, Undone, Rejected, Waiting]);
    assert_eq!(take(&west, &bad), [Verb::Run, Verb::Undo]);
    assert_eq!(take(&east, &bad), [Verb::Run], "nothing to undo");
    assert_eq!(take(&north, &bad), [Verb::Run, Verb::Undo]);
    let undo = north.command(&bad, "top", Verb::Undo).await;
    assert_eq!((undo.action.as_str(), undo.needs.len()), ("close", 0));

    let list = saga::ListRequest { definition: "diamond".into(), ..Default::default() };
    assert_eq!(world.sagas().list(list).await.unwrap().into_inner().sagas.len(), 2);
    let order = skald_proto::order::v1::GetOrderRequest { order_id: good };
    let status = world.orders().get_order(order).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound, "it is no order");
    assert!(events.messages.lock().unwrap().is_empty(), "what is no order has no order events");
    replay::every_history(&world).await;
    world.stop().await;
}
