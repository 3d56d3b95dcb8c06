//! Looking for sagas that something is known of, without an index for each thing: candidates come in the order of an
//! index, light, a bounded number at a time; the rows of those that fit are read afterwards.

use sqlx::PgConnection;
use uuid::Uuid;

use super::read::Shown;

/// A saga that may fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the columns of the table")]
pub struct Candidate {
    pub id: Uuid,
    pub definition_id: i32,
    pub status: i16,
    pub stage: i16,
    /// Microseconds; 0 = it has ended.
    pub wake_us: i64,
}

/// Ids from the first one on (inclusive), up to the second (exclusive).
pub type Range = (Uuid, Uuid);

// One statement per index and direction: one for several would get the plan of another.
macro_rules! candidates {
    ($conn:expr, $direction:tt, $from:literal, $($argument:expr),+) => {
        sqlx::query_as!(
            Candidate,
            r#"select id as "id!", definition_id as "definition_id!", status as "status!", stage as "stage!",
                      coalesce((extract(epoch from wake_at) * 1000000)::bigint, 0) as "wake_us!" from "#
                + $from + " order by id " + $direction + " limit $3",
            $($argument),+
        )
        .fetch_all($conn)
        .await
    };
}

/// All sagas, by the primary key.
pub async fn all(
    conn: &mut PgConnection,
    (from, before): Range,
    oldest_first: bool,
    limit: i64,
) -> Result<Vec<Candidate>, sqlx::Error> {
    if oldest_first {
        candidates!(conn, "asc", "public.saga where id >= $1 and id < $2", from, before, limit)
    } else {
        candidates!(conn, "desc", "public.saga where id >= $1 and id < $2", from, before, limit)
    }
}

/// A customer's sagas, by the index of customers.
pub async fn customers(
    conn: &mut PgConnection,
    customer_id: &str,
    (from, before): Range,
    oldest_first: bool,
    limit: i64,
) -> Result<Vec<Candidate>, sqlx::Error> {
    let c = customer_id;
    if oldest_first {
        candidates!(
            conn,
            "asc",
            "public.saga where customer_id = $4 and id >= $1 and id < $2",
            from,
            before,
            limit,
            c
        )
    } else {
        candidates!(
            conn,
            "desc",
            "public.saga where customer_id = $4 and id >= $1 and id < $2",
            from,
            before,
            limit,
            c
        )
    }
}

/// What is under way, by the index of wake-ups: all of it is read, and sorted here.
pub async fn active(
    conn: &mut PgConnection,
    status: Option<i16>,
    (from, before): Range,
    oldest_first: bool,
    limit: i64,
) -> Result<Vec<Candidate>, sqlx::Error> {
    // The range over all times makes it an index scan of what is active; materialized, neither order nor ids undo that.
    if oldest_first {
        candidates!(
            conn,
            "asc",
            "(with active as materialized (
                select id, definition_id, status, stage, wake_at from public.saga
                 where wake_at > '-infinity' and ($4::smallint is null or status = $4))
              select * from active where id >= $1 and id < $2) a",
            from,
            before,
            limit,
            status
        )
    } else {
        candidates!(
            conn,
            "desc",
            "(with active as materialized (
                select id, definition_id, status, stage, wake_at from public.saga
                 where wake_at > '-infinity' and ($4::smallint is null or status = $4))
              select * from active where id >= $1 and id < $2) a",
            from,
            before,
            limit,
            status
        )
    }
}

/// What is looked at in a time (microseconds, exclusive end) behind this place, the soonest first.
pub async fn waking(
    conn: &mut PgConnection,
    (after_us, after): (i64, Uuid),
    before_us: i64,
    limit: i64,
) -> Result<Vec<Candidate>, sqlx::Error> {
    sqlx::query_as!(
        Candidate,
        r#"select id, definition_id, status, stage, (extract(epoch from wake_at) * 1000000)::bigint as "wake_us!"
             from public.saga
            where wake_at >= timestamptz 'epoch' + $1::bigint * interval '1 microsecond'
              and wake_at < timestamptz 'epoch' + $3::bigint * interval '1 microsecond'
              and (wake_at > timestamptz 'epoch' + $1::bigint * interval '1 microsecond' or id > $2)
            order by wake_at, id limit $4"#,
        after_us,
        after,
        before_us,
        limit
    )
    .fetch_all(conn)
    .await
}

/// The rows of these sagas, in no order.
pub async fn rows(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Shown>, sqlx::Error> {
    let (Some(first), Some(last)) = (ids.iter().min(), ids.iter().max()) else { return Ok(Vec::new()) };
    sqlx::query_as!(
        Shown,
        r#"select id, definition_id, format, status, stage, version, (extract(epoch from wake_at) * 1000)::bigint as "wake_at",
                  quarantine, customer_id, reason, (extract(epoch from updated_at) * 1000)::bigint as "updated_at!",
                  state, request
             from public.saga where id = any($1) and id between $2 and $3"#,
        ids,
        first,
        last
    )
    .fetch_all(conn)
    .await
}

/// What is under way, by status: how many, and the oldest.
pub async fn by_status(conn: &mut PgConnection) -> Result<Vec<(i16, i64, Uuid)>, sqlx::Error> {
    // The text of an id has its order; PostgreSQL knows no least uuid.
    let rows = sqlx::query!(
        r#"select status, count(*) as "n!", min(id::text)::uuid as "oldest!"
             from public.saga where wake_at > '-infinity' group by status"#
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|r| (r.status, r.n, r.oldest)).collect())
}

/// What is under way, or a share of it in 1024ths picked by its id's hash: definition, format and state, handed to
/// `each`.
pub async fn sample(
    conn: &mut PgConnection,
    share: i32,
    mut each: impl FnMut(i32, i16, &[u8]),
) -> Result<(), sqlx::Error> {
    use futures::TryStreamExt as _;
    let mut rows = sqlx::query!(
        "select definition_id, format, state from public.saga
          where wake_at > '-infinity' and (uuid_hash(id) & 1023) < $1",
        share
    )
    .fetch(conn);
    while let Some(row) = rows.try_next().await? {
        each(row.definition_id, row.format, &row.state);
    }
    Ok(())
}

/// Of the sagas that began in a range of ids: how many have each status.
pub async fn began(conn: &mut PgConnection, (from, before): Range) -> Result<Vec<(i16, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select status, count(*) as "n!" from public.saga where id >= $1 and id < $2 group by status"#,
        from,
        before
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|r| (r.status, r.n)).collect())
}

/// Ids that end in a text (of an id, hyphens included), newest first: of what is under way, of what stands in the inbox,
/// and of the newest so many. No index has the ends of ids.
pub async fn ending(
    conn: &mut PgConnection,
    end: &str,
    newest: i64,
    limit: i64,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select distinct id as "id!" from (
             select saga_id as id from public.attention where saga_id::text like '%' || $1
              union all
             select id from public.saga where wake_at > '-infinity' and id::text like '%' || $1
              union all
             select id from (select id from public.saga order by id desc limit $2) newest
              where id::text like '%' || $1) found
            order by "id!" desc limit $3"#,
        end,
        newest,
        limit
    )
    .fetch_all(conn)
    .await
}
