//! Keeps the books: takes whatever is queued now, answers it in one transaction, and only then tells the callers.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use skald_kit::{config::Secret, pg};
use skald_participant::Deadline;
use sqlx::{Connection, PgConnection};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::{
    super::{Fault, Kind},
    books::{Ask, Books, Entries, Op, Remembered, Reply},
};

/// Calls in one transaction; more wait for the next one.
const BATCH: usize = 512;
/// Between two tries to reach the database.
const RECONNECT: Duration = Duration::from_millis(200);
/// Keys that are past their time are removed this many times in a lifetime.
const PURGES: u32 = 24;

/// One call that waits for its answer.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) ask: Ask,
    pub(super) deadline: Option<Deadline>,
    pub(super) reply: oneshot::Sender<Reply>,
}

/// What became of a batch.
enum Written {
    Committed,
    /// Another instance has just answered one of the keys: decide again.
    Overtaken,
}

/// Works until the last sender is gone.
pub(super) async fn work(url: Secret, key_lifetime: Duration, mut queue: mpsc::Receiver<Job>) {
    let mut connection = None;
    let mut purged = Instant::now();
    let mut jobs = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut jobs, BATCH).await > 0 {
        if connection.is_none() {
            connection =
                pg::connection(&url).await.inspect_err(|error| tracing::warn!(%error, "gateway books")).ok();
        }
        let batch = take_up(std::mem::take(&mut jobs));
        if batch.is_empty() {
            continue;
        }
        let Some(books) = connection.as_mut() else {
            // As a company that can't be reached: nothing happened. The pause keeps a crowd from turning in circles.
            fail(batch, &Fault::Unavailable);
            tokio::time::sleep(RECONNECT).await;
            continue;
        };
        match settle(books, key_lifetime, &batch).await {
            Ok(replies) => {
                for (job, reply) in batch.into_iter().zip(replies) {
                    // A caller that went away asks again later.
                    let _ = job.reply.send(reply);
                }
            }
            Err((fault, error)) => {
                tracing::warn!(%error, "gateway books");
                connection = None;
                fail(batch, &fault);
            }
        }
        if purged.elapsed() >= (key_lifetime / PURGES).max(Duration::from_millis(100)) {
            purged = Instant::now();
            if let Some(books) = connection.as_mut()
                && let Err(error) = purge(books, key_lifetime).await
            {
                tracing::warn!(%error, "gateway books: old keys");
                connection = None;
            }
        }
    }
}

/// Drops the jobs that became too old while they waited, this process being frozen perhaps.
fn take_up(jobs: Vec<Job>) -> Vec<Job> {
    let (late, batch): (Vec<Job>, Vec<Job>) =
        jobs.into_iter().partition(|job| job.deadline.is_some_and(|deadline| deadline.passed()));
    fail(late, &Fault::TooLate);
    batch
}

fn fail(batch: Vec<Job>, fault: &Fault) {
    for job in batch {
        let _ = job.reply.send(Err(fault.clone()));
    }
}

/// One transaction; again as long as another instance is first with one of the keys.
async fn settle(
    connection: &mut PgConnection,
    key_lifetime: Duration,
    batch: &[Job],
) -> Result<Vec<Reply>, (Fault, sqlx::Error)> {
    let before = |error| (Fault::Unavailable, error);
    loop {
        let mut transaction = connection.begin().await.map_err(before)?;
        let mut books = read(&mut transaction, key_lifetime, batch).await.map_err(before)?;
        let mut entries = Entries::default();
        let reference = |kind: Kind| {
            let prefix = if kind == Kind::Charge { "ch" } else { "re" };
            format!("{prefix}_{}", Uuid::new_v4().simple())
        };
        let replies = batch.iter().map(|job| books.answer(&job.ask, &mut entries, reference)).collect();
        match write(&mut transaction, key_lifetime, &entries).await.map_err(before)? {
            // Whether a COMMIT without an answer took place, nobody knows.
            Written::Committed => transaction.commit().await.map_err(|error| (Fault::Lost, error))?,
            Written::Overtaken => {
                transaction.rollback().await.map_err(before)?;
                continue;
            }
        }
        return Ok(replies);
    }
}

async fn read(
    connection: &mut PgConnection,
    key_lifetime: Duration,
    batch: &[Job],
) -> Result<Books, sqlx::Error> {
    let mut books = Books::default();
    let keys: Vec<String> = batch.iter().map(|job| job.ask.key.clone()).collect();
    let rows = sqlx::query!(
        "select key, answer, reference, code from gateway.remembered
         where key = any($1) and at > clock_timestamp() - make_interval(secs => $2)",
        &keys,
        key_lifetime.as_secs_f64(),
    )
    .fetch_all(&mut *connection)
    .await?;
    for row in rows {
        let what = match (row.answer.as_str(), row.reference, row.code) {
            ("moved", Some(reference), _) => Remembered::Moved(reference),
            ("declined", _, Some(code)) => Remembered::Declined(code),
            _ => Remembered::NotNow,
        };
        books.remembered.insert(row.key, what);
    }
    let refs = |wanted: fn(&Op) -> bool| -> Vec<String> {
        let wanted = batch.iter().filter(|job| wanted(&job.ask.op));
        wanted.map(|job| job.ask.our_ref.clone()).collect()
    };
    let searched = refs(|op| matches!(op, Op::Find(_)));
    let refunded = refs(|op| matches!(op, Op::Refund { .. }));
    if searched.is_empty() && refunded.is_empty() {
        return Ok(books);
    }
    let rows = sqlx::query!(
        "select our_ref, kind, reference from gateway.movement where our_ref = any($1) order by at, reference",
        &[searched, refunded].concat(),
    )
    .fetch_all(&mut *connection)
    .await?;
    for row in rows {
        let kind = if row.kind == "charge" { Kind::Charge } else { Kind::Refund };
        if kind == Kind::Charge {
            books.charges.insert(row.reference.clone());
        }
        books.moved.entry((kind, row.our_ref)).or_insert(row.reference);
    }
    Ok(books)
}

async fn write(
    connection: &mut PgConnection,
    key_lifetime: Duration,
    entries: &Entries,
) -> Result<Written, sqlx::Error> {
    write_calls(connection, entries).await?;
    if entries.remembered.is_empty() {
        return Ok(Written::Committed);
    }
    let column =
        |pick: fn(&Remembered) -> Option<&str>, sorted: &[(&String, &Remembered)]| -> Vec<Option<String>> {
            sorted.iter().map(|(_, what)| pick(what).map(str::to_owned)).collect()
        };
    // Sorted, so that two instances don't wait for each other.
    let mut sorted: Vec<(&String, &Remembered)> = entries.remembered.iter().collect();
    sorted.sort_by_key(|(key, _)| *key);
    let keys: Vec<String> = sorted.iter().map(|(key, _)| (*key).clone()).collect();
    let answers = column(
        |what| {
            Some(match what {
                Remembered::Moved(_) => "moved",
                Remembered::Declined(_) => "declined",
                Remembered::NotNow => "unavailable",
            })
        },
        &sorted,
    );
    let references =
        column(|what| if let Remembered::Moved(reference) = what { Some(reference) } else { None }, &sorted);
    let codes = column(|what| if let Remembered::Declined(code) = what { Some(code) } else { None }, &sorted);
    let done = sqlx::query!(
        "insert into gateway.remembered as r (key, answer, reference, code, at)
         select u.key, u.answer, u.reference, u.code, clock_timestamp()
         from unnest($1::text[], $2::text[], $3::text[], $4::text[]) as u(key, answer, reference, code)
         on conflict (key) do update
         set answer = excluded.answer, reference = excluded.reference, code = excluded.code, at = excluded.at
         where r.answer = 'unavailable' or r.at <= clock_timestamp() - make_interval(secs => $5)",
        &keys,
        &answers as &[Option<String>],
        &references as &[Option<String>],
        &codes as &[Option<String>],
        key_lifetime.as_secs_f64(),
    )
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() < keys.len() as u64 {
        return Ok(Written::Overtaken);
    }
    write_movements(connection, entries).await?;
    Ok(Written::Committed)
}

async fn write_calls(connection: &mut PgConnection, entries: &Entries) -> Result<(), sqlx::Error> {
    let mut columns: [Vec<String>; 4] = Default::default();
    for (kind, key, our_ref, answer) in &entries.calls {
        columns[0].push((*kind).to_owned());
        columns[1].push(key.clone());
        columns[2].push(our_ref.clone());
        columns[3].push(answer.clone());
    }
    sqlx::query!(
        "insert into gateway.call (kind, key, our_ref, answer)
         select * from unnest($1::text[], $2::text[], $3::text[], $4::text[])",
        &columns[0],
        &columns[1],
        &columns[2],
        &columns[3],
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn write_movements(connection: &mut PgConnection, entries: &Entries) -> Result<(), sqlx::Error> {
    if entries.movements.is_empty() {
        return Ok(());
    }
    let mut columns: HashMap<&str, Vec<String>> = HashMap::new();
    let mut amounts = Vec::with_capacity(entries.movements.len());
    for movement in &entries.movements {
        for (name, value) in [
            ("reference", movement.reference.as_str()),
            ("kind", movement.kind.as_str()),
            ("key", &movement.key),
            ("our_ref", &movement.our_ref),
            ("currency", &movement.currency),
        ] {
            columns.entry(name).or_default().push(value.to_owned());
        }
        amounts.push(movement.amount_minor);
    }
    sqlx::query!(
        "insert into gateway.movement (reference, kind, key, our_ref, amount_minor, currency)
         select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[])",
        &columns["reference"],
        &columns["kind"],
        &columns["key"],
        &columns["our_ref"],
        &amounts,
        &columns["currency"],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What is forgotten is gone.
async fn purge(connection: &mut PgConnection, key_lifetime: Duration) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from gateway.remembered where at <= clock_timestamp() - make_interval(secs => $1)",
        key_lifetime.as_secs_f64(),
    )
    .execute(connection)
    .await?;
    Ok(())
}
