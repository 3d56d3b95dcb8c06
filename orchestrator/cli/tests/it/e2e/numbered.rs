//! Those of the design's numbered tests that need whole processes.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    LIMIT, audit,
    shop::{End, Load, Order, SHELF, Shop, TEA, Then, draft, mixed},
    topics::{COMMANDS, GROUPS, OUTCOMES, Topics},
    world::{Kind, World},
};

/// The calls of an order that arrived at the gateway, oldest first.
async fn arrived(conn: &mut PgConnection, order: Uuid) -> Vec<String> {
    sqlx::query_scalar(
        "select kind || ': ' || answer from gateway.call where our_ref like $1 || '/%' order by id",
    )
    .bind(order.to_string())
    .fetch_all(conn)
    .await
    .expect("the gateway's books can be read")
}

/// Number 8. One payment process freezes when its intent is committed and its call has not left. The order is cancelled; the
/// other process must find out what became of the charge, and give the money back. Then the frozen one goes on where it was.
#[tokio::test(flavor = "multi_thread")]
async fn payment_frozen_between_intent_and_call() {
    let mut world = World::plan().two(Kind::Payment).start().await;
    world.stock(&SHELF).await;
    let shop = Shop::new(&world);
    for n in 0..2 {
        world.slow_gateway(n, 5_000).await;
    }
    let end = End::Cancelled("CUSTOMER");
    let order = Order { draft: draft(&[(TEA, 4)], Some("tok_ok")), end, then: Then::Nothing };
    let order = shop.place(order).await.id;
    let mut conn = world.sql(Kind::Payment).await;
    let owner: Uuid = skald_harness::eventually("the intent", LIMIT, async || {
        sqlx::query_scalar("select owner from skald.intent where saga_id = $1")
            .bind(order)
            .fetch_optional(&mut conn)
            .await
            .map_err(|error| error.to_string())?
            .ok_or_else(|| String::from("none"))
    })
    .await;
    let frozen = world.instance(Kind::Payment, owner).await.expect("one of ours");
    world.service(Kind::Payment, frozen).freeze();
    assert_eq!(arrived(&mut conn, order).await, Vec::<String>::new(), "its call has not left");
    world.slow_gateway(1 - frozen, 0).await;
    shop.cancel(order).await;
    let refunded = |calls: &[String]| calls.iter().position(|call| call.starts_with("refund: moved"));
    skald_harness::eventually("the other one to charge and refund", LIMIT, async || {
        let calls = arrived(&mut conn, order).await;
        refunded(&calls).ok_or(calls)
    })
    .await;
    world.service(Kind::Payment, frozen).thaw();
    let calls = skald_harness::eventually("the frozen one's call to arrive", LIMIT, async || {
        let calls = arrived(&mut conn, order).await;
        let late = refunded(&calls).map(|at| &calls[at + 1..]).unwrap_or_default();
        if late.iter().any(|call| call.starts_with("charge: ")) { Ok(calls) } else { Err(calls) }
    })
    .await;
    println!("{calls:?}");
    // Exactly one charge and one refund of it; and the thawed process is of use again.
    let load = Load::start(&shop, (0..20).map(mixed), 4);
    load.done().await;
    audit::at_rest(&world, &shop).await;
}

/// Everything that must not change when everything is delivered once more.
const TABLES: [(Kind, &str); 9] = [
    (Kind::Orchestrator, "public.saga"),
    (Kind::Orchestrator, "public.history"),
    (Kind::Inventory, "public.stock"),
    (Kind::Inventory, "public.reservation"),
    (Kind::Inventory, "skald.barrier"),
    (Kind::Payment, "public.charge"),
    (Kind::Payment, "skald.barrier"),
    (Kind::Payment, "gateway.movement"),
    (Kind::Payment, "gateway.call"),
];

async fn tables(world: &World) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (kind, table) in TABLES {
        let query = format!(
            "select count(*) || ' rows ' || md5(string_agg(t::text, chr(10) order by t::text)) from {table} t"
        );
        let content: String = sqlx::query_scalar(sqlx::AssertSqlSafe(query))
            .fetch_one(&mut world.sql(kind).await)
            .await
            .expect("a table can be read");
        all.insert(format!("{}: {table}", kind.name()), content);
    }
    all
}

/// Number 10. Every group's offsets are set back to the beginning: each command and each outcome is delivered once more, and
/// nothing changes anywhere.
#[tokio::test(flavor = "multi_thread")]
async fn offsets_reset_to_the_earliest() {
    let mut world = World::plan().start().await;
    world.stock(&SHELF).await;
    let shop = Shop::new(&world);
    Load::start(&shop, (0..30).map(mixed), 6).done().await;
    audit::at_rest(&world, &shop).await;
    let before = tables(&world).await;
    for kind in Kind::ALL {
        world.service(kind, 0).sigterm();
        assert_eq!(world.service(kind, 0).ended().await.code(), Some(0), "{}", kind.name());
    }
    let groups = GROUPS.map(|(name, topics)| (Topics::of(&world, name), topics));
    let commands = groups[0].0.messages(&COMMANDS);
    let outcomes = groups[0].0.messages(&OUTCOMES);
    for ((group, topics), kind) in groups.iter().zip(Kind::ALL) {
        assert_eq!(group.lag(topics), 0, "{topics:?}: everything was finished when it stopped");
        // Over gRPC there is nothing to reset.
        if !world.is_over_grpc(kind) {
            group.reset(topics);
            assert!(group.lag(topics) > 0, "{topics:?} begins anew");
        }
    }
    for kind in Kind::ALL {
        world.service_mut(kind, 0).restart().await;
    }
    skald_harness::eventually("everything to be finished once more", LIMIT, async || {
        let lags = groups.each_ref().map(|(group, topics)| group.lag(topics));
        let answered = groups[0].0.messages(&OUTCOMES) - outcomes;
        if lags == [0; 3] && answered >= commands { Ok(()) } else { Err((lags, answered)) }
    })
    .await;
    audit::at_rest(&world, &shop).await;
    assert_eq!(tables(&world).await, before);
    println!("{commands} commands were answered again, {outcomes} outcomes were taken again");
}
