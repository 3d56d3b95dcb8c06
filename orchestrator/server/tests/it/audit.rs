//! `orders.audit`: what a consumer that drops what is not newer ends up with is the history, exactly, whatever fails.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use skald_kit::{config::Secret, kafka::Message};
use skald_proto::{
    admin::v1::{self as admin, action::Verb},
    audit::v1::AuditEntry,
    order::v1::{self as order, OrderStatus},
    saga::v1::SagaStatus,
};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::support::{DEADLINE, Load, Participant, Reader, World, draft, later, no, yes};

/// Numbers by order.
type Rows = BTreeMap<String, Vec<i32>>;

async fn history(world: &World) -> Rows {
    let rows: Vec<(String, Vec<i32>)> =
        sqlx::query_as("select saga_id::text, array_agg(seq order by seq) from history group by saga_id")
            .fetch_all(&mut world.sql().await)
            .await
            .unwrap();
    rows.into_iter().collect()
}

/// What a consumer keeps: it drops what is not newer.
fn kept(messages: &[Message]) -> Rows {
    let mut kept = Rows::new();
    for message in messages {
        let key = String::from_utf8(message.key.clone().unwrap()).unwrap();
        let seq: i32 = message.header_str("ce_sequence").unwrap().parse().unwrap();
        let rows = kept.entry(key).or_default();
        if rows.last().is_none_or(|last| *last < seq) {
            rows.push(seq);
        }
    }
    kept
}

fn entry(message: &Message) -> AuditEntry {
    AuditEntry::decode(message.payload.as_slice()).unwrap()
}

/// Waits until the consumer has the whole history, and looks at every message that it was sent.
async fn complete(world: &World, reader: &Reader) -> Rows {
    skald_harness::eventually("the whole history", DEADLINE * 2, async || {
        let (history, kept) = (history(world).await, kept(&reader.messages.lock().unwrap()));
        let differs = history.iter().find(|(id, rows)| kept.get(*id) != Some(rows));
        let stranger = kept.keys().find(|id| !history.contains_key(*id));
        match (differs, stranger) {
            (None, None) => Ok(()),
            (Some((id, rows)), _) => Err(format!("{id}: {rows:?}, kept {:?}", kept.get(id))),
            (_, Some(id)) => Err(format!("{id} has no history")),
        }
    })
    .await;
    // The same entry, if it came again, with the same id and the same bytes.
    let mut seen = BTreeMap::new();
    for message in reader.messages.lock().unwrap().iter() {
        let place = (message.key.clone(), message.header_str("ce_sequence").unwrap().to_owned());
        let id = message.header_str("ce_id").unwrap().to_owned();
        let what = (id, message.payload.clone());
        assert_eq!(seen.entry(place).or_insert_with(|| what.clone()), &what);
    }
    let ids: BTreeSet<_> = seen.values().map(|(id, _)| id).collect();
    assert_eq!(ids.len(), seen.len(), "each entry has an id of its own");
    history(world).await
}

fn of<'a>(messages: &'a [Message], order: &str) -> Vec<&'a Message> {
    messages.iter().filter(|m| m.key.as_deref() == Some(order.as_bytes())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_accepted_input_is_told_with_actor_and_reason() {
    let world = World::start().await;
    let kafka = &world.config.kafka;
    let _inventory = Participant::start(kafka, "inventory", |c| Some(yes(c))).await;
    let _payment = Participant::start(kafka, "payment", |c| {
        let input: order::OrderInput = c.input.as_ref().unwrap().to_msg().unwrap();
        Some(if input.note == "declined" { no("PAYMENT_DECLINED") } else { yes(c) })
    })
    .await;
    let reader = Reader::of(kafka, "orders.audit");
    let mut completed = Vec::new();
    for n in 0..30 {
        completed.push(world.submit(&format!("k{n}")).await);
    }
    let request = |key: &str, note: &str| order::SubmitOrderRequest {
        idempotency_key: key.into(),
        order: Some(order::OrderDraft { note: note.into(), ..draft() }),
    };
    let declined = world.place(request("declined", "declined")).await;
    let (waiting, unwanted) = (world.place(later("waiting")).await, world.place(later("unwanted")).await);
    for id in [&waiting, &unwanted] {
        world.until(id, OrderStatus::Reserved).await;
    }
    world.act(&waiting, Verb::Pause(admin::Pause {})).await;
    world.act(&waiting, Verb::Resume(admin::Resume {})).await;
    world.act(&unwanted, Verb::Compensate(admin::Compensate {})).await;
    world.until(&unwanted, OrderStatus::Cancelled).await;
    world.until(&declined, OrderStatus::Cancelled).await;
    let pay = order::PayOrderRequest {
        order_id: waiting.clone(),
        payment_token: "tok_secret".into(),
        ..Default::default()
    };
    world.orders().pay_order(pay).await.unwrap();
    completed.push(waiting.clone());
    world.all_complete(&completed).await;

    let rows = complete(&world, &reader).await;
    assert_eq!(rows.len(), 33);
    let messages = reader.messages.lock().unwrap().clone();
    let mut acts = Vec::new();
    for message in &messages {
        let told = entry(message);
        let header = |name: &str| message.header_str(name).unwrap_or_else(|| panic!("{name}")).to_owned();
        let row = told.entry.clone().unwrap();
        assert_eq!(header("ce_specversion"), "1.0");
        assert_eq!(header("ce_source"), "/skald/orchestrator");
        assert_eq!(header("ce_subject"), told.saga_id);
        assert_eq!(header("ce_type"), format!("audit.{}", row.kind.to_lowercase()));
        assert_eq!(header("ce_sequence"), format!("{:010}", row.seq));
        assert_eq!(header("content-type"), "application/protobuf");
        assert_eq!(header("traceparent").len(), 55);
        assert_eq!(told.definition, "order");
        assert!(!String::from_utf8_lossy(&message.payload).contains("tok_"), "no payment token");
        if row.kind == "OPERATOR" {
            assert_eq!((row.actor.as_str(), row.reason.as_str()), ("operator:ada", "because"));
            acts.push((told.saga_id, row.verb));
        }
    }
    acts.sort();
    acts.dedup();
    let act = |id: &String, verb: &str| (id.clone(), verb.to_owned());
    let mut expected = [act(&waiting, "PAUSE"), act(&waiting, "RESUME"), act(&unwanted, "COMPENSATE")];
    expected.sort();
    assert_eq!(acts, expected);
    // What the topic tells of an order is what the API tells, but for what came along.
    let request = skald_proto::saga::v1::HistoryRequest { saga_id: declined.clone(), ..Default::default() };
    let mut stream = world.sagas().history(request).await.unwrap().into_inner();
    let mut told = of(&messages, &declined).into_iter().map(|m| entry(m).entry.unwrap());
    while let Some(answer) = stream.message().await.unwrap() {
        let mut entry = answer.entry.unwrap();
        entry.payloads.clear();
        assert_eq!(told.find(|t| t.seq == entry.seq), Some(entry));
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_operators_do_beside_sagas_is_told_once() {
    let world = World::start().await;
    let _inventory = Participant::start(&world.config.kafka, "inventory", |c| Some(yes(c))).await;
    let reader = Reader::of(&world.config.kafka, "orders.audit");
    let saga = world.place(later("k")).await;
    world.until(&saga, OrderStatus::Reserved).await;
    let mut desk = world.admin();
    let signed = |request_id: &str| (request_id.to_owned(), "ada".to_owned(), "it burns".to_owned());

    let (request_id, actor, reason) = signed("f");
    let participant = "payment".to_owned();
    let freeze = admin::FreezeParticipantRequest { participant, request_id, actor, reason };
    desk.freeze_participant(freeze.clone()).await.unwrap();
    assert!(desk.freeze_participant(freeze.clone()).await.unwrap().into_inner().repeated);
    let nobody = admin::FreezeParticipantRequest { participant: "nobody".into(), ..freeze };
    assert!(desk.freeze_participant(nobody).await.is_err());
    let (request_id, actor, reason) = signed("t");
    let participant = "payment".to_owned();
    let thaw = admin::ThawParticipantRequest { participant, request_id, actor, reason };
    desk.thaw_participant(thaw).await.unwrap();
    let (request_id, actor, reason) = signed("fd");
    let definition = "order".to_owned();
    let freeze = admin::FreezeDefinitionRequest { definition, request_id, actor, reason };
    desk.freeze_definition(freeze).await.unwrap();
    let (request_id, actor, note) = signed("nothing to take");
    let take = admin::TakeAttentionRequest {
        saga_id: saga.clone(),
        kind: admin::AttentionKind::Parked.into(),
        request_id,
        actor,
        note,
        ..Default::default()
    };
    assert!(desk.take_attention(take).await.is_err());
    for request_id in ["r", "r"] {
        let (request_id, actor, reason) = signed(request_id);
        let redrive = admin::RedriveDeadLettersRequest {
            filter: Some(admin::DeadLetterFilter { origin_topic: "nobody's".into(), ..Default::default() }),
            request_id,
            actor,
            reason,
            ..Default::default()
        };
        desk.redrive_dead_letters(redrive).await.unwrap();
    }
    // So slow that it is changed before it acts.
    let (request_id, actor, reason) = signed("j");
    let bulk = admin::StartBulkRequest {
        filter: Some(admin::BulkFilter { definition: "order".into(), ..Default::default() }),
        action: Some(admin::Action { verb: Some(Verb::Pause(admin::Pause {})) }),
        per_second: 0.1,
        request_id,
        actor,
        reason,
        dry_run: false,
    };
    assert_eq!(desk.start_bulk(bulk.clone()).await.unwrap().into_inner().count, 1);
    desk.start_bulk(admin::StartBulkRequest { dry_run: true, ..bulk.clone() }).await.unwrap();
    desk.start_bulk(bulk).await.unwrap();
    let (request_id, actor, reason) = signed("j");
    let state = admin::BulkState::Aborted.into();
    let abort = admin::ChangeBulkRequest { request_id, state, actor, reason };
    desk.change_bulk(abort).await.unwrap();

    let expected = [
        "FREEZE payment",
        "THAW payment",
        "FREEZE_DEFINITION order",
        "REDRIVE_DEAD_LETTERS",
        "START_BULK",
        "CHANGE_BULK ABORTED j",
    ];
    let acts = skald_harness::eventually("every act", DEADLINE, async || {
        let messages = reader.messages.lock().unwrap();
        let acts: Vec<Message> = messages.iter().filter(|m| entry(m).saga_id.is_empty()).cloned().collect();
        if acts.len() >= expected.len() { Ok(acts) } else { Err(acts.len()) }
    })
    .await;
    let told: Vec<String> = acts.iter().map(|m| entry(m).entry.unwrap().summary).collect();
    assert_eq!(BTreeSet::from_iter(told.iter().map(String::as_str)), BTreeSet::from(expected));
    assert_eq!(told.len(), expected.len(), "each once: {told:?}");
    for message in &acts {
        let told = entry(message).entry.unwrap();
        assert_eq!(message.header_str("ce_type"), Some("audit.operator"));
        assert_eq!(message.header_str("ce_subject"), Some(format!("act/{}", told.request_id).as_str()));
        assert_eq!(message.header_str("ce_sequence"), Some("0000000001"));
        assert_eq!((told.actor.as_str(), told.reason.as_str()), ("operator:ada", "it burns"));
        assert!(told.summary.starts_with(&told.verb) && !told.verb.contains(' '));
    }
    let kept = "select count(*) from operator_action where request_id = 'j' or request_id like 'j/%'";
    assert_eq!(sqlx::query_scalar::<_, i64>(kept).fetch_one(&mut world.sql().await).await.unwrap(), 2);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_long_transaction_commits_late_is_told_and_ends_and_acts_do_not_wait_for_it() {
    let world = World::start().await;
    let _yes = world.yes().await;
    let reader = Reader::of(&world.config.kafka, "orders.audit");
    let before = world.submit("before").await;
    world.until(&before, OrderStatus::Completed).await;
    complete(&world, &reader).await;

    let mut late = world.sql().await;
    sqlx::query("begin").execute(&mut late).await.unwrap();
    let saga = skald_kit::ids::mint(skald_kit::ids::timestamp_ms(before.parse().unwrap()).unwrap());
    // It has its number, and writes long after others that began later.
    sqlx::query_scalar::<_, i64>("select txid_current()").fetch_one(&mut late).await.unwrap();
    let ended = world.submit("ended").await;
    world.until(&ended, OrderStatus::Completed).await;
    let acted = world.place(later("acted")).await;
    let stands = world.place(later("stands")).await;
    for id in [&acted, &stands] {
        world.until(id, OrderStatus::Reserved).await;
    }
    world.act(&acted, Verb::Pause(admin::Pause {})).await;
    // At once, with everything before it; the page waits for the one that runs.
    skald_harness::eventually("what must come at once", DEADLINE, async || {
        let kept = kept(&reader.messages.lock().unwrap());
        let rows = [kept.get(&ended).cloned(), kept.get(&acted).cloned()];
        if rows == [Some(vec![1, 2, 3, 4]), Some(vec![1, 2, 3])] { Ok(()) } else { Err(rows) }
    })
    .await;
    world.beats(3).await;
    assert!(of(&reader.messages.lock().unwrap(), &stands).is_empty(), "the horizon holds");

    // An hour ago by its own time: no clock counts.
    let insert = "insert into history (saga_id, seq, at, rules, kind, actor, input, digest)
                  values ($1, 1, now() - interval '1 hour', 1, 3, 'timer', '\\x1a00', 0)";
    sqlx::query(insert).bind(saga).execute(&mut late).await.unwrap();
    sqlx::query("commit").execute(&mut late).await.unwrap();
    let rows = complete(&world, &reader).await;
    assert_eq!((rows.len(), &rows[&saga.to_string()]), (5, &vec![1]));
    assert_eq!(
        of(&reader.messages.lock().unwrap(), &stands).len(),
        2,
        "those that did not come at once come once"
    );
    world.stop().await;
}

/// A history row of a saga that is not there, as a transaction wrote it.
async fn write(conn: &mut PgConnection, saga: Uuid, seq: i32) {
    let insert = "insert into history (saga_id, seq, at, rules, kind, actor, input, digest)
                  values ($1, $2, now(), 1, 3, 'timer', '\\x1a00', 0)";
    sqlx::query(insert).bind(saga).bind(seq).execute(conn).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_whose_transaction_is_older_than_that_of_the_row_below_it_comes_behind_it() {
    let url = Secret::new(skald_harness::database("server").await.url);
    skald_server::migrate(&url).await.unwrap();
    let mut sql = skald_kit::pg::connection(&url).await.unwrap();
    let now = "select (extract(epoch from now()) * 1000)::bigint";
    let now: i64 = sqlx::query_scalar(now).fetch_one(&mut sql).await.unwrap();
    skald_server::store::retention::ensure(&mut sql, now).await.unwrap();
    let [mut older, mut younger] =
        [skald_kit::pg::connection(&url).await.unwrap(), skald_kit::pg::connection(&url).await.unwrap()];
    let sagas: Vec<Uuid> = (0..3).map(|_| Uuid::now_v7()).collect();
    // As if one had its number already when it began to wait for the other's row lock.
    for conn in [&mut older, &mut younger] {
        sqlx::query("begin").execute(&mut *conn).await.unwrap();
        sqlx::query_scalar::<_, i64>("select txid_current()").fetch_one(conn).await.unwrap();
    }
    for saga in &sagas {
        write(&mut younger, *saga, 1).await;
        write(&mut younger, *saga, 2).await;
    }
    sqlx::query("commit").execute(&mut younger).await.unwrap();
    for saga in &sagas {
        write(&mut older, *saga, 3).await;
    }
    sqlx::query("commit").execute(&mut older).await.unwrap();
    // Pages of two rows: the upper rows' page is not that of the lower ones.
    let world = World::start_with(|c| {
        c.postgres.url = url;
        c.audit.rows_per_second = 4.0;
    })
    .await;
    let reader = Reader::of(&world.config.kafka, "orders.audit");
    let rows = complete(&world, &reader).await;
    assert!(rows.len() == 3 && rows.values().all(|seqs| *seqs == [1, 2, 3]), "{rows:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_killed_in_the_middle_leaves_nothing_out_and_two_do_not_disturb_each_other() {
    let first = World::start_with(|c| c.audit.rows_per_second = 100.0).await;
    let _yes = first.yes().await;
    let reader = Reader::of(&first.config.kafka, "orders.audit");
    let (doomed, runtime) = World::start_doomed(first.config.clone()).await;
    let load = Load::start(8, &[first.channel(), doomed.channel()]);
    load.more(150).await;
    // Both export at once what ended; one of them has the lock, and is in the middle of the rest.
    skald_harness::eventually("a part", DEADLINE, async || {
        let n = reader.messages.lock().unwrap().len();
        if n > 100 { Ok(()) } else { Err(n) }
    })
    .await;
    runtime.shutdown_background();
    let acknowledged = load.end().await;
    let all: usize = history(&first).await.values().map(Vec::len).sum();
    assert!(reader.messages.lock().unwrap().len() < all, "not all was told yet");
    first.all_complete(&acknowledged).await;
    let mut config = first.config.clone();
    config.audit.rows_per_second = 5_000.0;
    let [third, fourth] = [World::start_on(config.clone()).await, World::start_on(config).await];
    let load = Load::start(8, &[third.channel(), fourth.channel()]);
    load.more(100).await;
    // Softly this time.
    first.stop().await;
    let acknowledged = load.end().await;
    third.all_complete(&acknowledged).await;
    complete(&third, &reader).await;
    third.stop().await;
    fourth.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_kafka_is_away_nothing_is_lost() {
    let mut kafka = skald_harness::owned_kafka().await;
    let servers = kafka.bootstrap_servers();
    let world = World::start_with(|c| {
        c.kafka.bootstrap_servers = servers;
        c.kafka.properties.insert("message.timeout.ms".into(), "2000".into());
    })
    .await;
    let reader = Reader::of(&world.config.kafka, "orders.audit");
    let mut ids = vec![world.submit("before").await];
    complete(&world, &reader).await;
    kafka.kill().await.unwrap();
    for n in 0..20 {
        ids.push(world.submit(&format!("away-{n}")).await);
    }
    skald_harness::eventually("the lag shows", DEADLINE, async || {
        // Its number is that of every test.
        let metrics = world.metrics().await;
        metrics.lines().any(|line| line.starts_with("skald_audit_lag_seconds ")).then_some(())
    })
    .await;
    kafka.restart().await.unwrap();
    let rows = complete(&world, &reader).await;
    assert_eq!(rows.len(), 21);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_rows_and_a_restored_database_are_told_from_the_beginning() {
    let world = World::start().await;
    let _yes = world.yes().await;
    let reader = Reader::of(&world.config.kafka, "orders.audit");
    for n in 0..5 {
        let id = world.submit(&format!("k{n}")).await;
        world.until_saga(&id, SagaStatus::Completed).await;
    }
    let rows = complete(&world, &reader).await;
    let told: usize = rows.values().map(Vec::len).sum();
    // As after a restore: the cursor knows of transactions that this server has not had.
    let mut sql = world.sql().await;
    sqlx::query("update audit_cursor set txid = txid_current() + 1000000").execute(&mut sql).await.unwrap();
    skald_harness::eventually("everything once more", DEADLINE, async || {
        let places: Vec<_> = (reader.messages.lock().unwrap().iter())
            .map(|m| (m.key.clone(), m.header_str("ce_sequence").map(str::to_owned)))
            .collect();
        let twice: BTreeSet<_> =
            places.iter().filter(|place| places.iter().filter(|other| other == place).count() > 1).collect();
        if twice.len() == told { Ok(()) } else { Err((twice.len(), told)) }
    })
    .await;
    world.submit("after").await;
    assert_eq!(complete(&world, &reader).await.len(), 6);
    world.stop().await;
}
