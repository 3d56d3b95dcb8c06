//! The plans of hot statements, as a running orchestrator gets them: indexes alone, and only the week that is asked for.

mod desk;

use std::{collections::BTreeSet, path::Path};

use serde_json::Value;
use skald_kit::{
    config::Secret,
    partitions::{self, Table, WEEK_MS},
};
use skald_proto::order::v1::{self as order, OrderStatus};

use crate::support::{DEADLINE, World, later};

/// Ended sagas of each of the old weeks: enough for a scan of them to be a bad idea.
const ENDED: &str = "
    insert into saga (id, definition_id, status, stage, version, format, owner, customer_id, updated_at, state, request)
    select (lpad(to_hex((extract(epoch from now()) * 1000)::bigint - w * 604800000::bigint), 12, '0') || '70008'
            || lpad(to_hex(n), 15, '0'))::uuid,
           1, 3, 4, 4, 1, gen_random_uuid(), 'c' || n % 100, now(), '\\x00', '\\x00'
      from generate_series(1, 8) w, generate_series(1, 1000) n";

/// Hot statements of workers and of housekeeping whose plans name a parameter.
const WORKERS: [&str; 3] = ["lock", "due", "owned_by"];

/// A statement's plan as auto_explain wrote it, with what was really read.
struct Plan {
    query: String,
    root: Value,
}

impl Plan {
    /// All plans in a server's log.
    fn all(log: &Path) -> Vec<Plan> {
        let log = std::fs::read_to_string(log).unwrap();
        let mut plans = Vec::new();
        let mut lines = log.lines().peekable();
        while let Some(line) = lines.next() {
            if !line.ends_with("plan:") {
                continue;
            }
            let mut text = String::new();
            while let Some(line) = lines.next_if(|line| line.starts_with('\t')) {
                text += line;
            }
            if let Ok(mut plan) = serde_json::from_str::<Value>(&text) {
                let query = plan["Query Text"].as_str().unwrap().to_owned();
                plans.push(Plan { query, root: plan["Plan"].take() });
            }
        }
        plans
    }

    fn nodes(&self) -> Vec<&Value> {
        fn walk<'a>(node: &'a Value, into: &mut Vec<&'a Value>) {
            into.push(node);
            node["Plans"].as_array().into_iter().flatten().for_each(|child| walk(child, into));
        }
        let mut nodes = Vec::new();
        walk(&self.root, &mut nodes);
        nodes
    }

    /// Sequential scans of tables in which there was a row.
    fn seq_scans(&self) -> Vec<&str> {
        let rows =
            |node: &Value| ["Actual Rows", "Rows Removed by Filter"].map(|n| node[n].as_f64().unwrap_or(0.0));
        let seq =
            self.nodes().into_iter().filter(|node| node["Node Type"] == "Seq Scan" && rows(node) != [0.0; 2]);
        seq.filter_map(|node| node["Relation Name"].as_str()).collect()
    }

    /// Partitions of a table that were really looked at.
    fn read(&self, table: &str) -> BTreeSet<&str> {
        let scanned = self.nodes().into_iter().filter(|node| {
            node["Node Type"].as_str().unwrap().contains("Scan") && node["Actual Loops"].as_f64() != Some(0.0)
        });
        // A bitmap's index scan names its index alone.
        let names = scanned.filter_map(|node| node["Relation Name"].as_str());
        names.filter(|name| name.starts_with(table)).collect()
    }
}

/// From now on every new connection to the database `orders` has its plans in the server's log.
async fn explain_all(sql: &mut sqlx::PgConnection) {
    for setting in [
        "session_preload_libraries = 'auto_explain'",
        "auto_explain.log_min_duration = 0",
        "auto_explain.log_analyze = on",
        "auto_explain.log_timing = off",
        "auto_explain.log_format = json",
    ] {
        let alter = format!("alter database orders set {setting}");
        sqlx::query(sqlx::AssertSqlSafe(alter)).execute(&mut *sql).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hot_statements_use_indexes_of_one_week_and_running_sagas_are_updated_in_place() {
    let server = skald_harness::owned_postgres().await;
    server.create_database("orders").await.unwrap();
    let url = Secret::new(server.url("orders"));
    skald_server::migrate(&url).await.unwrap();
    let mut sql = skald_kit::pg::connection(&url).await.unwrap();
    let now: i64 = sqlx::query_scalar("select (extract(epoch from now()) * 1000)::bigint")
        .fetch_one(&mut sql)
        .await
        .unwrap();
    for name in ["saga", "history"] {
        let table = Table { schema: "public", name };
        partitions::ensure(&mut sql, table, now - 8 * WEEK_MS, now + 3 * WEEK_MS, Some(50)).await.unwrap();
        assert_eq!(partitions::existing(&mut sql, table).await.unwrap().len(), 12);
    }
    sqlx::query(ENDED).execute(&mut sql).await.unwrap();
    // One that died and left something, so that somebody sweeps.
    sqlx::query("insert into skald.instance (id, service, address, beat_at) values (gen_random_uuid(), 'orchestrator', 'gone', now() - interval '1 hour')")
        .execute(&mut sql)
        .await
        .unwrap();
    sqlx::query("analyze").execute(&mut sql).await.unwrap();
    explain_all(&mut sql).await;

    let world = World::start_with(|c| {
        c.postgres.url = url;
        c.driver.resend_gaps_ms = vec![50];
        c.driver.scan_every_ms = 200;
    })
    .await;
    // Something is silent for a while, so that sagas are looked at.
    let looked_at = world.submit("silent").await;
    skald_harness::eventually("it was looked at", DEADLINE, async || {
        let resends: i16 = sqlx::query_scalar("select resends from saga where id = $1::uuid")
            .bind(&looked_at)
            .fetch_one(&mut world.sql().await)
            .await
            .unwrap();
        (resends > 2).then_some(())
    })
    .await;
    let _yes = world.yes().await;
    let watched = world.place(later("watched")).await;
    let watch = order::WatchOrderRequest { order_id: watched.clone() };
    let _watch = world.orders().watch_order(watch).await.unwrap();
    let mut ids = vec![looked_at];
    for n in 0..300 {
        ids.push(world.submit(&format!("k{n}")).await);
    }
    world.submit("k0").await;
    world.all_complete(&ids).await;
    for request in [
        order::ListOrdersRequest { customer_id: "customer".into(), ..Default::default() },
        order::ListOrdersRequest { customer_id: "nobody".into(), ..Default::default() },
    ] {
        for _ in 0..8 {
            world.orders().list_orders(request.clone()).await.unwrap();
        }
    }
    let history = skald_proto::saga::v1::HistoryRequest { saga_id: ids[0].clone(), after_seq: 0 };
    world.sagas().history(history).await.unwrap();
    world.until(&watched, OrderStatus::Reserved).await;

    // By what is in them: statement, whether it may look at one week only, and which table.
    let hot = [
        ("lock", "order by id for update", true, "saga"),
        ("write", "with inserted as", true, "saga"),
        ("touch", "set wake_at = to_timestamp(n.wake_at / 1000.0), resends", true, "saga"),
        ("claim", "insert into public.submission", true, "submission"),
        ("taken", "join public.submission", true, "submission"),
        ("get", "from public.saga where id = $1", true, "saga"),
        ("history", "from public.history where saga_id = $1", true, "history"),
        ("watch", "select id, version from public.saga", true, "saga"),
        ("due", "wake_at <= to_timestamp($1", false, "saga"),
        ("owned_by", "wake_at > '-infinity'", false, "saga"),
        ("active", "where wake_at is not null group by status", false, "saga"),
        ("list", "where customer_id = $6", false, "saga"),
        ("audit's cursor", "from public.audit_cursor", true, "audit_cursor"),
        ("audit's old rows", "where txid = 0 and (saga_id, seq)", false, "history"),
        ("audit's page", "where txid >= $1 and txid < $4", false, "history"),
        ("audit's rows", "on h.saga_id = n.saga_id and h.seq <= n.seq", true, "history"),
        ("audit's labels", "select id as saga, definition_id", true, "saga"),
    ];
    let plans = skald_harness::eventually("every statement in the log", DEADLINE, async || {
        let plans = Plan::all(&server.log());
        let missing = hot.iter().find(|(_, what, ..)| !plans.iter().any(|plan| plan.query.contains(what)));
        missing.map_or(Ok(plans), |(name, ..)| Err(*name))
    })
    .await;
    for (name, what, one_week, table) in hot {
        for plan in plans.iter().filter(|plan| plan.query.contains(what)) {
            assert_eq!(plan.seq_scans(), Vec::<&str>::new(), "{name}: {:.3000}", plan.root.to_string());
            let read = plan.read(table);
            // A plan for any value, made once, names its parameters; one for this value alone would be made each time.
            let generic = !WORKERS.contains(&name) || plan.root.to_string().contains("$1");
            assert!(generic, "{name} was planned for one value: {:.3000}", plan.root.to_string());
            assert!(!one_week || read.len() <= 1, "{name} reads {read:?}: {:.3000}", plan.root.to_string());
        }
    }
    // A customer's list reads that customer's rows, what is active is found among what is active: not in everything.
    for (name, what, ..) in
        hot.iter().filter(|(name, ..)| ["due", "owned_by", "active", "list"].contains(name))
    {
        for plan in plans.iter().filter(|plan| plan.query.contains(what)) {
            let skipped = plan.nodes().into_iter().filter_map(|node| node["Rows Removed by Filter"].as_f64());
            let skipped: f64 = skipped.sum();
            assert!(skipped < 400.0, "{name} skipped {skipped} rows: {:.3000}", plan.root.to_string());
        }
    }
    updated_in_place(&world).await;
    world.stop().await;
}

/// Of the three updates of an order only the last one, which takes it out of the index of active sagas, is not HOT.
async fn updated_in_place(world: &World) {
    skald_harness::eventually("updates are heap-only", DEADLINE, async || {
        let updates: (i64, i64) = sqlx::query_as(
            "select sum(n_tup_upd)::bigint, sum(n_tup_hot_upd)::bigint from pg_stat_user_tables where relname like 'saga_%'",
        )
        .fetch_one(&mut world.sql().await)
        .await
        .unwrap();
        if updates.0 >= 900 && updates.1 * 100 >= updates.0 * 60 { Ok(()) } else { Err(updates) }
    })
    .await;
}
