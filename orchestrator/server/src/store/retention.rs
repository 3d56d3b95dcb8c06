//! Weekly partitions of `saga` and `history`: made ahead, and dropped beyond the horizon after what still lives was
//! moved to the DEFAULT partitions.

use skald_kit::{
    ids,
    partitions::{self, Table},
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

const SAGA: Table = Table { schema: "public", name: "saga" };
const HISTORY: Table = Table { schema: "public", name: "history" };
const DAY_MS: i64 = 86_400_000;
/// How long ended sagas are kept: as long as participants remember their commands.
pub const HORIZON_MS: i64 = 45 * DAY_MS;
/// Partitions are made so far ahead.
const AHEAD_MS: i64 = 21 * DAY_MS;

/// Makes this week's partitions and those of the next three.
///
/// # Errors
/// The database's.
pub async fn ensure(conn: &mut PgConnection, now: i64) -> Result<(), sqlx::Error> {
    partitions::ensure(conn, SAGA, now, now + AHEAD_MS, Some(50)).await?;
    partitions::ensure(conn, HISTORY, now, now + AHEAD_MS, None).await?;
    Ok(())
}

/// Drops the partitions that lie wholly beyond the horizon; gives their names.
///
/// # Errors
/// The database's; what was dropped before stays dropped.
pub async fn drop_old(conn: &mut PgConnection, now: i64) -> Result<Vec<String>, sqlx::Error> {
    let before = now - HORIZON_MS;
    let mut dropped = Vec::new();
    let histories = partitions::existing(conn, HISTORY).await?;
    for old in partitions::existing(conn, SAGA).await?.into_iter().filter(|p| p.upper <= before) {
        let history = histories.iter().find(|h| (h.lower, h.upper) == (old.lower, old.upper));
        drop_week(conn, &old.name, history.map(|h| h.name.as_str())).await?;
        dropped.push(old.name);
    }
    Ok(dropped)
}

/// Forgets sagas that lived on beyond their week, in the DEFAULT partition, and have ended; a bounded number at a time,
/// gives how many.
///
/// # Errors
/// The database's.
pub async fn drop_ended(conn: &mut PgConnection, before: i64) -> Result<u64, sqlx::Error> {
    let gone = sqlx::query_scalar!(
        r#"with gone as (
             delete from public.saga_default where id in (
               select id from public.saga_default where wake_at is null and id < $1 order by id limit 1000)
             returning id),
           rows as (delete from public.history_default h using gone where h.saga_id = gone.id)
           select count(*) as "n!" from gone"#,
        ids::lower_bound(before)
    )
    .fetch_one(conn)
    .await?;
    Ok(gone.unsigned_abs())
}

/// Detaches a week, puts back what lives (there is no partition for it any more, so it lands in DEFAULT), and drops the
/// rest: all in one transaction, so nobody ever misses a saga. The names are our own, made from a date.
async fn drop_week(conn: &mut PgConnection, saga: &str, history: Option<&str>) -> Result<(), sqlx::Error> {
    let mut tx = conn.begin().await?;
    let mut statements = vec![
        "set local lock_timeout = '2s'".to_owned(),
        format!("alter table public.saga detach partition public.{saga}"),
        format!("insert into public.saga select * from public.{saga} where wake_at is not null"),
    ];
    if let Some(history) = history {
        statements.push(format!("alter table public.history detach partition public.{history}"));
        statements.push(format!(
            "insert into public.history select h.* from public.{history} h
               join public.{saga} s on s.id = h.saga_id where s.wake_at is not null"
        ));
        statements.push(format!("drop table public.{history}"));
    }
    statements.push(format!("drop table public.{saga}"));
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *tx).await?;
    }
    tx.commit().await
}
