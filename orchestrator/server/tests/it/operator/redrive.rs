//! Dead letters are sent again as they were, and that is always safe.

use prost::Message as _;
use skald_kit::kafka::Message;
use skald_proto::{
    admin::v1::{self as admin, DeadLetterState},
    order::v1::OrderStatus,
    participant::v1::{self as participant, Verb, outcome::Answer},
};
use tonic::Code;

use super::letters::{bury, bury_with, in_the_inbox, letter, outcome, state};
use crate::{
    grpc::{bad_fields, refused},
    replay,
    support::{DEADLINE, Participant, Reader, World, no, yes},
};

fn redrive(ids: &[i64], request_id: &str) -> admin::RedriveDeadLettersRequest {
    admin::RedriveDeadLettersRequest {
        ids: ids.to_vec(),
        filter: None,
        per_second: 1000,
        dry_run: false,
        request_id: request_id.into(),
        actor: "ada".into(),
        reason: "mended".into(),
    }
}

async fn done(world: &World, request: admin::RedriveDeadLettersRequest) -> admin::RedriveDeadLettersResponse {
    world.admin().redrive_dead_letters(request).await.unwrap().into_inner()
}

/// Sends one letter again; it must go.
async fn sent(world: &World, id: i64) {
    let answer = done(world, redrive(&[id], &skald_harness::unique("redrive"))).await;
    assert_eq!((answer.redriven, answer.left), (1, vec![]));
    assert_eq!(state(world, id).await, DeadLetterState::Redriven);
}

/// The message that came last in a topic with this payload, which was not there before.
async fn arrived(reader: &Reader, payload: &[u8], before: usize) -> Message {
    skald_harness::eventually("it is sent again", DEADLINE, async || {
        let messages = reader.messages.lock().unwrap();
        let same: Vec<_> = messages.iter().filter(|m| m.payload == payload).collect();
        (same.len() > before).then(|| same[same.len() - 1].clone())
    })
    .await
}

/// As it was before it died: its key, its own headers, its partition.
fn as_it_was(message: &Message, key: &str) {
    assert_eq!(message.key.as_deref(), Some(key.as_bytes()));
    let names: Vec<_> = message.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["traceparent", "n", "bytes"]);
    assert_eq!(message.header("bytes"), Some(&[0xff, 0][..]));
    assert_eq!(message.partition, 1, "where it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_command_after_the_compensation_changes_nothing() {
    let world = World::start().await;
    let kafka = &world.config.kafka;
    // Like every participant it answers a repeat as it did at first.
    let inventory = Participant::start(kafka, "inventory", |c| Some(yes(c))).await;
    let _payment = Participant::start(kafka, "payment", |_| Some(no("PAYMENT_DECLINED"))).await;
    let commands = Reader::of(kafka, "skald.inventory.commands");
    let id = world.submit("k").await;
    let before = world.until(&id, OrderStatus::Cancelled).await;
    let command = inventory.command(&id, "reserve", Verb::Run).await.encode_to_vec();
    let dead = bury(&world, "skald.inventory.commands", &id, &command).await;
    assert!(in_the_inbox(&world, &id).await);
    sent(&world, dead).await;
    as_it_was(&arrived(&commands, &command, 1).await, &id);
    skald_harness::eventually("it was asked again", DEADLINE, async || {
        let asked = inventory.asked(&id).into_iter().filter(|(_, verb, _)| *verb == Verb::Run);
        (asked.count() == 2).then_some(())
    })
    .await;
    world.all_finished("skald.inventory.outcomes").await;
    assert_eq!(world.order(&id).await, before);
    assert_eq!(inventory.asked(&id).len(), 3, "reserve, release, reserve: nothing more followed");
    assert!(!in_the_inbox(&world, &id).await, "nobody is needed any more");
    replay::every_history(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_after_the_success_changes_nothing() {
    let world = World::start().await;
    let [inventory, _payment] = world.yes().await;
    let id = world.submit("k").await;
    let before = world.until(&id, OrderStatus::Completed).await;
    let reserve = inventory.command(&id, "reserve", Verb::Run).await;
    let answer = outcome(&reserve, "inventory");
    let outcomes = Reader::of(&world.config.kafka, "skald.inventory.outcomes");
    arrived(&outcomes, &answer, 0).await;
    let dead = bury(&world, "skald.inventory.outcomes", &id, &answer).await;
    sent(&world, dead).await;
    as_it_was(&arrived(&outcomes, &answer, 1).await, &id);
    world.all_finished("skald.inventory.outcomes").await;
    assert_eq!(world.order(&id).await, before);
    assert!(!in_the_inbox(&world, &id).await);
    replay::every_history(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_is_refused_and_changes_nothing() {
    let world = World::start().await;
    let kafka = &world.config.kafka;
    let too_old = participant::Failed { code: "TOO_OLD".into(), ..Default::default() };
    let forgets = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let forgot = std::sync::Arc::clone(&forgets);
    let inventory = Participant::start(kafka, "inventory", move |c| {
        let old = forgot.load(std::sync::atomic::Ordering::SeqCst);
        Some(if old { Answer::Failed(too_old.clone()) } else { yes(c) })
    })
    .await;
    let _payment = Participant::start(kafka, "payment", |c| Some(yes(c))).await;
    let id = world.submit("k").await;
    let before = world.until(&id, OrderStatus::Completed).await;
    forgets.store(true, std::sync::atomic::Ordering::SeqCst);
    let command = inventory.command(&id, "commit", Verb::Run).await;
    let dead = bury(&world, "skald.inventory.commands", &id, &command.encode_to_vec()).await;
    sent(&world, dead).await;
    skald_harness::eventually("it was asked again", DEADLINE, async || {
        (inventory.asked(&id).len() == 3).then_some(())
    })
    .await;
    world.all_finished("skald.inventory.outcomes").await;
    assert_eq!(world.order(&id).await, before);

    // An outcome of a saga that was dropped long ago: it dies again, and nobody's saga is touched.
    let gone = skald_kit::ids::mint(1_600_000_000_000).to_string();
    let command = participant::Command { saga_id: gone.clone(), ..command };
    let dead = bury(&world, "skald.inventory.outcomes", &gone, &outcome(&command, "inventory")).await;
    sent(&world, dead).await;
    let filter = Some(admin::DeadLetterFilter { saga_id: gone, ..Default::default() });
    let open =
        admin::ListDeadLettersRequest { state: DeadLetterState::Open.into(), filter, ..Default::default() };
    let again = skald_harness::eventually("it died again", DEADLINE, async || {
        world.admin().list_dead_letters(open.clone()).await.unwrap().into_inner().letters.pop()
    })
    .await;
    assert!(again.reason.starts_with("UNKNOWN_SAGA") && again.id != dead, "{again:?}");
    assert_eq!(world.order(&id).await, before);
    replay::every_history(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_decoded_dies_again_unchanged() {
    let world = World::start().await;
    let inventory = Participant::start(&world.config.kafka, "inventory", |_| None).await;
    let outcomes = Reader::of(&world.config.kafka, "skald.inventory.outcomes");
    let id = world.submit("k").await;
    let headers: [(&str, &[u8]); 3] = [("traceparent", b"abc"), ("n", b"1"), ("bytes", &[0xff, 0])];
    inventory.speaker().raw(&id, &[0xff; 40], Some(1), &headers);
    let open = async || {
        let state = DeadLetterState::Open.into();
        let open = admin::ListDeadLettersRequest { state, ..Default::default() };
        world.admin().list_dead_letters(open).await.unwrap().into_inner().letters
    };
    let first = skald_harness::eventually("it died", DEADLINE, async || open().await.pop()).await;
    sent(&world, first.id).await;
    as_it_was(&arrived(&outcomes, &[0xff; 40], 1).await, &id);
    let second = skald_harness::eventually("it died again", DEADLINE, async || open().await.pop()).await;
    assert!(second.id > first.id && second.reason == first.reason, "{second:?}");
    let (one, two) = (letter(&world, first.id).await, letter(&world, second.id).await);
    assert_eq!((&one.payload, &one.key), (&two.payload, &two.key));
    assert_eq!(one.headers.len(), two.headers.len(), "nothing piles up around it");
    skald_harness::eventually("it needs a person", DEADLINE, async || {
        in_the_inbox(&world, &id).await.then_some(())
    })
    .await;
    assert_eq!(world.order(&id).await.version, 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_poison_of_a_quarantined_saga_heals_it_once_its_cause_is_mended() {
    let world = World::start().await;
    let kafka = &world.config.kafka;
    let inventory = Participant::start(kafka, "inventory", |_| None).await;
    let _payment = Participant::start(kafka, "payment", |_| None).await;
    let id = world.submit("k").await;
    let reserve = inventory.command(&id, "reserve", Verb::Run).await;
    let mut sql = world.sql().await;
    let spoil = "update saga s set state = '\\xff' from saga o where s.id = $1::uuid and o.id = s.id returning o.state";
    let whole: Vec<u8> = sqlx::query_scalar(spoil).bind(&id).fetch_one(&mut sql).await.unwrap();
    inventory.speaker().say(&reserve, yes(&reserve), None);
    let dead: i64 = skald_harness::eventually("the poison", DEADLINE, async || {
        let id = "select id from dead_letter where reason like 'POISON%'";
        sqlx::query_scalar(id).fetch_optional(&mut world.sql().await).await.unwrap()
    })
    .await;
    let left = done(&world, redrive(&[dead], "too-soon")).await.left;
    assert!(left[0].why.contains("is quarantined and would drop it"), "{left:?}");
    assert_eq!(state(&world, dead).await, DeadLetterState::Open);

    let mend = "update saga set state = $2 where id = $1::uuid";
    sqlx::query(mend).bind(&id).bind(whole).execute(&mut sql).await.unwrap();
    let release = admin::ReleaseQuarantineRequest {
        saga_id: id.clone(),
        request_id: "r".into(),
        actor: "ada".into(),
        reason: "mended".into(),
    };
    world.admin().release_quarantine(release).await.unwrap();
    sent(&world, dead).await;
    world.until(&id, OrderStatus::Reserved).await;
    let left: i64 = sqlx::query_scalar("select count(*) from attention").fetch_one(&mut sql).await.unwrap();
    assert_eq!(left, 0, "nobody is needed any more");
    replay::every_history(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_says_what_would_be_sent_where_and_sends_nothing() {
    let world = World::start().await;
    let [inventory, _payment] = world.yes().await;
    let id = world.submit("k").await;
    world.until(&id, OrderStatus::Completed).await;
    let reserve = inventory.command(&id, "reserve", Verb::Run).await;
    let answer = outcome(&reserve, "inventory");
    let outcomes = Reader::of(&world.config.kafka, "skald.inventory.outcomes");
    arrived(&outcomes, &answer, 0).await;
    let good = bury(&world, "skald.inventory.outcomes", &id, &answer).await;
    let forged = bury_with(&world, "skald.inventory.outcomes", &id, b"x", "orders.events").await;
    let filter = Some(admin::DeadLetterFilter { saga_id: id.clone(), ..Default::default() });
    let all = admin::RedriveDeadLettersRequest { filter, ..redrive(&[], "r") };
    // Nobody has to sign for looking.
    let signed = (String::new(), String::new(), String::new());
    let (request_id, actor, reason) = signed;
    let dry = admin::RedriveDeadLettersRequest { dry_run: true, request_id, actor, reason, ..all.clone() };
    let foreseen = done(&world, dry).await;
    assert_eq!((foreseen.redriven, foreseen.left_count), (1, 1));
    let planned = &foreseen.planned[0];
    assert_eq!((planned.id, planned.partition, planned.saga_id.as_str()), (good, 1, id.as_str()));
    assert_eq!(planned.topic, world.config.kafka.topic("skald.inventory.outcomes"));
    assert_eq!((planned.key.as_slice(), planned.payload_bytes), (id.as_bytes(), answer.len() as i32));
    let names: Vec<_> = planned.headers.iter().map(|h| h.name.as_str()).collect();
    assert_eq!(names, ["traceparent", "n", "bytes"]);
    let left = &foreseen.left[0];
    assert!(left.id == forged && left.why.contains("where it came from"), "{left:?}");
    assert_eq!(state(&world, good).await, DeadLetterState::Open);
    let actions: i64 = sqlx::query_scalar("select count(*) from operator_action")
        .fetch_one(&mut world.sql().await)
        .await
        .unwrap();
    assert_eq!(actions, 0);

    let sent = done(&world, all.clone()).await;
    assert_eq!((sent.redriven, sent.left_count, sent.repeated), (1, 1, false));
    arrived(&outcomes, &answer, 1).await;
    let again = done(&world, all).await;
    assert_eq!((again.redriven, again.repeated), (1, true), "the first answer");
    let settled = done(&world, redrive(&[good], "r2")).await;
    assert!(settled.left[0].why.contains("REDRIVEN (request r)"), "{settled:?}");
    refused(world.admin().redrive_dead_letters(redrive(&[good], "r")).await, Code::AlreadyExists);
    world.all_finished("skald.inventory.outcomes").await;
    let copies = outcomes.messages.lock().unwrap().iter().filter(|m| m.payload == answer).count();
    assert_eq!(copies, 2, "at first, and once again");
    let told: (String, String, String) =
        sqlx::query_as("select verb, actor, reason from operator_action where request_id = 'r'")
            .fetch_one(&mut world.sql().await)
            .await
            .unwrap();
    assert_eq!(told, ("REDRIVE_DEAD_LETTERS".into(), "ada".into(), "mended".into()));
    let nothing = admin::RedriveDeadLettersRequest { per_second: 1001, ..Default::default() };
    let bad = world.admin().redrive_dead_letters(nothing).await.unwrap_err();
    assert_eq!(bad_fields(&bad), ["request_id", "actor", "reason", "per_second", "ids"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_delivered_stays_open_and_a_repeat_goes_on() {
    let world = World::start().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(bury(&world, "skald.inventory.outcomes", &format!("k{n}"), b"x").await);
    }
    // More than the broker takes there.
    let swell = "update dead_letter set payload = decode(repeat('00', 1500000), 'hex') where id = any($1)";
    sqlx::query(swell).bind(&ids[1..4]).execute(&mut world.sql().await).await.unwrap();
    let one = done(&world, redrive(&ids[1..2], "one")).await;
    assert_eq!((one.redriven, one.left_count), (0, 1));
    assert!(one.left[0].why.starts_with("not delivered: "), "{one:?}");
    assert_eq!(state(&world, ids[1]).await, DeadLetterState::Open);

    // Three in a row: something is wrong with more than a letter.
    let all = redrive(&ids, "all");
    let broken = refused(world.admin().redrive_dead_letters(all.clone()).await, Code::Unavailable);
    assert!(broken.message().starts_with("1 letters were sent again"), "{broken:?}");
    let states = async || {
        let mut states = Vec::new();
        for id in &ids {
            states.push(state(&world, *id).await);
        }
        states
    };
    let (open, gone) = (DeadLetterState::Open, DeadLetterState::Redriven);
    assert_eq!(states().await, [gone, open, open, open, open]);
    let mend = "update dead_letter set payload = 'x'";
    sqlx::query(mend).execute(&mut world.sql().await).await.unwrap();
    let went_on = done(&world, all).await;
    assert_eq!((went_on.redriven, went_on.left_count, went_on.repeated), (5, 0, false));
    assert_eq!(states().await, [gone; 5]);
    world.stop().await;
}
