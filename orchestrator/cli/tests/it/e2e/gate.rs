//! The gate of a deployment beside a system at work: `skald replay verify` reads what changes under its eyes, and finds nothing.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use sqlx::PgConnection;

use super::{
    audit,
    shop::{Load, SHELF, Shop, mixed},
    terminal::Terminal,
    world::{Kind, World},
};

/// Clients that place orders meanwhile.
const CLIENTS: usize = 6;
/// Orders of one piece of the load; the next one begins when it was placed.
const PIECE: usize = 20;

/// How many rows the histories have.
async fn rows(conn: &mut PgConnection) -> i64 {
    sqlx::query_scalar("select count(*) from public.history").fetch_one(conn).await.expect("counted")
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_nothing_while_orders_run() {
    let mut world = World::plan().start().await;
    world.stock(&SHELF).await;
    let (shop, terminal) = (Shop::new(&world), Terminal::new(&world));
    let enough = Arc::new(AtomicBool::new(false));
    let (over, crowd) = (Arc::clone(&enough), shop.clone());
    let load = tokio::spawn(async move {
        let mut from = 0;
        while !over.load(Ordering::Relaxed) {
            Load::start(&crowd, (from..from + PIECE).map(mixed), CLIENTS).done().await;
            from += PIECE;
        }
        from
    });
    let mut conn = world.sql(Kind::Orchestrator).await;
    // A run counts when histories grew while it read them, and sagas were under way.
    for how in ["", "--all-active --since 2020-01-01", "--output jsonl"] {
        skald_harness::eventually("a run while histories grow", super::LIMIT, async || {
            let before = rows(&mut conn).await;
            let command = format!("skald replay verify --from '{}' {how}", world.url(Kind::Orchestrator));
            let said = terminal.works(&command);
            let after = rows(&mut conn).await;
            let clean = if how.contains("json") { "\"differing_sagas\":0" } else { "differs  nothing" };
            assert!(said.contains(clean), "{command}\n{said}");
            let probed = !said.contains("probed   0 ") && !said.contains("\"probed\":0");
            if after > before && before > 0 && probed { Ok(()) } else { Err((before, after, said)) }
        })
        .await;
    }
    enough.store(true, Ordering::Relaxed);
    let placed = load.await.expect("placed");
    let ends = audit::at_rest(&world, &shop).await;
    assert_eq!(ends.values().sum::<usize>(), placed, "{ends:?}");
}
