//! `bulk_job` and `bulk_item`: what operators do to many sagas.

use sqlx::PgConnection;
use uuid::Uuid;

/// Which sagas; None = any.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Ids of definitions.
    pub definitions: Option<Vec<i32>>,
    /// Column `status`.
    pub status: Option<i16>,
    /// Whose.
    pub customer_id: Option<String>,
    /// Ids from here on (inclusive).
    pub from: Uuid,
    /// Ids below.
    pub before: Uuid,
    /// Parked at this step.
    pub step: Option<String>,
    /// Parked at this participant.
    pub participant: Option<String>,
    /// Parked for this code.
    pub code: Option<String>,
}

impl Filter {
    fn parked(&self) -> bool {
        self.step.is_some() || self.participant.is_some() || self.code.is_some()
    }
}

/// A job.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its name.
    pub request_id: String,
    /// RUNNING, PAUSED, ABORTED or DONE.
    pub state: String,
    /// As the desk encodes it.
    pub request: Vec<u8>,
    /// ms
    pub created_at: i64,
}

/// A saga of a job.
#[derive(Clone, Copy, Debug)]
pub struct Item {
    /// Which.
    pub saga: Uuid,
    /// As it was when the job began.
    pub version: i32,
}

/// How many, and some of them, oldest first.
pub async fn matching(
    conn: &mut PgConnection,
    f: &Filter,
    examples: i64,
) -> Result<(i64, Vec<Uuid>), sqlx::Error> {
    let rows = sqlx::query!(
        r#"select s.id, count(*) over () as "n!" from public.saga s
            where s.wake_at > '-infinity' and s.quarantine is null and s.id >= $1 and s.id < $2
              and ($3::int[] is null or s.definition_id = any($3)) and ($4::smallint is null or s.status = $4)
              and ($5::text is null or s.customer_id = $5)
              and (not $6 or exists (select from public.attention a where a.saga_id = s.id and a.kind = 'PARKED'
                   and ($7::text is null or a.step = $7) and ($8::text is null or a.participant = $8)
                   and ($9::text is null or a.code = $9)))
            order by s.id limit $10"#,
        f.from,
        f.before,
        f.definitions.as_deref(),
        f.status,
        f.customer_id,
        f.parked(),
        f.step,
        f.participant,
        f.code,
        examples
    )
    .fetch_all(conn)
    .await?;
    Ok((rows.first().map_or(0, |r| r.n), rows.into_iter().map(|r| r.id).collect()))
}

/// Begins a job with the sagas that fit now, in the present transaction; false when there is one of that name.
pub async fn begin(
    conn: &mut PgConnection,
    request_id: &str,
    request: &[u8],
    f: &Filter,
) -> Result<bool, sqlx::Error> {
    let begun = sqlx::query!(
        "insert into public.bulk_job (request_id, state, request) values ($1, 'RUNNING', $2) on conflict do nothing",
        request_id,
        request
    )
    .execute(&mut *conn)
    .await?;
    if begun.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query!(
        "insert into public.bulk_item (job, saga_id, version)
         select $10, s.id, s.version from public.saga s
          where s.wake_at > '-infinity' and s.quarantine is null and s.id >= $1 and s.id < $2
            and ($3::int[] is null or s.definition_id = any($3)) and ($4::smallint is null or s.status = $4)
            and ($5::text is null or s.customer_id = $5)
            and (not $6 or exists (select from public.attention a where a.saga_id = s.id and a.kind = 'PARKED'
                 and ($7::text is null or a.step = $7) and ($8::text is null or a.participant = $8)
                 and ($9::text is null or a.code = $9)))",
        f.from,
        f.before,
        f.definitions.as_deref(),
        f.status,
        f.customer_id,
        f.parked(),
        f.step,
        f.participant,
        f.code,
        request_id
    )
    .execute(conn)
    .await?;
    Ok(true)
}

/// Jobs, newest first: one by name, those in a state, or the newest.
pub async fn jobs(
    conn: &mut PgConnection,
    request_id: Option<&str>,
    state: Option<&str>,
) -> Result<Vec<Job>, sqlx::Error> {
    sqlx::query_as!(
        Job,
        r#"select request_id, state, request, (extract(epoch from created_at) * 1000)::bigint as "created_at!"
             from public.bulk_job
            where ($1::text is null or request_id = $1) and ($2::text is null or state = $2)
            order by created_at desc limit 100"#,
        request_id,
        state
    )
    .fetch_all(conn)
    .await
}

/// How many items of a job are open, done, moved, refused.
pub async fn progress(conn: &mut PgConnection, job: &str) -> Result<[i64; 4], sqlx::Error> {
    let n = sqlx::query!(
        r#"select count(*) filter (where state = 'O') as "open!", count(*) filter (where state = 'D') as "done!",
                  count(*) filter (where state = 'M') as "moved!", count(*) filter (where state = 'R') as "refused!"
             from public.bulk_item where job = $1"#,
        job
    )
    .fetch_one(conn)
    .await?;
    Ok([n.open, n.done, n.moved, n.refused])
}

/// Some refusals of a job.
pub async fn refusals(conn: &mut PgConnection, job: &str) -> Result<Vec<(Uuid, String)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select saga_id, coalesce(why, '') as "why!" from public.bulk_item
            where job = $1 and state = 'R' order by saga_id limit 10"#,
        job
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|r| (r.saga_id, r.why)).collect())
}

/// The next open items of a job.
pub async fn open(conn: &mut PgConnection, job: &str, limit: i64) -> Result<Vec<Item>, sqlx::Error> {
    sqlx::query_as!(
        Item,
        "select saga_id as saga, version from public.bulk_item where job = $1 and state = 'O' order by saga_id limit $2",
        job,
        limit
    )
    .fetch_all(conn)
    .await
}

/// What became of an item: `D` done, `M` moved on, `R` refused.
pub async fn settle(
    conn: &mut PgConnection,
    job: &str,
    saga: Uuid,
    state: u8,
    why: Option<&str>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"update public.bulk_item set state = $3::"char", why = $4 where job = $1 and saga_id = $2 and state = 'O'"#,
        job,
        saga,
        state as i8,
        why
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Changes a job that is in one of these states; false when it is in none of them.
pub async fn change(
    conn: &mut PgConnection,
    job: &str,
    from: &[String],
    to: &str,
) -> Result<bool, sqlx::Error> {
    let changed = sqlx::query!(
        "update public.bulk_job set state = $3, changed_at = clock_timestamp() where request_id = $1 and state = any($2)",
        job,
        from,
        to
    )
    .execute(conn)
    .await?;
    Ok(changed.rows_affected() > 0)
}
