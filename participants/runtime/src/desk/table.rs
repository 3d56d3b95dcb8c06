//! What the desk reads: barrier rows and open intents, without locks.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    barrier::{self, Row, Slot, Verdict},
    command::Key,
};

/// A barrier row as the desk shows it. Times are microseconds since 1970.
#[derive(Debug)]
pub(super) struct Remembered {
    pub(super) key: Key,
    pub(super) slot: Option<Slot>,
    pub(super) verdict: Option<Verdict>,
    pub(super) at: i64,
    /// What is wrong with a row that can't be decoded: the others are shown all the same.
    pub(super) row: Result<Row, sqlx::Error>,
}

/// An open intent as the desk shows it. Times are microseconds since 1970.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) saga_id: Uuid,
    pub(super) step: String,
    pub(super) epoch: i32,
    pub(super) verb: i8,
    pub(super) attempt: i32,
    pub(super) gateway_key: String,
    pub(super) calls: i32,
    /// `None`: it sleeps.
    pub(super) call_after: Option<i64>,
    pub(super) since: i64,
    pub(super) answered: Option<String>,
}

/// What the barrier remembers of a saga, by step, epoch and verb.
pub(super) async fn of_saga(conn: &mut PgConnection, saga: Uuid) -> Result<Vec<Remembered>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select step, epoch, verb as "verb!: i8", verdict as "verdict!: i8", outcome,
                  (extract(epoch from at) * 1000000)::bigint as "at!"
           from skald.barrier where saga_id = $1 order by step, epoch, verb"#,
        saga,
    )
    .fetch_all(conn)
    .await?;
    let remembered = rows.into_iter().map(|r| {
        let key = Key { saga, step: r.step, epoch: r.epoch };
        Remembered {
            slot: Slot::from_code(r.verb),
            verdict: Verdict::from_code(r.verdict),
            at: r.at,
            row: barrier::row(key.clone(), r.verb, r.verdict, r.outcome.as_deref()),
            key,
        }
    });
    Ok(remembered.collect())
}

/// At most `limit` intents after this one, open for at least `age` seconds, by key. Since when tells the barrier row; one that is
/// not there, which must not be, hides nothing.
pub(super) async fn intents(
    conn: &mut PgConnection,
    (after, slot): (&Key, i8),
    age: f64,
    limit: i64,
) -> Result<Vec<Open>, sqlx::Error> {
    sqlx::query_as!(
        Open,
        r#"select i.saga_id, i.step, i.epoch, i.verb as "verb!: i8", i.attempt, i.gateway_key, i.calls,
                  (extract(epoch from nullif(i.call_after, 'infinity')) * 1000000)::bigint as call_after,
                  (extract(epoch from coalesce(b.at, i.key_at)) * 1000000)::bigint as "since!", i.answered
           from skald.intent i
           left join skald.barrier b
             on b.saga_id = i.saga_id and b.step = i.step and b.epoch = i.epoch and b.verb = i.verb
           where (i.saga_id, i.step, i.epoch, i.verb) > ($1, $2, $3, $4)
             and coalesce(b.at, i.key_at) <= now() - make_interval(secs => $5)
           order by i.saga_id, i.step, i.epoch, i.verb limit $6"#,
        after.saga,
        after.step,
        after.epoch,
        slot,
        age,
        limit,
    )
    .fetch_all(conn)
    .await
}

/// How many are open, how many of them wait for a person, and the oldest.
pub(super) async fn summary(conn: &mut PgConnection) -> Result<(i64, i64, Option<Open>), sqlx::Error> {
    let count = sqlx::query!(
        r#"select count(*) as "open!", count(*) filter (where answered = 'UNRESOLVED') as "unresolved!"
           from skald.intent"#
    )
    .fetch_one(&mut *conn)
    .await?;
    let oldest = sqlx::query_as!(
        Open,
        r#"select i.saga_id, i.step, i.epoch, i.verb as "verb!: i8", i.attempt, i.gateway_key, i.calls,
                  (extract(epoch from nullif(i.call_after, 'infinity')) * 1000000)::bigint as call_after,
                  (extract(epoch from coalesce(b.at, i.key_at)) * 1000000)::bigint as "since!", i.answered
           from skald.intent i
           left join skald.barrier b
             on b.saga_id = i.saga_id and b.step = i.step and b.epoch = i.epoch and b.verb = i.verb
           order by coalesce(b.at, i.key_at) limit 1"#
    )
    .fetch_optional(conn)
    .await?;
    Ok((count.open, count.unresolved, oldest))
}
