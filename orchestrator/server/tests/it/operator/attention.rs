//! The operators' inbox: what is slow, groups and pages of it, who looks after it.

use skald_core::plan;
use skald_proto::{
    admin::v1::{self as admin, AttentionKind},
    order::v1::OrderStatus,
    participant::v1::{Rejected, Verb, outcome::Answer},
};
use skald_server::store::attention;
use tonic::Code;
use uuid::Uuid;

use crate::{
    grpc::{bad_fields, refused},
    replay,
    support::{DEADLINE, Participant, World, yes},
};

async fn inbox(world: &World, filter: admin::AttentionFilter) -> Vec<admin::Attention> {
    let request = admin::ListAttentionRequest { filter: Some(filter), page_size: 500, ..Default::default() };
    world.admin().list_attention(request).await.unwrap().into_inner().items
}

fn of(kind: AttentionKind) -> admin::AttentionFilter {
    admin::AttentionFilter { kind: kind.into(), ..Default::default() }
}

async fn slow(world: &World) -> admin::Attention {
    skald_harness::eventually("somebody is slow", DEADLINE, async || {
        inbox(world, of(AttentionKind::Slow)).await.pop()
    })
    .await
}

async fn looks(world: &World, id: &str) -> i16 {
    let resends = "select resends from saga where id = $1::uuid";
    sqlx::query_scalar(resends).bind(id).fetch_one(&mut world.sql().await).await.unwrap()
}

async fn impatient() -> World {
    World::start_with(|c| {
        c.driver.resend_gaps_ms = vec![100, 200];
        c.driver.slow_after_seconds = 1;
        c.driver.scan_every_ms = 100;
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_participant_is_told_once_until_it_answers() {
    let world = impatient().await;
    let kafka = &world.config.kafka;
    let _inventory = Participant::start(kafka, "inventory", |c| Some(yes(c))).await;
    let payment = Participant::start(kafka, "payment", |_| None).await;
    let id = world.submit("k").await;
    let charge = payment.command(&id, "charge", Verb::Run).await;
    assert_eq!(inbox(&world, of(AttentionKind::Slow)).await, [], "not at once");
    let item = slow(&world).await;
    assert_eq!((item.saga_id.as_str(), item.step.as_str()), (id.as_str(), "charge"));
    assert_eq!((item.participant.as_str(), item.code.as_str()), ("payment", "UNANSWERED"));
    assert!(item.message.contains("RUN was sent to payment"), "{item:?}");
    let before = looks(&world, &id).await;
    skald_harness::eventually("it is looked at again", DEADLINE, async || {
        (looks(&world, &id).await > before + 2).then_some(())
    })
    .await;
    assert_eq!(inbox(&world, Default::default()).await, [item], "once, and as it was");
    payment.speaker().say(&charge, yes(&charge), None);
    world.until(&id, OrderStatus::Completed).await;
    assert_eq!(inbox(&world, Default::default()).await, []);
    replay::every_history(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_frozen_or_quarantined_is_not_slow() {
    let world = impatient().await;
    let kafka = &world.config.kafka;
    let _inventory = Participant::start(kafka, "inventory", |c| Some(yes(c))).await;
    let payment = Participant::start(kafka, "payment", |_| None).await;
    let id = world.submit("k").await;
    slow(&world).await;
    let freeze = |request_id: &str| admin::FreezeParticipantRequest {
        participant: "payment".into(),
        request_id: request_id.into(),
        actor: "ada".into(),
        reason: "it burns".into(),
    };
    world.admin().freeze_participant(freeze("f")).await.unwrap();
    skald_harness::eventually("a freeze is no slowness", DEADLINE, async || {
        inbox(&world, Default::default()).await.is_empty().then_some(())
    })
    .await;
    let other = world.submit("other").await;
    world.until(&other, OrderStatus::Reserved).await;
    world.beats(3).await;
    assert_eq!(inbox(&world, Default::default()).await, []);
    let admin::FreezeParticipantRequest { participant, request_id, actor, reason } = freeze("t");
    let thaw = admin::ThawParticipantRequest { participant, request_id, actor, reason };
    world.admin().thaw_participant(thaw).await.unwrap();
    skald_harness::eventually("both are slow once they are waited for", DEADLINE, async || {
        (inbox(&world, of(AttentionKind::Slow)).await.len() == 2).then_some(())
    })
    .await;

    // PostgreSQL stores no NUL in a text.
    let charge = payment.command(&id, "charge", Verb::Run).await;
    let nul = Answer::Rejected(Rejected { code: "A\0B".into(), ..Default::default() });
    payment.speaker().say(&charge, nul, None);
    skald_harness::eventually("what is quarantined is not slow", DEADLINE, async || {
        let mut kinds: Vec<_> = (inbox(&world, Default::default()).await.into_iter())
            .filter(|item| item.saga_id == id)
            .map(|item| item.kind())
            .collect();
        kinds.sort();
        if kinds == [AttentionKind::Quarantined, AttentionKind::DeadLetter] { Ok(()) } else { Err(kinds) }
    })
    .await;
    world.stop().await;
}

/// Items of sagas that are not there: of the groups alone.
async fn fill(world: &World) -> Vec<Uuid> {
    let mut sql = world.sql().await;
    let mut ids = Vec::new();
    for n in 0..12 {
        let id = Uuid::from_u128(100 + n);
        let row = "insert into attention (saga_id, step, kind, participant, code, message, since)
                   values ($1, $2, 'PARKED', $3, $4, 'm', timestamptz '2026-01-01' + $5::int / 4 * interval '1 minute')";
        // Some at the same time; the last one is about the saga itself.
        let (step, participant) = if n < 11 { ("charge", Some("payment")) } else { ("", None) };
        let code = if n % 3 == 0 { "UNRESOLVED" } else { "UNAVAILABLE" };
        let row = sqlx::query(row).bind(id).bind(step).bind(participant).bind(code).bind(n as i32);
        row.execute(&mut sql).await.unwrap();
        ids.push(id);
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inbox_in_groups_and_in_pages_that_survive_changes() {
    let world = World::start().await;
    let ids = fill(&world).await;
    let groups = admin::SummarizeAttentionRequest::default();
    let groups = world.admin().summarize_attention(groups).await.unwrap().into_inner().groups;
    let told: Vec<_> = groups.iter().map(|g| (g.step.as_str(), g.code.as_str(), g.count)).collect();
    assert_eq!(told, [("charge", "UNAVAILABLE", 7), ("charge", "UNRESOLVED", 4), ("", "UNAVAILABLE", 1)]);
    assert_eq!((groups[0].participant.as_str(), groups[0].kind()), ("payment", AttentionKind::Parked));
    assert_eq!(groups[0].example_saga_id, ids[1].to_string(), "the oldest one's");
    assert_eq!(groups[1].example_saga_id, ids[0].to_string());
    assert!(groups[0].oldest.unwrap().seconds < groups[2].oldest.unwrap().seconds);

    let mut token = String::new();
    let mut seen = Vec::new();
    loop {
        let request = admin::ListAttentionRequest { page_size: 5, page_token: token, filter: None };
        let page = world.admin().list_attention(request).await.unwrap().into_inner();
        seen.extend(page.items.into_iter().map(|item| item.saga_id.parse::<Uuid>().unwrap()));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
        // What the token names goes; what comes is older than it.
        let change = "with gone as (delete from attention where saga_id = $1)
                      insert into attention select gen_random_uuid(), step, kind, participant, code, message, '2025-01-01'
                        from attention where saga_id = $2";
        let change = sqlx::query(change).bind(seen.last()).bind(ids[11]);
        change.execute(&mut world.sql().await).await.unwrap();
    }
    assert_eq!(seen, ids, "each once, the oldest first");

    let saga_itself = admin::AttentionFilter {
        step: Some(String::new()),
        participant: Some(String::new()),
        ..of(AttentionKind::Parked)
    };
    assert!(inbox(&world, saga_itself).await.iter().all(|i| i.step.is_empty() && i.participant.is_empty()));
    let unresolved = admin::AttentionFilter { code: Some("UNRESOLVED".into()), ..Default::default() };
    assert!(inbox(&world, unresolved).await.iter().all(|i| i.code == "UNRESOLVED"));
    assert_eq!(inbox(&world, of(AttentionKind::Slow)).await, []);
    let bad = admin::ListAttentionRequest {
        page_token: "x".into(),
        page_size: 501,
        filter: Some(admin::AttentionFilter { kind: 99, ..Default::default() }),
    };
    let bad = world.admin().list_attention(bad).await.unwrap_err();
    assert_eq!(bad_fields(&bad), ["filter.kind", "page_size", "page_token"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_is_one_person_s_until_it_is_released() {
    let world = World::start().await;
    let ids = fill(&world).await;
    let id = || skald_harness::unique("attention");
    let take = |who: &str, note: &str| admin::TakeAttentionRequest {
        request_id: id(),
        saga_id: ids[0].to_string(),
        step: "charge".into(),
        kind: AttentionKind::Parked.into(),
        actor: who.into(),
        note: note.into(),
    };
    let release = |who: &str, whose: &str| admin::ReleaseAttentionRequest {
        request_id: id(),
        saga_id: ids[0].to_string(),
        step: "charge".into(),
        kind: AttentionKind::Parked.into(),
        actor: who.into(),
        note: String::new(),
        taken_by: whose.into(),
    };
    let taken = world.admin().take_attention(take("ada", "asking the bank")).await.unwrap().into_inner();
    let taken = taken.item.unwrap();
    assert_eq!((taken.taken_by.as_str(), taken.note.as_str()), ("ada", "asking the bank"));
    let no = refused(world.admin().take_attention(take("bob", "mine")).await, Code::FailedPrecondition);
    assert!(no.message().contains("ada (asking the bank)"), "{no:?}");
    let not = release("bob", "");
    let no = refused(world.admin().release_attention(not.clone()).await, Code::FailedPrecondition);
    world.admin().take_attention(take("ada", "the bank asks back")).await.unwrap();
    let nobodys = admin::AttentionFilter { taken_by: Some(String::new()), ..Default::default() };
    assert_eq!(inbox(&world, nobodys).await.len(), 11);
    let adas = admin::AttentionFilter { taken_by: Some("ada".into()), ..Default::default() };
    assert_eq!(inbox(&world, adas).await[0].note, "the bank asks back");

    // Bob may, when he says whose it is.
    let left = world.admin().release_attention(release("bob", "ada")).await.unwrap().into_inner();
    let left = left.item.unwrap();
    assert_eq!((left.taken_by.as_str(), left.note.as_str()), ("", "the bank asks back"));
    let mine = take("bob", "mine");
    let taken = world.admin().take_attention(mine.clone()).await.unwrap().into_inner();
    let let_go = release("bob", "");
    world.admin().release_attention(let_go.clone()).await.unwrap();
    // A repeat is told what the first call was told, whatever has happened since, and does nothing.
    let again = world.admin().take_attention(mine).await.unwrap().into_inner();
    assert_eq!(again, admin::TakeAttentionResponse { repeated: true, ..taken });
    let again = world.admin().release_attention(let_go.clone()).await.unwrap().into_inner();
    assert!(again.repeated);
    let still = refused(world.admin().release_attention(not).await, Code::FailedPrecondition);
    assert_eq!(still.message(), no.message());
    let now =
        inbox(&world, admin::AttentionFilter { taken_by: Some("bob".into()), ..Default::default() }).await;
    assert_eq!(now, [], "bob let it go");
    let other = admin::ReleaseAttentionRequest { note: "another".into(), ..let_go };
    refused(world.admin().release_attention(other).await, Code::AlreadyExists);
    let nothing = admin::TakeAttentionRequest { step: "reserve".into(), ..take("ada", "") };
    refused(world.admin().take_attention(nothing).await, Code::NotFound);
    let bad = world.admin().take_attention(admin::TakeAttentionRequest::default()).await.unwrap_err();
    assert_eq!(bad_fields(&bad), ["saga_id", "kind", "actor", "request_id"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_stays_taken_when_another_step_parks() {
    let world = World::start().await;
    let mut sql = world.sql().await;
    let id = Uuid::from_u128(7);
    let parked = |step: &str, code: &str| plan::Attention {
        kind: plan::Kind::Parked,
        step: step.into(),
        participant: "payment".into(),
        code: code.into(),
        message: "m".into(),
    };
    let stands = async |sql: &mut sqlx::PgConnection| -> Vec<(String, String, String, i64)> {
        let rows = "select step, code, coalesce(taken_by, ''), extract(epoch from since)::bigint from attention order by step";
        sqlx::query_as(rows).fetch_all(sql).await.unwrap()
    };
    let entry =
        |step: &str, code: &str, who: &str, at| (step.to_owned(), code.to_owned(), who.to_owned(), at);
    attention::replace(&mut sql, 1_000, &[(id, vec![parked("a", "NO"), parked("c", "NO")])]).await.unwrap();
    let key = attention::Key { saga_id: id, step: "a".into(), kind: "PARKED".into() };
    attention::hold(&mut sql, &key, "ada", "").await.unwrap();
    attention::replace(&mut sql, 2_000, &[(id, vec![parked("a", "NEVER"), parked("b", "NO")])])
        .await
        .unwrap();
    assert_eq!(stands(&mut sql).await, [entry("a", "NEVER", "ada", 1), entry("b", "NO", "", 2)]);
    attention::replace(&mut sql, 3_000, &[(id, vec![])]).await.unwrap();
    assert_eq!(stands(&mut sql).await, []);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inbox_has_a_gauge() {
    let world = World::start().await;
    let rows = "insert into attention (saga_id, step, kind, code, message, since)
                select gen_random_uuid(), '', 'VOUCHED', 'C', 'm', now() - interval '1 hour' from generate_series(1, 4711)";
    sqlx::query(rows).execute(&mut world.sql().await).await.unwrap();
    // All tests of this process share the metrics: ours is there now and then.
    skald_harness::eventually("the gauges", DEADLINE * 2, async || {
        let page = world.metrics().await;
        let value = |line: &str| {
            let line = page.lines().find(|l| l.starts_with(line))?;
            line.rsplit(' ').next()?.parse::<f64>().ok()
        };
        let count = value("skald_attention{kind=\"vouched\"}");
        let age = value("skald_attention_oldest_seconds{kind=\"vouched\"}");
        if count == Some(4711.0) && age >= Some(3600.0) { Ok(()) } else { Err((count, age)) }
    })
    .await;
    world.stop().await;
}
