//! ParticipantAdminService: what the barrier remembers, what is open, how the participant fares.

use std::sync::Arc;

use skald_harness::{eventually, owned_postgres};
use skald_participant::Verb;
use skald_proto::participant::v1::{
    self as wire, BarrierVerdict, Command, GetBarrierRequest, GetStatusRequest, GetStatusResponse,
    ListIntentsRequest, OpenIntent, participant_admin_service_client::ParticipantAdminServiceClient,
};
use tokio::sync::Notify;
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;

use crate::{
    house::{House, LONG, ask, command, saga},
    toy::Toy,
};

type Desk = ParticipantAdminServiceClient<Channel>;

async fn desk(address: &str) -> Desk {
    Desk::connect(address.to_owned()).await.expect("connected")
}

fn bad_fields(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    let bad = status.get_details_bad_request().expect("google.rpc.BadRequest");
    bad.field_violations.into_iter().map(|violation| violation.field).collect()
}

fn epoch(mut command: Command, epoch: u32) -> Command {
    command.epoch = epoch;
    command
}

async fn status(desk: &mut Desk) -> GetStatusResponse {
    desk.get_status(GetStatusRequest {}).await.expect("a status").into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_barrier_is_told_in_order_with_every_verdict_by_name() {
    use BarrierVerdict::{Fenced, Intent, NothingToUndo, Rejected, Sealed, Succeeded, Undone};
    let house = House::new("rows").await;
    let toy = Toy::default();
    let gateway = Arc::clone(&toy.gateway);
    let address = house.start(toy).await;
    let id = saga();
    let run = |action: &str| command(&id, action, Verb::Run);
    ask(&address, &[run("reserve"), command(&id, "release", Verb::Undo)]).await;
    // epochs of their own: fenced, then nothing to undo
    ask(&address, &[epoch(command(&id, "release", Verb::SealUndo), 3)]).await;
    ask(&address, &[epoch(command(&id, "release", Verb::Undo), 2)]).await;
    gateway.with(|books| books.mood = "decline");
    ask(&address, &[run("charge")]).await;
    let mut desk = desk(&address).await;
    let mut rows = async || {
        let request = GetBarrierRequest { saga_id: id.clone() };
        desk.get_barrier(request).await.expect("rows").into_inner().rows
    };
    eventually("the charge to be declined", LONG, async || {
        rows().await.iter().all(|row| row.verdict() != Intent).then_some(())
    })
    .await;
    gateway.with(|books| books.mood = "hang");
    ask(&address, &[epoch(run("charge"), 2)]).await;
    let rows = rows().await;
    let told: Vec<_> =
        rows.iter().map(|row| (row.step.as_str(), row.epoch, row.verb(), row.verdict())).collect();
    let (ran, undid) = (wire::Verb::Run, wire::Verb::Undo);
    assert_eq!(
        told,
        [
            ("charge", 1, ran, Rejected),
            ("charge", 2, ran, Intent),
            ("reserve", 1, ran, Succeeded),
            ("reserve", 1, undid, Undone),
            ("reserve", 2, ran, Sealed),
            ("reserve", 2, undid, NothingToUndo),
            ("reserve", 3, ran, Sealed),
            ("reserve", 3, undid, Fenced),
        ]
    );
    assert_eq!(rows[0].summary, "rejected: DECLINED, no");
    assert!(rows.iter().all(|row| row.at.is_some() && !row.summary.is_empty()));

    let unknown = desk.get_barrier(GetBarrierRequest { saga_id: saga() }).await.expect_err("refused");
    assert_eq!(unknown.code(), Code::NotFound);
    let bad = desk.get_barrier(GetBarrierRequest { saga_id: "x".into() }).await.expect_err("refused");
    assert_eq!(bad_fields(&bad), ["saga_id"]);
    house.stop().await;
}

/// A row that can't be read does not hide the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_row_is_shown_as_what_it_is() {
    let house = House::new("corrupt").await;
    let address = house.start(Toy::default()).await;
    let id = saga();
    ask(&address, &[command(&id, "reserve", Verb::Run), command(&id, "release", Verb::Undo)]).await;
    sqlx::query("update skald.barrier set outcome = '\\xff' where saga_id = $1::uuid and verb = 'R'")
        .bind(&id)
        .execute(&mut house.sql().await)
        .await
        .expect("spoilt");
    let request = GetBarrierRequest { saga_id: id };
    let rows = desk(&address).await.get_barrier(request).await.expect("rows").into_inner().rows;
    assert_eq!((rows.len(), rows[1].summary.as_str()), (2, "undone"));
    assert!(rows[0].summary.contains("skald.barrier.outcome"), "{}", rows[0].summary);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_intents_are_listed_page_by_page_and_by_age() {
    let house = House::new("intents").await;
    let toy = Toy::default();
    toy.gateway.with(|books| books.mood = "hang");
    let address = house.start(toy).await;
    let mut ids: Vec<String> = (0..5).map(|_| saga()).collect();
    ids.sort();
    for id in &ids {
        let attempt = Command { attempt: 3, ..command(id, "charge", Verb::Run) };
        assert_eq!(ask(&address, &[attempt]).await, []);
    }
    ask(&address, &[command(&ids[4], "refund", Verb::Undo)]).await;
    let mut desk = desk(&address).await;
    let mut list = async |older_than: Option<i64>, page_size, page_token: &str| {
        let older_than = older_than.map(|seconds| prost_types::Duration { seconds, nanos: 0 });
        let request = ListIntentsRequest { older_than, page_size, page_token: page_token.to_owned() };
        desk.list_intents(request).await.map(tonic::Response::into_inner)
    };
    let mut expected: Vec<_> = ids.iter().map(|id| (id.clone(), wire::Verb::Run)).collect();
    expected.push((ids[4].clone(), wire::Verb::Undo));
    // with 5, a page ends between an action and its undo
    for (size, count) in [(2, 3), (5, 2), (6, 1)] {
        let (mut seen, mut token, mut pages): (Vec<OpenIntent>, _, _) = (Vec::new(), String::new(), 0);
        loop {
            let page = list(None, size, &token).await.expect("a page");
            seen.extend(page.intents);
            token = page.next_page_token;
            pages += 1;
            if token.is_empty() {
                break;
            }
        }
        let keys: Vec<_> = seen.iter().map(|open| (open.saga_id.clone(), open.verb())).collect();
        assert_eq!((&keys, pages), (&expected, count));
    }
    let open = &list(None, 1, "").await.expect("a page").intents[0];
    assert_eq!((open.step.as_str(), open.epoch, open.attempt, open.calls), ("charge", 1, 3, 1));
    assert!(open.since.is_some() && open.next_call_after.is_some() && open.answered.is_empty());
    assert_eq!(open.gateway_key.len(), 36, "{}", open.gateway_key);

    // The longest that a Duration may be: PostgreSQL has no such time.
    for age in [3_600, 315_576_000_000] {
        assert_eq!(list(Some(age), 0, "").await.expect("a page").intents, []);
    }
    let older = "update skald.barrier set at = now() - interval '2 hours' where saga_id = $1::uuid";
    sqlx::query(older).bind(&ids[2]).execute(&mut house.sql().await).await.expect("made older");
    let found = list(Some(3_600), 0, "").await.expect("a page").intents;
    assert_eq!(found.iter().map(|open| &open.saga_id).collect::<Vec<_>>(), [&ids[2]]);
    for (age, size, token, fields) in [
        (Some(-1), 1_001, "x", vec!["older_than", "page_size", "page_token"]),
        (None, -1, "a/b/c/R", vec!["page_size", "page_token"]),
        (None, 1, &format!("{}/charge/1/X", ids[0]), vec!["page_token"]),
    ] {
        assert_eq!(bad_fields(&list(age, size, token).await.expect_err("refused")), fields);
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_tells_lag_and_what_is_open() {
    let house = House::new("status").await;
    let gate = Arc::new(Notify::new());
    let toy = Toy { hold_write: Some(Arc::clone(&gate)), ..Toy::default() };
    let gateway = Arc::clone(&toy.gateway);
    let address = house.start(toy).await;
    let mut desk = desk(&address).await;
    let idle = eventually("both partitions", LONG, async || {
        let status = status(&mut desk).await;
        if status.lag.len() == 2 { Ok(status) } else { Err(status) }
    })
    .await;
    assert_eq!((idle.participant.as_str(), idle.version.is_empty()), ("toy", false));
    assert_eq!((idle.breaker, idle.unknown), (None, Vec::<String>::new()));
    assert_eq!(
        idle.lag.iter().map(|lag| (lag.partition, lag.messages)).collect::<Vec<_>>(),
        [(0, 0), (1, 0)]
    );
    let intents = idle.intents.expect("known");
    assert_eq!((intents.open, intents.unresolved, intents.oldest), (0, 0, None));

    // held up in its transaction: nothing is finished
    gateway.with(|books| books.mood = "hang");
    let ids: Vec<String> = (0..3).map(|_| saga()).collect();
    house.send(&ids.iter().map(|id| command(id, "charge", Verb::Run)).collect::<Vec<_>>()).await;
    let lag = |status: &GetStatusResponse| status.lag.iter().map(|lag| lag.messages).sum::<i64>();
    eventually("three commands to wait", LONG, async || {
        let status = status(&mut desk).await;
        if lag(&status) == 3 { Ok(()) } else { Err(status) }
    })
    .await;
    let opened = eventually("them to be taken", LONG, async || {
        gate.notify_one();
        let status = status(&mut desk).await;
        if lag(&status) == 0 { Ok(status.intents.expect("known")) } else { Err(status) }
    })
    .await;
    assert_eq!((opened.open, opened.unresolved), (3, 0));
    let mark = "update skald.intent set answered = 'UNRESOLVED' where saga_id = $1::uuid";
    let mut sql = house.sql().await;
    sqlx::query(mark).bind(&ids[1]).execute(&mut sql).await.expect("marked");
    let older = "update skald.barrier set at = now() - interval '2 hours' where saga_id = $1::uuid";
    sqlx::query(older).bind(&ids[2]).execute(&mut sql).await.expect("made older");
    let told = status(&mut desk).await.intents.expect("known");
    assert_eq!((told.open, told.unresolved), (3, 1));
    assert_eq!(told.oldest.expect("one").saga_id, ids[2]);
    gate.notify_one();
    house.stop().await;
}

/// It works on a broken system: what is not known is said, the rest is told.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_the_status_says_what_it_does_not_know() {
    let mut postgres = owned_postgres().await;
    let house = House::at("away", postgres.url("postgres")).await;
    let address = house.start(Toy::default()).await;
    let mut desk = desk(&address).await;
    eventually("both partitions", LONG, async || (status(&mut desk).await.lag.len() == 2).then_some(()))
        .await;
    postgres.kill().await.expect("killed");
    let told = status(&mut desk).await;
    assert_eq!((told.intents, told.lag.len()), (None, 2));
    assert!(matches!(&told.unknown[..], [one] if one.starts_with("open intents:")), "{:?}", told.unknown);
    let rows = desk.get_barrier(GetBarrierRequest { saga_id: saga() }).await.expect_err("refused");
    assert_eq!(rows.code(), Code::Unavailable);
    let list = desk.list_intents(ListIntentsRequest::default()).await.expect_err("refused");
    assert_eq!(list.code(), Code::Unavailable);
    postgres.restart().await.expect("back");
    eventually("it to know again", LONG, async || status(&mut desk).await.intents).await;
    house.stop().await;
}
