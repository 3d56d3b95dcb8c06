//! Weekly range partitions by UUIDv7: made ahead, listed, dropped. Names are constants of ours, never a
//! user's. What still lives in a partition that is to be dropped is the caller's to move first.

mod weeks;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Postgres, Transaction};

use crate::ids;

pub use weeks::{WEEK_MS, Week, weeks};

/// A table that is partitioned by range of one column of type uuid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// For example `public`.
    pub schema: &'static str,
    /// The partitioned table.
    pub name: &'static str,
}

/// One partition, the DEFAULT excepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Unqualified.
    pub name: String,
    /// Least time of its ids, Unix milliseconds.
    pub lower: i64,
    /// The first time that is not in it.
    pub upper: i64,
}

/// A table lock is not waited for longer: who waits for one holds up everybody behind. Then SQLSTATE 55P03,
/// try again later.
const LOCK_TIMEOUT: &str = "set local lock_timeout = '2s'";

/// Makes the partitions of all weeks from `from_ms` to `to_ms` that are missing; returns the names of those
/// that it made.
///
/// Each is created beside the table and then attached: `PARTITION OF` would lock the table against
/// everything. It is empty, so attaching needs no check constraint to skip a scan. Another instance that does
/// the same waits at an advisory lock and then finds it done.
///
/// # Errors
/// The database's; 55P03 when a lock could not be had in two seconds.
pub async fn ensure(
    connection: &mut PgConnection,
    table: Table,
    from_ms: i64,
    to_ms: i64,
    fillfactor: Option<u32>,
) -> Result<Vec<String>, sqlx::Error> {
    let mut made = Vec::new();
    let present = existing(connection, table).await?;
    for week in weeks(from_ms, to_ms) {
        if covered(&present, week) {
            continue;
        }
        let mut transaction = locked(connection, table).await?;
        // Again under the lock.
        if !covered(&existing(&mut transaction, table).await?, week) {
            made.push(attach_new(&mut transaction, table, week, fillfactor).await?);
        }
        transaction.commit().await?;
    }
    Ok(made)
}

fn covered(present: &[Partition], week: Week) -> bool {
    present.iter().any(|partition| partition.lower <= week.from_ms && partition.upper >= week.to_ms)
}

async fn attach_new(
    connection: &mut PgConnection,
    table: Table,
    week: Week,
    fillfactor: Option<u32>,
) -> Result<String, sqlx::Error> {
    let Table { schema, name } = table;
    let partition = week.partition_of(name);
    let storage = fillfactor.map_or_else(String::new, |percent| format!(" with (fillfactor = {percent})"));
    let (from, to) = (ids::lower_bound(week.from_ms), ids::lower_bound(week.to_ms));
    run(
        connection,
        format!("create table {schema}.{partition} (like {schema}.{name} including all){storage}"),
    )
    .await?;
    run(
        connection,
        format!("alter table {schema}.{name} attach partition {schema}.{partition} for values from ('{from}') to ('{to}')"),
    )
    .await?;
    Ok(partition)
}

/// All partitions with bounds, oldest first.
///
/// # Errors
/// The database's.
pub async fn existing(connection: &mut PgConnection, table: Table) -> Result<Vec<Partition>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select child.relname::text as "name!", pg_get_expr(child.relpartbound, child.oid) as "bounds?"
        from pg_inherits
        join pg_class child on child.oid = pg_inherits.inhrelid
        join pg_class parent on parent.oid = pg_inherits.inhparent
        join pg_namespace on pg_namespace.oid = parent.relnamespace
        where pg_namespace.nspname = $1::text and parent.relname = $2::text
        "#,
        table.schema,
        table.name,
    )
    .fetch_all(connection)
    .await?;
    let parse =
        |name: String, bounds: &str| bounds_ms(bounds).map(|(lower, upper)| Partition { name, lower, upper });
    // Without bounds: somebody drops it at this moment.
    let mut partitions: Vec<_> =
        rows.into_iter().filter_map(|row| parse(row.name, row.bounds.as_deref()?)).collect();
    partitions.sort_by_key(|partition| partition.lower);
    Ok(partitions)
}

/// From `FOR VALUES FROM ('…') TO ('…')`; `None` for the DEFAULT partition.
fn bounds_ms(text: &str) -> Option<(i64, i64)> {
    let mut quoted = text.split('\'').skip(1).step_by(2);
    let mut ms =
        || quoted.next()?.parse::<uuid::Uuid>().ok().and_then(|id| i64::try_from(id.as_u128() >> 80).ok());
    Some((ms()?, ms()?))
}

/// Drops the partitions that end at or before `before_ms`, each in a transaction of its own; returns their
/// names. Whatever is in them is gone.
///
/// # Errors
/// The database's; 55P03 when a lock could not be had in two seconds.
pub async fn drop_before(
    connection: &mut PgConnection,
    table: Table,
    before_ms: i64,
) -> Result<Vec<String>, sqlx::Error> {
    let mut dropped = Vec::new();
    let old = |partition: &Partition| partition.upper <= before_ms;
    if !existing(connection, table).await?.iter().any(old) {
        return Ok(dropped);
    }
    loop {
        let mut transaction = locked(connection, table).await?;
        let Some(partition) = existing(&mut transaction, table).await?.into_iter().find(old) else {
            return Ok(dropped);
        };
        let Table { schema, name } = table;
        run(
            &mut transaction,
            format!("alter table {schema}.{name} detach partition {schema}.{}", partition.name),
        )
        .await?;
        run(&mut transaction, format!("drop table {schema}.{}", partition.name)).await?;
        transaction.commit().await?;
        dropped.push(partition.name);
    }
}

async fn locked<'c>(
    connection: &'c mut PgConnection,
    table: Table,
) -> Result<Transaction<'c, Postgres>, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let key = format!("skald.partitions.{}.{}", table.schema, table.name);
    sqlx::query!("select pg_advisory_xact_lock(hashtextextended($1, 0))", key)
        .execute(&mut *transaction)
        .await?;
    run(&mut transaction, LOCK_TIMEOUT.to_owned()).await?;
    Ok(transaction)
}

async fn run(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read_as_postgres_prints_them() {
        let (from, to) = (ids::lower_bound(1_000), ids::lower_bound(2_000));
        assert_eq!(bounds_ms(&format!("FOR VALUES FROM ('{from}') TO ('{to}')")), Some((1_000, 2_000)));
        assert_eq!(bounds_ms("DEFAULT"), None);
        assert_eq!(bounds_ms(&format!("FOR VALUES FROM (MINVALUE) TO ('{to}')")), None);
    }
}
