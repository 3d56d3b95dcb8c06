//! What operators do to many sagas. A job chooses its sagas when it begins, with the version that each has then; acting is
//! [`act`], saga by saga, so one that has moved on is left alone. Any instance carries a job on: whoever has its lock.

use std::time::Duration;

use prost::Message as _;
use skald_kit::{backoff, ids, lifecycle::Shutdown, pg};
use skald_proto::{admin::v1 as wire, saga::v1::SagaStatus};
use sqlx::{Connection as _, PgConnection};
use tonic::{Code, Status};
use uuid::Uuid;

use super::{Signed, act, once};
use crate::{
    intake::{
        Desk,
        errors::{self, BadFields},
        saga::range,
        view,
    },
    job::Reply,
    store::{
        action,
        bulk::{self, Filter, Item, Job},
    },
};

/// Sagas of which a dry run tells what would follow.
const EXAMPLES: i64 = 5;
/// Sagas per second that a job may have.
pub(super) const RATES: std::ops::RangeInclusive<f64> = 0.1..=1000.0;
/// The same in words.
pub(super) const RATE: &str = "must be 0.1 to 1000";
/// How often a job takes its next sagas.
const TICK: Duration = Duration::from_secs(1);

pub(super) async fn start(
    desk: &Desk,
    request: wire::StartBulkRequest,
) -> Result<wire::StartBulkResponse, Status> {
    let filter = checked(desk, &request)?;
    let unreadable = |e: sqlx::Error| errors::unreadable(&e);
    let mut conn = pg::connection(&desk.shared.config.postgres.url).await.map_err(unreadable)?;
    let stored = wire::StartBulkRequest { dry_run: false, ..request.clone() }.encode_to_vec();
    if !request.dry_run
        && let Some(job) = one(&mut conn, &request.request_id).await?
    {
        return again(&mut conn, &job, &stored).await;
    }
    let (count, some) = bulk::matching(&mut conn, &filter, EXAMPLES).await.map_err(unreadable)?;
    let mut examples = Vec::new();
    for id in some {
        examples.push(example(desk, id, &request).await?);
    }
    if request.dry_run {
        return Ok(wire::StartBulkResponse { bulk: None, count, examples });
    }
    let begun = begin(desk, &mut conn, &request, &filter).await?;
    Ok(wire::StartBulkResponse { count: begun.total, bulk: Some(begun), examples })
}

/// Begins a job with the sagas that fit now, or finds the one that has its name and is the same. An action like any
/// other: its name is the action's request id.
///
/// # Errors
/// ALREADY_EXISTS: the name stands for another one; UNAVAILABLE.
pub(super) async fn begin(
    desk: &Desk,
    conn: &mut PgConnection,
    request: &wire::StartBulkRequest,
    filter: &Filter,
) -> Result<wire::Bulk, Status> {
    let wire::StartBulkRequest { request_id: name, actor, reason, .. } = request;
    let stored = wire::StartBulkRequest { dry_run: false, ..request.clone() };
    let record = once::record(&Signed { request_id: name, actor, reason }, "START_BULK", None, &stored);
    let stored = stored.encode_to_vec();
    let mut tx = conn.begin().await.map_err(|e| errors::unreadable(&e))?;
    let is_new = once::claim::<wire::Bulk>(&mut tx, &record).await?.is_none()
        && bulk::begin(&mut tx, name, &stored, filter).await.map_err(|e| errors::unreadable(&e))?;
    let job = one(&mut tx, name).await?.ok_or_else(errors::unavailable)?;
    if job.request != stored {
        return Err(errors::refused(Reply::RequestTaken, "job", name));
    }
    // Of one that was begun before: as it is by now.
    let shown = shown(&mut tx, &job).await?;
    if !is_new {
        return Ok(shown);
    }
    let shown = once::end(desk, tx, &record, Ok(shown)).await?;
    tracing::info!(job = name, actor, sagas = shown.total, "a bulk job begins");
    Ok(shown)
}

/// The name stands for this job, or for another one.
async fn again(
    conn: &mut PgConnection,
    job: &Job,
    request: &[u8],
) -> Result<wire::StartBulkResponse, Status> {
    if job.request != request {
        return Err(errors::refused(Reply::RequestTaken, "job", &job.request_id));
    }
    let shown = shown(conn, job).await?;
    Ok(wire::StartBulkResponse { count: shown.total, bulk: Some(shown), examples: Vec::new() })
}

fn checked(desk: &Desk, request: &wire::StartBulkRequest) -> Result<Filter, Status> {
    let mut bad = BadFields::default();
    let wire::StartBulkRequest { request_id, actor, reason, .. } = request;
    Signed { request_id, actor, reason }.check(&mut bad);
    act::check_action(&mut bad, request.action.as_ref());
    bad.check(request.dry_run || RATES.contains(&request.per_second), "per_second", RATE);
    let given = request.filter.clone().unwrap_or_default();
    let status = SagaStatus::try_from(given.status);
    bad.check(status.is_ok(), "filter.status", "is not a status of a saga");
    let empty = given == wire::BulkFilter::default();
    bad.check(!empty, "filter", "must say which sagas: an empty one would mean all of them");
    bad.into_result()?;
    let some = |text: String| (!text.is_empty()).then_some(text);
    let ids = range(given.created_from.as_ref(), given.created_before.as_ref(), Uuid::max());
    Ok(Filter {
        definitions: some(given.definition).map(|name| desk.shared.registry.ids(&name)),
        status: (given.status != 0).then_some(given.status as i16),
        customer_id: some(given.customer_id),
        from: ids.from,
        before: ids.before,
        step: some(given.parked_step),
        participant: some(given.parked_participant),
        code: some(given.parked_code),
    })
}

/// What would follow for one of them.
async fn example(
    desk: &Desk,
    id: Uuid,
    request: &wire::StartBulkRequest,
) -> Result<wire::BulkExample, Status> {
    let version = desk.read("saga", id).await?.version;
    let answer = act::act(desk, single(request, Item { saga: id, version }, true)).await;
    let saga_id = id.to_string();
    match answer {
        Ok(answer) => Ok(wire::BulkExample { saga_id, commands: answer.commands, refused: String::new() }),
        Err(status) if status.code() == Code::Unavailable => Err(status),
        Err(status) => {
            Ok(wire::BulkExample { saga_id, commands: Vec::new(), refused: status.message().to_owned() })
        }
    }
}

/// One saga's part of a job.
fn single(request: &wire::StartBulkRequest, item: Item, dry_run: bool) -> wire::ActRequest {
    wire::ActRequest {
        saga_id: item.saga.to_string(),
        expected_version: item.version,
        // Of the job and the saga, so that whoever carries it on repeats nothing.
        request_id: Uuid::new_v5(&item.saga, request.request_id.as_bytes()).to_string(),
        actor: request.actor.clone(),
        reason: request.reason.clone(),
        dry_run,
        action: request.action.clone(),
    }
}

pub(super) async fn get(
    desk: &Desk,
    request: &wire::GetBulkRequest,
) -> Result<wire::GetBulkResponse, Status> {
    let mut conn = desk.pool.acquire().await.map_err(|e| errors::unreadable(&e))?;
    let job = one(&mut conn, &request.request_id).await?;
    let job = job.ok_or_else(|| errors::not_found("bulk job", &request.request_id))?;
    Ok(wire::GetBulkResponse { bulk: Some(shown(&mut conn, &job).await?) })
}

pub(super) async fn list(desk: &Desk) -> Result<wire::ListBulksResponse, Status> {
    let mut conn = desk.pool.acquire().await.map_err(|e| errors::unreadable(&e))?;
    let jobs = bulk::jobs(&mut conn, None, None).await.map_err(|e| errors::unreadable(&e))?;
    let mut bulks = Vec::new();
    for job in jobs {
        bulks.push(shown(&mut conn, &job).await?);
    }
    Ok(wire::ListBulksResponse { bulks })
}

pub(super) async fn change(
    desk: &Desk,
    request: wire::ChangeBulkRequest,
) -> Result<wire::ChangeBulkResponse, Status> {
    let mut bad = BadFields::default();
    let wire::ChangeBulkRequest { request_id, actor, reason, .. } = &request;
    Signed { request_id, actor, reason }.check(&mut bad);
    let (from, to): (&[&str], _) = match request.state() {
        wire::BulkState::Running => (&["PAUSED", "RUNNING"], "RUNNING"),
        wire::BulkState::Paused => (&["RUNNING", "PAUSED"], "PAUSED"),
        wire::BulkState::Aborted => (&["RUNNING", "PAUSED", "ABORTED"], "ABORTED"),
        _ => {
            bad.add("state", "must be RUNNING, PAUSED or ABORTED");
            (&[], "")
        }
    };
    bad.into_result()?;
    let unreadable = |e: sqlx::Error| errors::unreadable(&e);
    let mut conn = pg::connection(&desk.shared.config.postgres.url).await.map_err(unreadable)?;
    let from: Vec<String> = from.iter().map(|&state| state.to_owned()).collect();
    // The request id names the job; each change is an action of its own.
    let change = format!("{request_id}/{}", Uuid::now_v7());
    let signed = Signed { request_id: &change, actor, reason };
    let record = once::record(&signed, format!("CHANGE_BULK {to} {request_id}"), None, &request);
    let mut tx = conn.begin().await.map_err(unreadable)?;
    let changed = bulk::change(&mut tx, request_id, &from, to).await.map_err(unreadable)?;
    let job = one(&mut tx, request_id).await?.ok_or_else(|| errors::not_found("bulk job", request_id))?;
    if !changed {
        return Err(errors::not_allowed("bulk job", request_id, "it has ended", Some(&job.state)));
    }
    action::claim(&mut tx, &record).await.map_err(unreadable)?;
    let bulk = Some(shown(&mut tx, &job).await?);
    let answer = once::end(desk, tx, &record, Ok(wire::ChangeBulkResponse { bulk })).await?;
    tracing::info!(job = job.request_id, actor, reason, state = job.state, "a bulk job was changed");
    Ok(answer)
}

async fn one(conn: &mut PgConnection, request_id: &str) -> Result<Option<Job>, Status> {
    let jobs = bulk::jobs(conn, Some(request_id), None).await.map_err(|e| errors::unreadable(&e))?;
    Ok(jobs.into_iter().next())
}

async fn shown(conn: &mut PgConnection, job: &Job) -> Result<wire::Bulk, Status> {
    // One that can't be read is shown as such, and ends no list.
    let request = asked(job).unwrap_or_else(|broken| wire::StartBulkRequest {
        reason: broken.message().to_owned(),
        ..Default::default()
    });
    let [open, done, moved, refused] =
        bulk::progress(conn, &job.request_id).await.map_err(|e| errors::unreadable(&e))?;
    let refusals = bulk::refusals(conn, &job.request_id).await.map_err(|e| errors::unreadable(&e))?;
    let state = wire::BulkState::from_str_name(&format!("BULK_STATE_{}", job.state)).unwrap_or_default();
    let refusal = |(saga, why): (Uuid, String)| wire::BulkRefusal { saga_id: saga.to_string(), why };
    Ok(wire::Bulk {
        request_id: job.request_id.clone(),
        state: state.into(),
        filter: request.filter,
        action: request.action,
        per_second: request.per_second,
        actor: request.actor,
        reason: request.reason,
        created_at: Some(view::timestamp(job.created_at)),
        total: open + done + moved + refused,
        done,
        moved,
        refused,
        refusals: refusals.into_iter().map(refusal).collect(),
    })
}

fn asked(job: &Job) -> Result<wire::StartBulkRequest, Status> {
    wire::StartBulkRequest::decode(job.request.as_slice())
        .map_err(|e| Status::internal(format!("table bulk_job, column request, {}: {e}", job.request_id)))
}

/// Carries jobs on until the stop is asked for: each second, the next sagas of every job whose lock nobody else has.
///
/// # Errors
/// None: a database that is away is tried again.
pub(crate) async fn run(desk: Desk, shutdown: Shutdown) -> anyhow::Result<()> {
    let url = desk.shared.config.postgres.url.clone();
    while let Some(mut conn) =
        backoff::forever("carry bulk jobs on", &shutdown, || async { pg::connection(&url).await }).await
    {
        match carry_on(&desk, &mut conn, &shutdown).await {
            Ok(()) => break,
            Err(error) => {
                tracing::warn!(%error, "bulk jobs wait; trying again");
                tokio::time::sleep(TICK).await;
            }
        }
    }
    Ok(())
}

async fn carry_on(desk: &Desk, conn: &mut PgConnection, shutdown: &Shutdown) -> Result<(), Status> {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let unreadable = |e: sqlx::Error| errors::unreadable(&e);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shutdown.requested() => return Ok(()),
        }
        for job in bulk::jobs(conn, None, Some("RUNNING")).await.map_err(unreadable)? {
            // The lock is the connection's: whoever dies lets go of it.
            let lock = ids_lock(&job.request_id);
            let mine = sqlx::query_scalar!(r#"select pg_try_advisory_lock($1) as "mine!""#, lock)
                .fetch_one(&mut *conn)
                .await
                .map_err(unreadable)?;
            if mine {
                let done = tick(desk, conn, &job, shutdown).await;
                sqlx::query_scalar!("select pg_advisory_unlock($1)", lock)
                    .fetch_one(&mut *conn)
                    .await
                    .map_err(unreadable)?;
                done?;
            }
        }
    }
}

/// A number for a name.
fn ids_lock(name: &str) -> i64 {
    Uuid::new_v5(&ids::lower_bound(0), name.as_bytes()).as_u128() as i64
}

/// A second's worth of a job.
async fn tick(desk: &Desk, conn: &mut PgConnection, job: &Job, shutdown: &Shutdown) -> Result<(), Status> {
    let unreadable = |e: sqlx::Error| errors::unreadable(&e);
    let request = match asked(job) {
        Ok(request) => request,
        Err(broken) => {
            tracing::error!(why = broken.message(), "a bulk job can't be carried on");
            return Ok(());
        }
    };
    // Less than one a second: now and then one.
    let due = rate(request.per_second, desk.shared.clock.now_ms() / 1000);
    let items = bulk::open(conn, &job.request_id, due.max(1)).await.map_err(unreadable)?;
    if items.is_empty() {
        let done = bulk::change(conn, &job.request_id, &["RUNNING".to_owned()], "DONE").await;
        tracing::info!(job = job.request_id, "a bulk job is done");
        return done.map(drop).map_err(unreadable);
    }
    for item in items.into_iter().take(due as usize) {
        if shutdown.is_requested() {
            return Ok(());
        }
        let (state, why) = match act::act(desk, single(&request, item, false)).await {
            Ok(_) => (b'D', None),
            Err(status) if status.code() == Code::Aborted => (b'M', None),
            // Nobody's fault: the next tick tries again.
            Err(status) if matches!(status.code(), Code::Unavailable | Code::ResourceExhausted) => {
                return Ok(());
            }
            Err(status) => (b'R', Some(status.message().to_owned())),
        };
        bulk::settle(conn, &job.request_id, item.saga, state, why.as_deref()).await.map_err(unreadable)?;
    }
    Ok(())
}

/// How many are due in this second.
fn rate(per_second: f64, second: i64) -> i64 {
    let until = |second: i64| (second as f64 * per_second).floor() as i64;
    until(second + 1) - until(second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_over_time() {
        for (per_second, all) in [(0.1, 10), (0.5, 50), (1.0, 100), (2.5, 250), (100.0, 10_000)] {
            let sum: i64 = (1_700_000_000..1_700_000_100).map(|second| rate(per_second, second)).sum();
            assert!((sum - all).abs() <= 1, "{per_second}: {sum}");
        }
    }
}
