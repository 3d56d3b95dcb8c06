//! Operators' verbs in the wrong moment: while orchestrators come and go, against each other, against an answer that is on its
//! way. Each takes effect exactly once or not at all, and the histories say so.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use futures::future::join_all;
use skald_proto::{
    admin::v1::{self as admin, BulkState, action::Verb},
    order::v1::OrderStatus,
};
use tonic::Code;
use uuid::Uuid;

use super::{
    LIMIT, audit,
    desk::Desk,
    shop::{End, Load, Order, SHELF, Shop, TEA, Then, draft, mixed},
    troubles::{self, until},
    world::{Kind, Plan, World},
};

/// Orders that wait, each with one operator.
const WAITING: usize = 12;

async fn start(plan: Plan) -> (World, Shop, Desk) {
    let mut world = plan.start().await;
    world.stock(&SHELF).await;
    let (shop, desk) = (Shop::new(&world), Desk::new(&world));
    (world, shop, desk)
}

/// Orders that are reserved and wait for their payment, each at version 2.
async fn waiting(shop: &Shop, n: usize, end: impl Fn(usize) -> End) -> Vec<Uuid> {
    let place = |n| {
        let order = Order { draft: draft(&[(TEA, 1)], None), end: end(n), then: Then::Nothing };
        async move {
            let id = shop.place(order).await.id;
            until(shop, id, OrderStatus::Reserved).await;
            id
        }
    };
    join_all((0..n).map(place)).await
}

/// How many of the inputs that each saga accepted were an operator's.
async fn acts(world: &World) -> BTreeMap<Uuid, usize> {
    let rows = "select saga_id, count(*) from public.history where actor = 'operator:ada' group by saga_id";
    let rows: Vec<(Uuid, i64)> =
        sqlx::query_as(rows).fetch_all(&mut world.sql(Kind::Orchestrator).await).await.expect("counted");
    rows.into_iter().map(|(id, n)| (id, n as usize)).collect()
}

/// How many acts the table of actions has.
async fn recorded(world: &World) -> usize {
    // Refused ones are kept as well.
    let done = "select count(*) from public.operator_action where actor = 'ada' and refused_code is null";
    let rows: i64 =
        sqlx::query_scalar(done).fetch_one(&mut world.sql(Kind::Orchestrator).await).await.expect("counted");
    rows as usize
}

/// Pauses and resumes an order until it is over, and compensates it or lets it be paid; how many acts that were.
async fn busy(desk: Desk, n: usize, id: Uuid, over: Arc<AtomicBool>, done: Arc<AtomicUsize>) -> usize {
    let (mut version, mut turns) = (2, 0);
    let mut act = async |verb: Verb| {
        let said = desk.act(turns, id, version, verb).await.expect("nobody else acts on it");
        assert_eq!(said.version, version + 1, "once, however often it was said");
        version = said.version;
        turns += 1;
        done.fetch_add(1, Ordering::Relaxed);
    };
    while !over.load(Ordering::Relaxed) {
        act(Verb::Pause(admin::Pause {})).await;
        act(Verb::Resume(admin::Resume {})).await;
    }
    if n.is_multiple_of(2) {
        act(Verb::Compensate(admin::Compensate {})).await;
    }
    turns
}

#[tokio::test(flavor = "multi_thread")]
async fn each_act_takes_effect_once_while_orchestrators_come_and_go() {
    let (mut world, shop, desk) = start(World::plan().two(Kind::Orchestrator)).await;
    let end = |n: usize| if n.is_multiple_of(2) { End::Cancelled("OPERATOR") } else { End::Completed };
    let orders = waiting(&shop, WAITING, end).await;
    let load = Load::start(&shop, (0..30).map(mixed), 4);
    let (over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let operators = orders
        .iter()
        .enumerate()
        .map(|(n, id)| busy(desk.clone(), n, *id, Arc::clone(&over), Arc::clone(&done)));
    let more = async |than: usize| {
        skald_harness::eventually("more acts", LIMIT, async || {
            let done = done.load(Ordering::Relaxed);
            if done >= than + WAITING { Ok(done) } else { Err(done) }
        })
        .await
    };
    // Every time the partitions move, and acts go on: at the other one, then at both.
    let coming_and_going = async {
        let mut so_far = more(0).await;
        world.service(Kind::Orchestrator, 1).sigterm();
        assert_eq!(world.service(Kind::Orchestrator, 1).ended().await.code(), Some(0));
        so_far = more(so_far).await;
        world.service_mut(Kind::Orchestrator, 1).restart().await;
        so_far = more(so_far).await;
        world.service(Kind::Orchestrator, 0).kill9().await;
        so_far = more(so_far).await;
        world.service_mut(Kind::Orchestrator, 0).restart().await;
        more(so_far).await;
        over.store(true, Ordering::Relaxed);
    };
    let (turns, ()) = tokio::join!(join_all(operators), coming_and_going);
    let said: BTreeMap<Uuid, usize> = orders.iter().copied().zip(turns).collect();
    for id in orders.iter().skip(1).step_by(2) {
        shop.pay(*id).await;
    }
    load.done().await;
    println!("{} acts on {WAITING} orders", said.values().sum::<usize>());
    assert_eq!(acts(&world).await, said, "each stands in the history once");
    assert_eq!(recorded(&world).await, said.values().sum::<usize>());
    audit::at_rest(&world, &shop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_operators_at_two_orchestrators_one_acts() {
    let (world, shop, desk) = start(World::plan().two(Kind::Orchestrator)).await;
    // Their ends are known afterwards: whoever was first.
    let orders = waiting(&shop, WAITING, |_| End::Cancelled("OPERATOR")).await;
    let race = |(n, id): (usize, &Uuid)| {
        let (desk, id) = (desk.clone(), *id);
        async move {
            let both = tokio::join!(
                desk.act(n, id, 2, Verb::Compensate(admin::Compensate {})),
                desk.act(n + 1, id, 2, Verb::Pause(admin::Pause {})),
            );
            let (won, lost, paused) = match both {
                (Ok(won), Err(lost)) => (won, lost, false),
                (Err(lost), Ok(won)) => (won, lost, true),
                other => panic!("one of them acts: {other:?}"),
            };
            assert_eq!((won.version, lost.code()), (3, Code::Aborted), "{lost:?}");
            assert!(lost.message().contains("operator:ada"), "it says what happened since: {lost:?}");
            paused
        }
    };
    let paused = join_all(orders.iter().enumerate().map(race)).await;
    assert!(acts(&world).await.values().all(|acts| *acts == 1));
    assert_eq!((acts(&world).await.len(), recorded(&world).await), (WAITING, WAITING));
    for (id, paused) in orders.iter().zip(paused) {
        if paused {
            desk.act(0, *id, 3, Verb::Resume(admin::Resume {})).await.expect("resumed");
            desk.act(0, *id, 4, Verb::Compensate(admin::Compensate {})).await.expect("compensated");
        }
    }
    audit::at_rest(&world, &shop).await;
}

/// The charge is at the gateway when an operator says that it happened, or that the order must not go on. Then it happens.
#[tokio::test(flavor = "multi_thread")]
async fn what_did_happen_beats_the_operator_s_word() {
    let (world, shop, desk) = start(World::plan()).await;
    // Long enough for the act to come first, short enough for the charge to take effect.
    world.slow_gateway(0, 1_500).await;
    let ends = [End::Completed, End::Cancelled("OPERATOR"), End::Completed, End::Cancelled("OPERATOR")];
    let mut orders = Vec::new();
    for end in ends {
        let order = Order { draft: draft(&[(TEA, 1)], Some("tok_ok")), end, then: Then::Nothing };
        orders.push((shop.place(order).await.id, end));
    }
    for (id, end) in &orders {
        let begun = "select count(*) from skald.intent where saga_id = $1 and calls > 0";
        troubles::until_found(&world, Kind::Payment, begun, *id).await;
        let skip =
            admin::Skip { step: "charge".into(), evidence: "the bank says so".into(), ..Default::default() };
        let verb = match end {
            End::Completed => Verb::Skip(skip),
            _ => Verb::Compensate(admin::Compensate {}),
        };
        let said = desk.act(0, *id, 2, verb).await.expect("the charge was not answered yet");
        let asked = if *end == End::Completed { "SEAL_RUN" } else { "UNDO" };
        assert_eq!(said.commands[0].verb, asked);
    }
    let ended = audit::at_rest(&world, &shop).await;
    assert_eq!(ended, BTreeMap::from([("COMPLETED".into(), 2), ("OPERATOR".into(), 2)]));
    let vouched: i64 = sqlx::query_scalar("select count(*) from public.attention")
        .fetch_one(&mut world.sql(Kind::Orchestrator).await)
        .await
        .expect("counted");
    assert_eq!(vouched, 0, "nobody had to be believed");
    let states: Vec<(String, i64)> =
        sqlx::query_as("select state::text, count(*) from public.charge group by state order by state")
            .fetch_all(&mut world.sql(Kind::Payment).await)
            .await
            .expect("read");
    assert_eq!(states, [("C".into(), 2), ("R".into(), 2)], "captured, and captured and given back once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_job_goes_on_after_the_only_orchestrator_was_killed() {
    let (mut world, shop, desk) = start(World::plan()).await;
    let orders = waiting(&shop, WAITING, |_| End::Cancelled("OPERATOR")).await;
    let job = admin::StartBulkRequest {
        filter: Some(admin::BulkFilter { definition: "order".into(), ..Default::default() }),
        action: Some(admin::Action { verb: Some(Verb::Compensate(admin::Compensate {})) }),
        per_second: 2.0,
        request_id: "job".into(),
        actor: "ada".into(),
        reason: "because".into(),
        dry_run: false,
    };
    let began = desk.client(0).start_bulk(job).await.expect("begun").into_inner();
    assert_eq!(began.count, WAITING as i64);
    let progress = async |wanted: &dyn Fn(&admin::Bulk) -> bool| {
        skald_harness::eventually("the job", LIMIT, async || {
            let get = admin::GetBulkRequest { request_id: "job".into() };
            let bulk = desk.client(0).get_bulk(get).await.map_err(|status| status.to_string())?;
            let bulk = bulk.into_inner().bulk.expect("a job");
            if wanted(&bulk) { Ok(bulk) } else { Err(format!("{bulk:?}")) }
        })
        .await
    };
    let before = progress(&|bulk| bulk.done >= 2).await;
    world.service(Kind::Orchestrator, 0).kill9().await;
    assert!(before.done < WAITING as i64, "{before:?}");
    world.service_mut(Kind::Orchestrator, 0).restart().await;
    let after = progress(&|bulk| bulk.state() == BulkState::Done).await;
    assert_eq!((after.total, after.moved, after.refused), (WAITING as i64, 0, 0), "{after:?}");
    assert_eq!(after.done, WAITING as i64, "{after:?}");
    let acts = acts(&world).await;
    assert_eq!(acts, orders.iter().map(|id| (*id, 1)).collect());
    audit::at_rest(&world, &shop).await;
}
