//! Definitions of which no new saga is taken.

use skald_proto::{admin::v1 as admin, order::v1::OrderStatus};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::{
    grpc::{bad_fields, refused},
    replay,
    support::{World, draft, later},
};

fn freeze(definition: &str, request_id: &str) -> admin::FreezeDefinitionRequest {
    admin::FreezeDefinitionRequest {
        definition: definition.into(),
        request_id: request_id.into(),
        actor: "ada".into(),
        reason: "prices are wrong".into(),
    }
}

fn thaw(definition: &str, request_id: &str) -> admin::ThawDefinitionRequest {
    let admin::FreezeDefinitionRequest { definition, request_id, actor, reason } =
        freeze(definition, request_id);
    admin::ThawDefinitionRequest { definition, request_id, actor, reason }
}

fn order(key: &str) -> skald_proto::order::v1::SubmitOrderRequest {
    skald_proto::order::v1::SubmitOrderRequest { idempotency_key: key.into(), order: Some(draft()) }
}

async fn list(world: &World) -> Vec<admin::Definition> {
    world.admin().list_definitions(admin::ListDefinitionsRequest {}).await.unwrap().into_inner().definitions
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_definition_takes_no_new_saga_anywhere_and_the_others_go_on() {
    let world = World::start().await;
    let two = World::start_on(world.config.clone()).await;
    let _yes = world.yes().await;
    let early = world.place(later("early")).await;
    world.until(&early, OrderStatus::Reserved).await;
    let done = world.admin().freeze_definition(freeze("order", "f1")).await.unwrap().into_inner();
    let frozen = done.definition.clone().unwrap();
    assert_eq!((frozen.frozen_by.as_str(), frozen.versions[0].running), ("ada", 1));
    for world in [&world, &two] {
        let status = refused(world.orders().submit_order(order("late")).await, Code::FailedPrecondition);
        for word in ["order", "ada", "prices are wrong", "skald definition thaw order"] {
            assert!(status.message().contains(word), "{word}: {status:?}");
        }
        let told = status.get_details_precondition_failure().unwrap().violations.remove(0);
        assert_eq!((told.r#type.as_str(), told.subject.as_str()), ("FROZEN", "order"));
        // What was taken stays taken: a repeat of its key gets it.
        let again = world.orders().submit_order(later("early")).await.unwrap().into_inner();
        assert_eq!((again.order_id.as_str(), again.created), (early.as_str(), false));
        refused(world.orders().submit_order(order("early")).await, Code::AlreadyExists);
        assert_eq!(list(world).await[0].reason, "prices are wrong");
    }
    let pay = skald_proto::order::v1::PayOrderRequest {
        order_id: early.clone(),
        payment_token: "tok".into(),
        request_id: "p".into(),
    };
    world.orders().pay_order(pay).await.unwrap();
    world.until(&early, OrderStatus::Completed).await;

    // It outlives the instances.
    let config = world.config.clone();
    world.stop().await;
    two.stop().await;
    let world = World::start_on(config).await;
    refused(world.orders().submit_order(order("late")).await, Code::FailedPrecondition);
    let thawed = world.admin().thaw_definition(thaw("order", "t1")).await.unwrap().into_inner();
    assert!(thawed.definition.unwrap().frozen_at.is_none());
    let late = world.submit("late").await;
    world.until(&late, OrderStatus::Completed).await;
    let again = world.admin().freeze_definition(freeze("order", "f1")).await.unwrap().into_inner();
    assert_eq!(again, admin::FreezeDefinitionResponse { repeated: true, ..done }, "the first answer");
    assert!(list(&world).await[0].frozen_at.is_none(), "and nothing was frozen again");
    replay::every_history(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_refused_once_is_refused_everywhere() {
    const KEYS: usize = 200;
    let world = World::start().await;
    let two = World::start_on(world.config.clone()).await;
    let _yes = world.yes().await;
    let submit = |world: &World, n: usize| {
        let mut orders = world.orders();
        tokio::spawn(async move { orders.submit_order(order(&format!("k{n}"))).await })
    };
    let mut pairs = Vec::new();
    let mut freezing = None;
    for n in 0..KEYS {
        if n == KEYS / 4 {
            let mut admin = world.admin();
            freezing = Some(tokio::spawn(async move { admin.freeze_definition(freeze("order", "f")).await }));
        }
        pairs.push((submit(&world, n), submit(&two, n)));
        tokio::task::yield_now().await;
    }
    freezing.unwrap().await.unwrap().unwrap();
    let last = (submit(&world, KEYS), submit(&two, KEYS));
    pairs.push(last);
    let (mut taken, mut not) = (0, 0);
    for (one, two) in pairs {
        match (one.await.unwrap(), two.await.unwrap()) {
            (Ok(one), Ok(two)) => {
                assert_eq!(one.into_inner().order_id, two.into_inner().order_id);
                taken += 1;
            }
            (Err(one), Err(two)) => {
                assert_eq!((one.code(), two.code()), (Code::FailedPrecondition, Code::FailedPrecondition));
                not += 1;
            }
            mixed => panic!("refused here, taken there: {mixed:?}"),
        }
    }
    assert!(not > 0, "the last one came after the freeze");
    let stored: i64 =
        sqlx::query_scalar("select count(*) from saga").fetch_one(&mut world.sql().await).await.unwrap();
    assert_eq!((stored, taken + not), (taken, KEYS as i64 + 1));
    world.stop().await;
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_freeze_is_said() {
    let world = World::start().await;
    let bad = world.admin().freeze_definition(freeze("nothing", "")).await.unwrap_err();
    assert_eq!(bad_fields(&bad), ["request_id", "definition"]);
    world.admin().freeze_definition(freeze("order", "f1")).await.unwrap();
    // The same words, but another action.
    refused(world.admin().thaw_definition(thaw("order", "f1")).await, Code::AlreadyExists);
    let kept: Vec<(String, String, String)> =
        sqlx::query_as("select verb, actor, reason from operator_action")
            .fetch_all(&mut world.sql().await)
            .await
            .unwrap();
    assert_eq!(kept, [("FREEZE_DEFINITION order".into(), "ada".into(), "prices are wrong".into())]);
    world.stop().await;
}
