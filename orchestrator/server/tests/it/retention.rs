//! Weekly partitions: made ahead, dropped beyond the horizon; what lives is moved first.

use skald_kit::{
    ids,
    partitions::{self, Table, WEEK_MS},
};
use skald_proto::{
    order::v1::{self as order, OrderStatus},
    participant::v1::Verb,
};
use skald_server::store::retention;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::support::{DEADLINE, World, later};

const TABLES: [Table; 2] =
    [Table { schema: "public", name: "saga" }, Table { schema: "public", name: "history" }];

/// A copy of a saga, as if it had begun long ago.
async fn aged(sql: &mut sqlx::PgConnection, id: &str, ms: i64) -> Uuid {
    let old = ids::mint(ms);
    let columns = "definition_id, status, stage, version, format, wake_at, resends, owner, quarantine, customer_id, reason,
                   updated_at, state, request, traceparent, detail";
    for copy in [
        format!("insert into saga (id, {columns}) select '{old}', {columns} from saga where id = '{id}'"),
        format!(
            "insert into history select '{old}', seq, at, rules, kind, actor, input, digest from history where saga_id = '{id}'"
        ),
    ] {
        sqlx::query(AssertSqlSafe(copy)).execute(&mut *sql).await.unwrap();
    }
    old
}

/// The partitions of a saga and of its history, and how long that is.
async fn place(sql: &mut sqlx::PgConnection, id: Uuid) -> Option<(String, String, i64)> {
    let saga: Option<String> = sqlx::query_scalar("select tableoid::regclass::text from saga where id = $1")
        .bind(id)
        .fetch_optional(&mut *sql)
        .await
        .unwrap();
    let rows: Vec<String> =
        sqlx::query_scalar("select tableoid::regclass::text from history where saga_id = $1")
            .bind(id)
            .fetch_all(sql)
            .await
            .unwrap();
    Some((saga?, rows.first().cloned().unwrap_or_default(), rows.len() as i64))
}

#[tokio::test(flavor = "multi_thread")]
async fn old_weeks_are_dropped_and_what_lives_goes_on() {
    let world = World::start().await;
    let [inventory, _payment] = world.yes().await;
    let mut sql = world.sql().await;
    let now: i64 = sqlx::query_scalar("select (extract(epoch from clock_timestamp()) * 1000)::bigint")
        .fetch_one(&mut sql)
        .await
        .unwrap();
    for table in TABLES {
        let made = partitions::existing(&mut sql, table).await.unwrap();
        assert!(made.len() >= 4, "{made:?}");
        assert!(made[0].lower <= now && made.last().unwrap().upper > now + 3 * WEEK_MS, "three weeks ahead");
        assert!(made.windows(2).all(|two| two[0].upper == two[1].lower), "without a gap");
    }
    let living = world.place(later("living")).await;
    world.until(&living, OrderStatus::Reserved).await;
    let ended = world.submit("ended").await;
    world.until(&ended, OrderStatus::Completed).await;
    let config = world.config.clone();
    world.stop().await;

    let long_ago = now - 10 * WEEK_MS;
    let lately = now - 3 * WEEK_MS;
    for table in TABLES {
        for ms in [long_ago, lately] {
            partitions::ensure(&mut sql, table, ms, ms, None).await.unwrap();
        }
    }
    let (lived, over) = (aged(&mut sql, &living, long_ago).await, aged(&mut sql, &ended, long_ago).await);
    let kept = aged(&mut sql, &ended, lately).await;
    let in_its_week = place(&mut sql, lived).await.unwrap().0;
    assert_ne!(in_its_week, "saga_default");
    let keys = "insert into submission (client, key, digest, saga_id, created_at) values
                ('c', 'old', '', $1, now() - interval '46 days'), ('c', 'young', '', $1, now() - interval '44 days')";
    sqlx::query(keys).bind(over).execute(&mut sql).await.unwrap();

    let world = World::start_on(config).await;
    skald_harness::eventually("the old week is gone", DEADLINE, async || {
        let left = partitions::existing(&mut world.sql().await, TABLES[0]).await.unwrap();
        if left.iter().all(|p| p.name != in_its_week) { Ok(()) } else { Err(left) }
    })
    .await;
    assert_eq!(place(&mut sql, lived).await.unwrap(), ("saga_default".into(), "history_default".into(), 2));
    assert_eq!(place(&mut sql, over).await, None, "what had ended is gone");
    assert_eq!(place(&mut sql, kept).await.unwrap().2, 4, "within the horizon everything stays");
    skald_harness::eventually("old keys are forgotten", DEADLINE, async || {
        let left: Vec<String> = sqlx::query_scalar("select key from submission where client = 'c'")
            .fetch_all(&mut world.sql().await)
            .await
            .unwrap();
        if left == ["young"] { Ok(()) } else { Err(left) }
    })
    .await;

    let pay = order::PayOrderRequest {
        order_id: lived.to_string(),
        payment_token: "t".into(),
        ..Default::default()
    };
    world.orders().pay_order(pay).await.unwrap();
    world.until(&lived.to_string(), OrderStatus::Completed).await;
    inventory.command(&lived.to_string(), "commit", Verb::Run).await;
    crate::replay::every_history(&world).await;
    let before = now - retention::HORIZON_MS;
    assert_eq!(
        retention::drop_ended(&mut sql, before).await.unwrap(),
        1,
        "ended at last, and beyond the horizon"
    );
    assert_eq!(place(&mut sql, lived).await, None);
    let rows: i64 =
        sqlx::query_scalar("select count(*) from history_default").fetch_one(&mut sql).await.unwrap();
    assert_eq!(rows, 0);
    assert_eq!(retention::drop_ended(&mut sql, before).await.unwrap(), 0);
    world.stop().await;
}
