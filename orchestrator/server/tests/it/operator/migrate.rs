//! Sagas that go on under another version of their definition.

use skald_proto::{
    admin::v1::{self as admin, BulkState, action::Verb},
    order::v1::{FulfilOrderRequest, OrderDraft, OrderStatus, PayOrderRequest, SubmitOrderRequest},
    saga::v1::SagaStatus,
};
use tonic::Code;

use super::request;
use crate::{
    course::order_with,
    grpc::{bad_fields, refused},
    replay,
    support::{DEADLINE, Participant, World, draft, later, yes},
};

/// A step beside `pay`, and another action at the end.
const SECOND: [(&str, &str); 4] = [
    ("version = 1", "version = 2"),
    (
        "# From here on",
        "[[step]]\nname = \"greet\"\nparticipant = \"inventory\"\naction = \"greet\"\nno_effect = true\n\
         after = [\"reserve\"]\n# From here on",
    ),
    ("pivot = true\n", "pivot = true\nafter = [\"fulfil\", \"greet\"]\n"),
    ("action = \"commit\"", "action = \"settle\""),
];

const WHY: &str = "commit was entered: action: \"commit\" becomes \"settle\"; commit was entered: it would come after \
                   greet and did not";

fn ask(request_id: &str) -> admin::MigrateDefinitionRequest {
    admin::MigrateDefinitionRequest {
        definition: "order".into(),
        hash: String::new(),
        per_second: 100.0,
        request_id: request_id.into(),
        actor: "ada".into(),
        reason: "greet them".into(),
        dry_run: false,
    }
}

async fn done(world: &World, job: &str) -> admin::Bulk {
    skald_harness::eventually("the job is done", DEADLINE, async || {
        let request = admin::GetBulkRequest { request_id: job.into() };
        let bulk = world.admin().get_bulk(request).await.unwrap().into_inner().bulk.unwrap();
        if bulk.state() == BulkState::Done { Ok(bulk) } else { Err(bulk) }
    })
    .await
}

fn for_a_seller(key: &str) -> SubmitOrderRequest {
    let order = OrderDraft { needs_fulfilment: true, ..draft() };
    SubmitOrderRequest { idempotency_key: key.into(), order: Some(order) }
}

/// An instance with version 1, one with version 2 beside it, and a participant that never answers `commit`.
async fn two_versions() -> (World, World, Participant, Participant) {
    let old = World::start().await;
    let kafka = &old.config.kafka;
    let inventory = Participant::start(kafka, "inventory", |c| (c.action != "commit").then(|| yes(c))).await;
    let payment = Participant::start(kafka, "payment", |c| Some(yes(c))).await;
    let mut config = old.config.clone();
    order_with(&mut config, &SECOND);
    let new = World::start_on(config).await;
    (old, new, inventory, payment)
}

#[tokio::test(flavor = "multi_thread")]
async fn sagas_move_with_a_row_in_their_history_and_the_others_say_why_not() {
    let (old, new, inventory, _payment) = two_versions().await;
    let unpaid = old.place(later("unpaid")).await;
    old.until(&unpaid, OrderStatus::Reserved).await;
    let unshipped = old.place(for_a_seller("unshipped")).await;
    old.until(&unshipped, OrderStatus::Paid).await;
    let committing = old.submit("committing").await;
    old.until(&committing, OrderStatus::Fulfilled).await;

    let dry = admin::MigrateDefinitionRequest { dry_run: true, ..ask("") };
    let foreseen = new.admin().migrate_definition(dry).await.unwrap().into_inner();
    let to = foreseen.to.unwrap();
    assert_eq!((to.version, foreseen.could_move, foreseen.could_not), (2, 2, 1));
    assert_eq!(foreseen.example_saga_ids, [unpaid.clone(), unshipped.clone()]);
    assert_eq!((foreseen.stay[0].why.as_str(), foreseen.stay[0].count), (WHY, 1));
    assert_eq!(foreseen.stay[0].example_saga_ids, std::slice::from_ref(&committing));
    assert_eq!(old.saga(&unpaid).await.version, 2, "a dry run changes nothing");

    let execute = admin::MigrateDefinitionRequest { hash: to.hash.clone(), ..ask("m1") };
    let begun = new.admin().migrate_definition(execute.clone()).await.unwrap().into_inner().bulk.unwrap();
    assert_eq!(begun.total, 3);
    let job = done(&new, "m1").await;
    assert_eq!((job.done, job.moved, job.refused), (2, 0, 1));
    assert!(job.refusals[0].why.contains(WHY), "{job:?}");
    for id in [&unpaid, &unshipped] {
        assert_eq!(new.saga(id).await.definition_hash, to.hash);
        inventory.command(id, "greet", skald_proto::participant::v1::Verb::Run).await;
    }
    assert_ne!(new.saga(&committing).await.definition_hash, to.hash);

    // A repeat is the same job; another one finds what is left alone.
    let again = new.admin().migrate_definition(execute).await.unwrap().into_inner().bulk.unwrap();
    assert_eq!((again.state(), again.total), (BulkState::Done, 3));
    let left = new.admin().migrate_definition(ask("m2")).await.unwrap().into_inner().bulk.unwrap();
    assert_eq!(left.total, 1);
    done(&new, "m2").await;

    // They end as version 2 says, on whichever instance: the old one learns of it from the table.
    let pay = PayOrderRequest { order_id: unpaid.clone(), payment_token: "t".into(), request_id: "p".into() };
    old.orders().pay_order(pay).await.unwrap();
    old.until(&unpaid, OrderStatus::Completed).await;
    let fulfil =
        FulfilOrderRequest { order_id: unshipped.clone(), request_id: "f".into(), ..Default::default() };
    new.orders().fulfil_order(fulfil).await.unwrap();
    new.until(&unshipped, OrderStatus::Completed).await;
    let settled = inventory.command(&unpaid, "commit", skald_proto::participant::v1::Verb::Run).await;
    assert_eq!(settled.action, "settle");

    let rows: Vec<(String, String)> = sqlx::query_as(
        "select h.actor, a.verb from history h join operator_action a on a.saga_id = h.saga_id
          where h.kind = 7 and a.refused_code is null order by h.saga_id",
    )
    .fetch_all(&mut new.sql().await)
    .await
    .unwrap();
    assert_eq!(
        rows,
        [("operator:ada".to_owned(), "MIGRATE".to_owned()), ("operator:ada".into(), "MIGRATE".into())]
    );
    replay::every_history(&new).await;
    old.stop().await;
    new.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_saga_moves_on_the_version_that_was_seen_or_not_at_all() {
    let (old, new, inventory, _payment) = two_versions().await;
    let id = old.place(later("k")).await;
    old.until(&id, OrderStatus::Reserved).await;
    let dry = admin::MigrateDefinitionRequest { dry_run: true, ..ask("") };
    let to = new.admin().migrate_definition(dry).await.unwrap().into_inner().to.unwrap();
    let migrate = |hash: &str| Verb::Migrate(admin::Migrate { definition_hash: hash.into() });
    let stale = request(&id, 1, "stale", migrate(&to.hash));
    let status = refused(new.admin().act(stale.clone()).await, Code::Aborted);
    assert!(status.message().contains("at version 2"), "{status:?}");
    // The refusal stands; with a new request id, and on the version that there is, it is done.
    let still = refused(new.admin().act(stale).await, Code::Aborted);
    assert_eq!(still.message(), status.message());
    let moved = new.act(&id, migrate(&to.hash)).await;
    assert_eq!((moved.definition.as_str(), moved.commands[0].action.as_str()), ("order@2", "greet"));
    inventory.command(&id, "greet", skald_proto::participant::v1::Verb::Run).await;
    let version = skald_harness::eventually("it was greeted", DEADLINE, async || {
        Some(new.saga(&id).await.version).filter(|version| *version == 4)
    })
    .await;
    let again = request(&id, version, "again", migrate(&to.hash));
    let status = refused(new.admin().act(again).await, Code::FailedPrecondition);
    assert!(status.message().contains("it follows order 2 already"), "{status:?}");
    let nowhere = request(&id, version, "nowhere", migrate(&"0".repeat(64)));
    refused(new.admin().act(nowhere).await, Code::NotFound);
    new.act(&id, Verb::Cancel(admin::Cancel {})).await;
    new.until(&id, OrderStatus::Cancelled).await;
    assert_eq!(new.saga(&id).await.status(), SagaStatus::Compensated);
    replay::every_history(&new).await;
    old.stop().await;
    new.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_migration_is_said() {
    let world = World::start().await;
    let empty = admin::MigrateDefinitionRequest::default();
    let bad = world.admin().migrate_definition(empty).await.unwrap_err();
    assert_eq!(bad_fields(&bad), ["request_id", "actor", "reason", "per_second", "definition", "hash"]);
    let hash = admin::MigrateDefinitionRequest { hash: "f".repeat(64), dry_run: true, ..ask("") };
    let bad = world.admin().migrate_definition(hash).await.unwrap_err();
    assert_eq!(bad_fields(&bad), ["hash"]);
    let id = uuid::Uuid::nil().to_string();
    let vague = Verb::Migrate(admin::Migrate { definition_hash: "order".into() });
    let bad = world.admin().act(request(&id, 1, "r", vague)).await.unwrap_err();
    assert_eq!(bad_fields(&bad), ["action.migrate.definition_hash"]);
    world.stop().await;
}
