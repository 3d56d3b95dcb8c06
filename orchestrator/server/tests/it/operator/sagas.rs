//! Sagas by what is known of them, and how many stand where.

use skald_proto::{
    admin::v1 as admin,
    order::v1::OrderStatus,
    participant::v1::{Failed, Verb, outcome::Answer},
    saga::v1::{SagaStatus, StepStatus},
};

use crate::{
    grpc::bad_fields,
    support::{Participant, World, draft, later, no, yes},
};

/// Every id that a list gives, through its pages.
async fn ids(world: &World, mut request: admin::ListSagasRequest) -> Vec<String> {
    let mut ids = Vec::new();
    loop {
        let page = world.admin().list_sagas(request.clone()).await.unwrap().into_inner();
        ids.extend(page.sagas.into_iter().map(|s| s.saga_id));
        assert!(ids.len() < 100, "pages that never end: {ids:?}");
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return ids;
        }
    }
}

/// Orders in different places, in this order: reserved, completed, cancelled, parked; and who plays along.
async fn four(world: &World) -> ([String; 4], [Participant; 2]) {
    let kafka = &world.config.kafka;
    let inventory = Participant::start(kafka, "inventory", |c| Some(yes(c))).await;
    let payment = Participant::start(kafka, "payment", |c| {
        let customer = String::from_utf8_lossy(&c.input.as_ref().unwrap().value).into_owned();
        let unresolved = Failed { code: "UNRESOLVED".into(), message: "ask".into(), ..Default::default() };
        Some(match c.verb() {
            Verb::Run if customer.contains("declined") => no("PAYMENT_DECLINED"),
            Verb::Run if customer.contains("stuck") => Answer::Failed(unresolved),
            _ => yes(c),
        })
    })
    .await;
    let reserved = world.place(later("reserved")).await;
    let mut placed = vec![reserved];
    for customer in ["good", "declined", "stuck"] {
        let order = skald_proto::order::v1::OrderDraft { customer_id: customer.into(), ..draft() };
        let wish = skald_proto::order::v1::SubmitOrderRequest {
            idempotency_key: customer.into(),
            order: Some(order),
        };
        placed.push(world.place(wish).await);
    }
    world.until(&placed[0], OrderStatus::Reserved).await;
    world.until(&placed[1], OrderStatus::Completed).await;
    world.until(&placed[2], OrderStatus::Cancelled).await;
    world.until_saga(&placed[3], SagaStatus::Parked).await;
    (placed.try_into().unwrap(), [inventory, payment])
}

#[tokio::test(flavor = "multi_thread")]
async fn sagas_are_found_by_what_is_known_of_them() {
    let world = World::start().await;
    let ([reserved, completed, cancelled, stuck], _participants) = four(&world).await;
    let any = admin::ListSagasRequest::default;
    let table: Vec<(&str, admin::ListSagasRequest, Vec<&String>)> = vec![
        ("all", any(), vec![&stuck, &cancelled, &completed, &reserved]),
        (
            "oldest first, in pages",
            admin::ListSagasRequest { order: admin::SagaOrder::OldestFirst.into(), page_size: 1, ..any() },
            vec![&reserved, &completed, &cancelled, &stuck],
        ),
        (
            "newest first, in pages",
            admin::ListSagasRequest { page_size: 1, ..any() },
            vec![&stuck, &cancelled, &completed, &reserved],
        ),
        (
            "definition",
            admin::ListSagasRequest { definition: "order".into(), page_size: 3, ..any() },
            vec![&stuck, &cancelled, &completed, &reserved],
        ),
        ("no definition", admin::ListSagasRequest { definition: "other".into(), ..any() }, vec![]),
        (
            "ended",
            admin::ListSagasRequest { status: SagaStatus::Completed.into(), ..any() },
            vec![&completed],
        ),
        (
            "under way",
            admin::ListSagasRequest { status: SagaStatus::Running.into(), ..any() },
            vec![&reserved],
        ),
        ("parked", admin::ListSagasRequest { status: SagaStatus::Parked.into(), ..any() }, vec![&stuck]),
        (
            "stage",
            admin::ListSagasRequest { stage: "RESERVED".into(), page_size: 1, ..any() },
            vec![&stuck, &cancelled, &reserved],
        ),
        (
            "step",
            admin::ListSagasRequest {
                step: "charge".into(),
                step_status: StepStatus::Rejected.into(),
                ..any()
            },
            vec![&cancelled],
        ),
        (
            "waiting step",
            admin::ListSagasRequest { step_status: StepStatus::AwaitingSignal.into(), ..any() },
            vec![&reserved],
        ),
        (
            "participant",
            admin::ListSagasRequest { participant: "payment".into(), ..any() },
            vec![&stuck, &cancelled, &completed],
        ),
        (
            "error",
            admin::ListSagasRequest {
                error_code: "UNRESOLVED".into(),
                participant: "payment".into(),
                ..any()
            },
            vec![&stuck],
        ),
        (
            "another step's error",
            admin::ListSagasRequest { error_code: "UNRESOLVED".into(), step: "reserve".into(), ..any() },
            vec![],
        ),
        ("customer", admin::ListSagasRequest { customer_id: "declined".into(), ..any() }, vec![&cancelled]),
        (
            "customer, but not so",
            admin::ListSagasRequest {
                customer_id: "declined".into(),
                status: SagaStatus::Running.into(),
                ..any()
            },
            vec![],
        ),
    ];
    for (name, request, expected) in table {
        assert_eq!(ids(&world, request).await.iter().collect::<Vec<_>>(), expected, "{name}");
    }
    by_time(&world, [&reserved, &completed, &cancelled, &stuck]).await;
    counted(&world).await;

    let bad = admin::ListSagasRequest {
        status: 99,
        step_status: 99,
        order: 99,
        page_size: 501,
        page_token: "x".into(),
        ..any()
    };
    let bad = world.admin().list_sagas(bad).await.unwrap_err();
    assert_eq!(bad_fields(&bad), ["page_size", "order", "page_token", "status", "step_status"]);
    world.stop().await;
}

/// The same filters, but only how many.
async fn counted(world: &World) {
    let (running, parked) = (SagaStatus::Running, SagaStatus::Parked);
    let any = || admin::ListSagasRequest { count_only: true, page_size: 1, ..Default::default() };
    let table: [(admin::ListSagasRequest, &[(SagaStatus, i64)]); 5] = [
        (any(), &[(running, 1), (SagaStatus::Completed, 1), (SagaStatus::Compensated, 1), (parked, 1)]),
        (admin::ListSagasRequest { status: parked.into(), ..any() }, &[(parked, 1)]),
        (
            admin::ListSagasRequest { stage: "RESERVED".into(), ..any() },
            &[(running, 1), (SagaStatus::Compensated, 1), (parked, 1)],
        ),
        (
            admin::ListSagasRequest {
                participant: "payment".into(),
                step: "charge".into(),
                customer_id: "good".into(),
                ..any()
            },
            &[(SagaStatus::Completed, 1)],
        ),
        (admin::ListSagasRequest { error_code: "NO_SUCH".into(), ..any() }, &[]),
    ];
    for (request, expected) in table {
        let page = world.admin().list_sagas(request).await.unwrap().into_inner();
        assert_eq!((page.sagas.len(), &*page.next_page_token, page.unreadable), (0, "", 0));
        let counts: Vec<_> = page.counts.iter().map(|c| (c.status(), c.count)).collect();
        assert_eq!(counts, expected);
        assert!(page.counts.iter().all(|c| c.oldest.is_some()));
    }
}

async fn by_time(world: &World, [reserved, completed, cancelled, stuck]: [&String; 4]) {
    let any = admin::ListSagasRequest::default;
    let created = world.saga(cancelled).await.created_at;
    let from = admin::ListSagasRequest { created_from: created, ..any() };
    assert_eq!(ids(world, from).await, [stuck.clone(), cancelled.clone()]);
    let before = admin::ListSagasRequest { created_before: created, ..any() };
    assert_eq!(ids(world, before).await, [completed.clone(), reserved.clone()]);
    let now = created.unwrap();
    let tomorrow = "update saga set wake_at = now() + interval '1 day' where id = $1::uuid";
    sqlx::query(tomorrow).bind(stuck).execute(&mut world.sql().await).await.unwrap();
    let soon = prost_types::Timestamp { seconds: now.seconds + 7_200, ..now };
    let before = admin::ListSagasRequest { wake_before: Some(soon), ..any() };
    assert_eq!(ids(world, before).await, [reserved.as_str()]);
    let from = admin::ListSagasRequest { wake_from: Some(now), page_size: 1, ..any() };
    assert_eq!(ids(world, from).await, [reserved.clone(), stuck.clone()], "the soonest first");
    let parked = admin::ListSagasRequest {
        wake_from: Some(now),
        status: SagaStatus::Parked.into(),
        customer_id: "stuck".into(),
        ..any()
    };
    assert_eq!(ids(world, parked.clone()).await, [stuck.as_str()]);
    let others = admin::ListSagasRequest { customer_id: "good".into(), ..parked };
    assert_eq!(ids(world, others).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_survive_what_begins_and_ends_meanwhile() {
    let world = World::start().await;
    let _yes = world.yes().await;
    let mut placed = Vec::new();
    for n in 0..4 {
        placed.push(world.place(later(&format!("k{n}"))).await);
    }
    let list = admin::ListSagasRequest { page_size: 2, ..Default::default() };
    let first = world.admin().list_sagas(list.clone()).await.unwrap().into_inner();
    let first_ids: Vec<_> = first.sagas.iter().map(|s| s.saga_id.clone()).collect();
    assert_eq!(first_ids, [placed[3].clone(), placed[2].clone()]);
    world.place(later("later")).await;
    // The one that the token names goes.
    let gone = "delete from saga where id = $1::uuid";
    sqlx::query(gone).bind(&placed[2]).execute(&mut world.sql().await).await.unwrap();
    let rest = admin::ListSagasRequest { page_token: first.next_page_token, ..list };
    assert_eq!(ids(&world, rest).await, [placed[1].clone(), placed[0].clone()]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_counted_how_many_stand_where() {
    let world = World::start().await;
    let ([reserved, ..], _participants) = four(&world).await;
    let stats = world.admin().get_stats(admin::GetStatsRequest::default()).await.unwrap().into_inner();
    assert_eq!((stats.started, stats.completed, stats.compensated), (4, 1, 1));
    assert_eq!((stats.active, stats.sampled, stats.estimated, stats.window_seconds), (2, 2, false, 900));
    let by_status: Vec<_> = stats.by_status.iter().map(|s| (s.status(), s.count)).collect();
    assert!(by_status.contains(&(SagaStatus::Running, 1)) && by_status.contains(&(SagaStatus::Parked, 1)));
    assert_eq!(stats.oldest_in_flight, reserved);
    assert_eq!(stats.oldest_in_flight_at, world.saga(&reserved).await.created_at);
    let of = |step: &str, status: StepStatus| {
        let found = stats.by_step.iter().find(|s| s.step == step && s.status() == status);
        found.map_or(0, |s| s.count)
    };
    assert_eq!(of("reserve", StepStatus::Succeeded), 2);
    assert_eq!((of("pay", StepStatus::AwaitingSignal), of("pay", StepStatus::Succeeded)), (1, 1));
    assert_eq!((of("charge", StepStatus::Running), of("commit", StepStatus::Waiting)), (1, 2));
    let bad = world.admin().get_stats(admin::GetStatsRequest { window_seconds: 86_401 }).await.unwrap_err();
    assert_eq!(bad_fields(&bad), ["window_seconds"]);
    world.stop().await;
}
