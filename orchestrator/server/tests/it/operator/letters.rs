//! Dead letters in lists and whole, and what is of no use discarded.

use prost::Message as _;
use skald_kit::kafka::{Producer, Record};
use skald_proto::{
    admin::v1::{self as admin, DeadLetterState},
    order::v1::OrderStatus,
    participant::v1::{Command, Outcome, Verb},
};
use tonic::Code;

use crate::{
    grpc::{bad_fields, refused},
    support::{DEADLINE, World, yes},
};

pub(super) const REASON: &str = "UNDECODABLE: it was a bad day";

/// Buries a message that was meant for a topic, as if it had died there; gives the letter's id.
pub(super) async fn bury(world: &World, topic: &str, key: &str, payload: &[u8]) -> i64 {
    bury_with(world, topic, key, payload, &world.config.kafka.topic(topic)).await
}

/// The same, where its headers say that it comes from somewhere.
pub(super) async fn bury_with(world: &World, topic: &str, key: &str, payload: &[u8], from: &str) -> i64 {
    let kafka = &world.config.kafka;
    let n = skald_harness::unique("letter");
    let headers: [(&str, &[u8]); 8] = [
        ("traceparent", b"abc"),
        ("n", n.as_bytes()),
        ("bytes", &[0xff, 0]),
        ("skald-reason", REASON.as_bytes()),
        ("skald-attempts", b"1"),
        ("skald-origin-topic", from.as_bytes()),
        ("skald-origin-partition", b"1"),
        ("skald-origin-offset", b"7"),
    ];
    let dead = kafka.topic(&format!("{topic}.dlq"));
    let record = Record { topic: &dead, partition: Some(0), key: key.as_bytes(), payload, headers: &headers };
    let producer = Producer::new(kafka, |(), _| {}).unwrap();
    producer.send(record, ()).unwrap();
    skald_harness::eventually("the letter in the table", DEADLINE, async || {
        let id = "select id from dead_letter where headers::text like '%' || $1 || '\"%'";
        sqlx::query_scalar(id).bind(&n).fetch_optional(&mut world.sql().await).await.unwrap()
    })
    .await
}

pub(super) async fn letter(world: &World, id: i64) -> admin::GetDeadLetterResponse {
    world.admin().get_dead_letter(admin::GetDeadLetterRequest { id }).await.unwrap().into_inner()
}

pub(super) async fn state(world: &World, id: i64) -> DeadLetterState {
    letter(world, id).await.letter.unwrap().state()
}

/// The saga stands in the inbox for its dead letters.
pub(super) async fn in_the_inbox(world: &World, saga: &str) -> bool {
    let entry = "select exists (select from attention where saga_id = $1::uuid and kind = 'DEAD_LETTER')";
    sqlx::query_scalar(entry).bind(saga).fetch_one(&mut world.sql().await).await.unwrap()
}

/// What a participant would answer to a command.
pub(super) fn outcome(command: &Command, participant: &str) -> Vec<u8> {
    let outcome = Outcome {
        protocol: 1,
        saga_id: command.saga_id.clone(),
        step: command.step.clone(),
        verb: command.verb,
        epoch: command.epoch,
        attempt: command.attempt,
        participant: participant.into(),
        answer: Some(yes(command)),
    };
    outcome.encode_to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_listed_by_what_is_known_of_them_and_shown_whole() {
    let world = World::start().await;
    let [inventory, _payment] = world.yes().await;
    let id = world.submit("k").await;
    world.until(&id, OrderStatus::Completed).await;
    let reserve = inventory.command(&id, "reserve", Verb::Run).await;
    let answer = outcome(&reserve, "inventory");
    let broken = bury(&world, "skald.inventory.outcomes", &id, &[0xff; 40]).await;
    let spoken = bury(&world, "skald.inventory.outcomes", &id, &answer).await;
    let asked = bury(&world, "skald.inventory.commands", &id, &reserve.encode_to_vec()).await;
    let nobodys = bury(&world, "skald.payment.outcomes", "nobody", b"x").await;

    let list = async |request: admin::ListDeadLettersRequest| {
        let (mut ids, mut request) = (Vec::new(), request);
        loop {
            let page = world.admin().list_dead_letters(request.clone()).await.unwrap().into_inner();
            ids.extend(page.letters.iter().map(|l| l.id));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return ids;
            }
        }
    };
    let by = |filter| admin::ListDeadLettersRequest { filter: Some(filter), ..Default::default() };
    let all = admin::ListDeadLettersRequest { page_size: 1, ..Default::default() };
    assert_eq!(list(all.clone()).await, [nobodys, asked, spoken, broken], "newest first, in pages");
    let of = admin::DeadLetterFilter { saga_id: id.clone(), ..Default::default() };
    assert_eq!(list(by(of.clone())).await, [asked, spoken, broken]);
    let origin_topic = world.config.kafka.topic("skald.inventory.outcomes");
    assert_eq!(list(by(admin::DeadLetterFilter { origin_topic, ..of.clone() })).await, [spoken, broken]);
    let since = letter(&world, spoken).await.letter.unwrap().at;
    let lately = list(by(admin::DeadLetterFilter { since, ..Default::default() })).await;
    assert!(
        lately.contains(&nobodys) && !lately.contains(&broken)
            || since == letter(&world, broken).await.letter.unwrap().at
    );
    let settled =
        admin::ListDeadLettersRequest { state: DeadLetterState::Redriven.into(), ..Default::default() };
    assert_eq!(list(settled).await, Vec::<i64>::new());
    let bad = admin::ListDeadLettersRequest {
        state: 9,
        page_size: -1,
        page_token: "x".into(),
        filter: Some(admin::DeadLetterFilter { saga_id: "x".into(), ..Default::default() }),
    };
    let bad = world.admin().list_dead_letters(bad).await.unwrap_err();
    assert_eq!(bad_fields(&bad), ["page_size", "state", "page_token", "filter.saga_id"]);

    let whole = letter(&world, spoken).await;
    assert_eq!((whole.payload, whole.key), (answer.clone(), id.clone().into_bytes()));
    assert!(
        whole.text.contains("\"verb\": \"RUN\"") && whole.text.contains("\"succeeded\""),
        "{}",
        whole.text
    );
    assert_eq!(whole.saga.unwrap().saga_id, id);
    let names: Vec<_> = whole.headers.iter().map(|h| (h.name.as_str(), h.value.as_str())).collect();
    assert_eq!((names[0], names[2]), (("traceparent", "abc"), ("bytes", "\\xff00")));
    let told = whole.letter.unwrap();
    assert_eq!(told.origin_topic, world.config.kafka.topic("skald.inventory.outcomes"));
    assert_eq!((told.origin_partition, told.origin_offset, told.reason.as_str()), (1, 7, REASON));
    assert_eq!((told.saga_id.as_str(), told.payload_bytes), (id.as_str(), answer.len() as i32));
    assert!(letter(&world, asked).await.text.contains("\"action\": \"reserve\""));
    assert_eq!(letter(&world, broken).await.text, "");
    let whole = letter(&world, nobodys).await;
    assert_eq!((whole.saga, whole.letter.unwrap().saga_id), (None, String::new()));
    refused(world.admin().get_dead_letter(admin::GetDeadLetterRequest { id: 4711 }).await, Code::NotFound);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_discarded_calls_nobody_any_more() {
    let world = World::start().await;
    let _yes = world.yes().await;
    let id = world.submit("k").await;
    world.until(&id, OrderStatus::Completed).await;
    let one = bury(&world, "skald.inventory.outcomes", &id, b"one").await;
    let two = bury(&world, "skald.payment.outcomes", &id, b"two").await;
    let nobodys = bury(&world, "skald.inventory.outcomes", "nobody", b"three").await;
    let discard = |ids: &[i64], request_id: &str| admin::DiscardDeadLettersRequest {
        ids: ids.to_vec(),
        filter: None,
        request_id: request_id.into(),
        actor: "ada".into(),
        reason: "noise".into(),
    };
    assert!(in_the_inbox(&world, &id).await);
    let done = world.admin().discard_dead_letters(discard(&[one], "d1")).await.unwrap().into_inner();
    assert_eq!((done.discarded, done.repeated), (1, false));
    assert!(in_the_inbox(&world, &id).await, "there is another one");
    let filter = Some(admin::DeadLetterFilter { saga_id: id.clone(), ..Default::default() });
    let rest = admin::DiscardDeadLettersRequest { filter, ..discard(&[], "d2") };
    assert_eq!(world.admin().discard_dead_letters(rest.clone()).await.unwrap().into_inner().discarded, 1);
    assert!(!in_the_inbox(&world, &id).await);
    let states = [state(&world, one).await, state(&world, two).await, state(&world, nobodys).await];
    assert_eq!(states, [DeadLetterState::Discarded, DeadLetterState::Discarded, DeadLetterState::Open]);
    assert_eq!(letter(&world, two).await.letter.unwrap().request_id, "d2");

    let again = world.admin().discard_dead_letters(rest).await.unwrap().into_inner();
    assert_eq!((again.discarded, again.repeated), (1, true), "the first answer");
    refused(world.admin().discard_dead_letters(discard(&[nobodys], "d2")).await, Code::AlreadyExists);
    assert_eq!(state(&world, nobodys).await, DeadLetterState::Open);
    let told: (String, String, String) =
        sqlx::query_as("select verb, actor, reason from operator_action where request_id = 'd1'")
            .fetch_one(&mut world.sql().await)
            .await
            .unwrap();
    assert_eq!(told, ("DISCARD_DEAD_LETTERS".into(), "ada".into(), "noise".into()));
    let bad =
        world.admin().discard_dead_letters(admin::DiscardDeadLettersRequest::default()).await.unwrap_err();
    assert_eq!(bad_fields(&bad), ["request_id", "actor", "reason", "ids"]);
    let filter = Some(admin::DeadLetterFilter::default());
    let all = admin::DiscardDeadLettersRequest { filter, ..discard(&[], "d3") };
    assert_eq!(bad_fields(&world.admin().discard_dead_letters(all).await.unwrap_err()), ["filter"]);
    world.stop().await;
}
