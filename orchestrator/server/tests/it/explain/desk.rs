//! The plans of the operators' searches over many sagas: what has an index is found by it, and what has none is read a
//! bounded number at a time.

use skald_kit::{
    config::Secret,
    partitions::{self, Table, WEEK_MS},
};
use skald_proto::{
    admin::v1::{self as admin, AttentionKind, DeadLetterState},
    saga::v1::{SagaStatus, StepStatus},
};

use super::{Plan, explain_all};
use crate::support::{DEADLINE, World};

/// Six weeks with 33,000 ended sagas each and some that are under way; one of their customers has 100.
const WEEKS: i64 = 6;
const SAGAS: &str = "
    insert into saga (id, definition_id, status, stage, version, format, wake_at, owner, customer_id, updated_at, state, request)
    select (lpad(to_hex((extract(epoch from now()) * 1000)::bigint - w * 604800000::bigint - n), 12, '0') || '70008'
            || lpad(to_hex(n), 15, '0'))::uuid,
           1, case when n > 500 then 3 when n % 100 = 0 then 5 else 1 end, 1, 4, 1,
           case when n <= 500 then now() + interval '1 hour' + n * interval '1 second' end,
           gen_random_uuid(), 'c' || n / 17, now(), '', '\\x00'
      from generate_series(0, 5) w, generate_series(1, 33500) n";
/// Under way.
const ACTIVE: f64 = 3_000.0;

const INBOX: &str = "
    insert into attention (saga_id, step, kind, participant, code, message, since)
    select gen_random_uuid(), 'charge', case n % 2 when 0 then 'PARKED' else 'SLOW' end, 'payment', 'NO', '',
           now() - n * interval '1 second'
      from generate_series(1, 20000) n";

const LETTERS: &str = "
    insert into dead_letter (topic, partition, kafka_offset, headers, payload, reason, saga_id, state)
    select 't.dlq', 0, n, '[]', 'x', 'NO', case when n % 1000 = 0 then '00000000-0000-7000-8000-000000000001'::uuid end,
           case when n % 100 = 0 then 'OPEN' else 'DISCARDED' end
      from generate_series(1, 20000) n";

impl Plan {
    /// Rows that were read from tables, also those that did not fit.
    fn examined(&self) -> f64 {
        let number = |node: &serde_json::Value, name: &str| node[name].as_f64().unwrap_or(0.0);
        let scans = self.nodes().into_iter().filter(|node| node["Relation Name"].is_string());
        let read = scans.map(|node| {
            let rows = number(node, "Actual Rows")
                + number(node, "Rows Removed by Filter")
                + number(node, "Rows Removed by Index Recheck");
            rows * number(node, "Actual Loops")
        });
        read.sum()
    }
}

/// What an operator may ask, several times: a generic plan must be as good.
async fn ask(world: &World, now: i64) {
    let any = admin::ListSagasRequest::default;
    let at = |ms: i64| Some(prost_types::Timestamp { seconds: ms / 1000, nanos: 0 });
    let lists = [
        admin::ListSagasRequest { customer_id: "c777".into(), ..any() },
        admin::ListSagasRequest { customer_id: "c777".into(), order: 2, ..any() },
        admin::ListSagasRequest { status: SagaStatus::Parked.into(), ..any() },
        admin::ListSagasRequest { status: SagaStatus::Parked.into(), order: 2, ..any() },
        admin::ListSagasRequest { step_status: StepStatus::Running.into(), step: "charge".into(), ..any() },
        admin::ListSagasRequest { wake_before: at(now + 3_700_000), ..any() },
        admin::ListSagasRequest { definition: "order".into(), ..any() },
        admin::ListSagasRequest { definition: "order".into(), order: 2, ..any() },
        admin::ListSagasRequest {
            status: SagaStatus::Completed.into(),
            participant: "payment".into(),
            ..any()
        },
        admin::ListSagasRequest {
            created_from: at(now - 2 * WEEK_MS),
            created_before: at(now - 2 * WEEK_MS + 60_000),
            ..any()
        },
    ];
    for _ in 0..8 {
        for list in &lists {
            world.admin().list_sagas(list.clone()).await.unwrap();
        }
        for id in ["018bcfe5", "abcdef"] {
            world.admin().resolve_id(admin::ResolveIdRequest { id: id.into() }).await.unwrap();
        }
        let stats = world.admin().get_stats(admin::GetStatsRequest::default()).await.unwrap().into_inner();
        assert_eq!(stats.active as f64, ACTIVE);
        let filter =
            Some(admin::AttentionFilter { kind: AttentionKind::Parked.into(), ..Default::default() });
        let inbox = admin::ListAttentionRequest { filter, ..Default::default() };
        let first = world.admin().list_attention(inbox.clone()).await.unwrap().into_inner();
        let page_token = first.next_page_token;
        world.admin().list_attention(admin::ListAttentionRequest { page_token, ..inbox }).await.unwrap();
        let saga_id = "00000000-0000-7000-8000-000000000001".into();
        let of_one = Some(admin::DeadLetterFilter { saga_id, ..Default::default() });
        for (state, filter) in [(DeadLetterState::Unspecified, None), (DeadLetterState::Open, of_one)] {
            let letters = admin::ListDeadLettersRequest { state: state.into(), filter, ..Default::default() };
            world.admin().list_dead_letters(letters).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_search_reads_everything() {
    let server = skald_harness::owned_postgres().await;
    server.create_database("orders").await.unwrap();
    let url = Secret::new(server.url("orders"));
    skald_server::migrate(&url).await.unwrap();
    let mut sql = skald_kit::pg::connection(&url).await.unwrap();
    let now: i64 = sqlx::query_scalar("select (extract(epoch from now()) * 1000)::bigint")
        .fetch_one(&mut sql)
        .await
        .unwrap();
    let table = Table { schema: "public", name: "saga" };
    partitions::ensure(&mut sql, table, now - WEEKS * WEEK_MS, now + 3 * WEEK_MS, Some(50)).await.unwrap();
    // As the first definition that a database gets; its id is 1.
    for fill in [SAGAS, INBOX, LETTERS, "analyze"] {
        sqlx::query(fill).execute(&mut sql).await.unwrap();
    }
    explain_all(&mut sql).await;
    let world = World::start_with(|c| c.postgres.url = url).await;
    ask(&world, now).await;

    // What is in a statement, how many rows it may look at, and of how many weeks.
    let (chunk, all) = (5_000.0 + 50.0, usize::MAX);
    let searches = [
        ("a customer's", "where customer_id = $4", 120.0, all),
        ("under way", "with active as materialized", ACTIVE, all),
        ("waking", "wake_at < timestamptz", ACTIVE, all),
        ("all", "from public.saga where id >= $1 and id < $2 order by id", chunk, all),
        ("rows", "where id = any($1) and id between", 100.0, all),
        ("last digits", "select distinct id", 100_010.0 + ACTIVE + 20_000.0, all),
        ("by status", "min(id::text)", ACTIVE, all),
        ("sample", "uuid_hash(id)", ACTIVE, all),
        ("began", "where id >= $1 and id < $2 group by status", 33_500.0, 1),
        ("inbox", "order by since, saga_id, step, kind limit", 200.0, all),
        ("letters", "from public.dead_letter", 250.0, all),
    ];
    let plans = skald_harness::eventually("every search in the log", DEADLINE, async || {
        let plans = Plan::all(&server.log());
        let missing =
            searches.iter().find(|(_, what, ..)| !plans.iter().any(|plan| plan.query.contains(what)));
        missing.map_or(Ok(plans), |(name, ..)| Err(*name))
    })
    .await;
    for (name, what, rows, weeks) in searches {
        for plan in plans.iter().filter(|plan| plan.query.contains(what)) {
            let text = || format!("{:.3000}", plan.root.to_string());
            assert_eq!(plan.seq_scans(), Vec::<&str>::new(), "{name}: {}", text());
            assert!(plan.examined() <= rows, "{name} looks at {} rows: {}", plan.examined(), text());
            let read = plan.nodes().into_iter().filter(|node| node["Actual Rows"].as_f64() > Some(0.0));
            let read: std::collections::BTreeSet<_> =
                read.filter_map(|node| node["Relation Name"].as_str()).collect();
            assert!(read.len() <= weeks, "{name} finds something in {read:?}: {}", text());
        }
    }
    world.stop().await;
}
