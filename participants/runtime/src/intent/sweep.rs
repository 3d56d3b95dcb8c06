//! Resumes open intents: those that nobody works on, and those that got no place. It claims them, then calls; it settles nothing.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use skald_kit::{backoff, instance::DEAD_AFTER, lifecycle::Shutdown};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{
    Intent,
    calls::{Begin, Caller, no_call},
    resolve::{Need, need},
    table::interval,
};
use crate::{
    barrier::{self, Columns, Slot, Stored},
    command::Key,
    service::{Domain, Service},
    shared::{Link, Shared, Trouble},
};

/// Intents claimed at once.
const BATCH: usize = 256;
/// An undo that waits for its action is looked at again, though the action's settling wakes it.
const BEHIND: Duration = Duration::from_secs(5);

/// Looks when told and at every tick, until the stop.
pub(crate) async fn run<S: Service>(
    shared: Arc<Shared<S>>,
    caller: Caller<S>,
    shutdown: Shutdown,
) -> Result<()> {
    let every = Duration::from_millis(shared.calls.sweep_ms);
    let mut link = Link::new(&shared.url);
    let mut gaps = backoff::gaps();
    let mut adopted: Option<Instant> = None;
    loop {
        let adopt = adopted.is_none_or(|at| at.elapsed() >= DEAD_AFTER);
        let wait = match pass(&shared, &caller, &mut link, adopt).await {
            Ok(()) => {
                shared.postgres_up();
                gaps = backoff::gaps();
                adopted = if adopt { Some(Instant::now()) } else { adopted };
                every
            }
            Err(trouble) => {
                link.cut();
                match trouble {
                    Trouble::Transient { error, expected } => {
                        shared.postgres_degraded("open intents were not looked at", &error, expected);
                    }
                    Trouble::Poison(error) => tracing::error!("open intents were not looked at: {error}"),
                    Trouble::Conflict => {}
                }
                gaps.next().unwrap_or(every)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shared.due.notified() => {}
            () = shutdown.requested() => return Ok(()),
        }
    }
}

/// Claims what is due until nothing is, or there is no place.
async fn pass<S: Service>(
    shared: &Shared<S>,
    caller: &Caller<S>,
    link: &mut Link,
    adopt: bool,
) -> Result<(), Trouble> {
    let fail = |error| shared.trouble(error);
    if adopt {
        let conn = link.get().await.map_err(fail)?;
        adopt_dead(conn, shared.instance).await.map_err(fail)?;
        report_open(conn).await.map_err(fail)?;
    }
    loop {
        // before the look: a place that becomes free from here on is heard of
        caller.set_backlog(true);
        let wanted = caller.free().min(BATCH);
        let mut begin = caller.reserve(wanted);
        let places = begin.places();
        if places == 0 {
            return Ok(());
        }
        let conn = link.get().await.map_err(fail)?;
        let asked = Instant::now();
        let claimed = claim(conn, shared, places).await?;
        let full = claimed.len() == places;
        let mut calls = Vec::with_capacity(claimed.len());
        for (intent, need, age) in claimed {
            match need {
                Need::Call => calls.push((intent, age)),
                Need::Nothing => begin.nothing_to_undo(intent),
                Need::Behind => {}
                Need::Stale => stale(&intent),
            }
        }
        if !calls.is_empty() {
            start(conn, shared, caller, &mut begin, calls, asked).await.map_err(fail)?;
        }
        if !full {
            caller.set_backlog(false);
            return Ok(());
        }
    }
}

/// Takes what is due, in a transaction of its own: the domain is locked later, for it comes first in the order of locks.
async fn claim<S: Service>(
    conn: &mut PgConnection,
    shared: &Shared<S>,
    limit: usize,
) -> Result<Vec<(Intent, Need, Duration)>, Trouble> {
    let fail = |error| shared.trouble(error);
    let mut tx = conn.begin().await.map_err(fail)?;
    let due = due(&mut tx, limit).await.map_err(fail)?;
    if due.is_empty() {
        tx.rollback().await.map_err(fail)?;
        return Ok(Vec::new());
    }
    let stored = barrier::read(&mut tx, due.iter().map(|intent| &intent.key)).await.map_err(fail)?;
    let needs: Vec<Need> = due.iter().map(|intent| need_of(intent, &stored)).collect();
    let lease = shared.calls.lease();
    let taken = take(&mut tx, shared.instance, lease, &due, &needs).await.map_err(fail)?;
    // a commit of which nobody knows: the calls are not made, the lease runs out
    shared.committed(skald_kit::pg::commit(tx).await)?;
    Ok(due
        .into_iter()
        .zip(needs)
        .zip(taken)
        .map(|((intent, need), (calls, age))| (Intent { calls, ..intent }, need, age))
        .collect())
}

fn need_of(intent: &Intent, stored: &Stored) -> Need {
    let verdict = |slot| stored.get(&intent.key, slot).map(|row| row.verdict);
    need(intent.slot(), verdict(Slot::Run), verdict(Slot::Undo))
}

/// Loads the domain for the calls, outside any transaction, and begins them.
async fn start<S: Service>(
    conn: &mut PgConnection,
    shared: &Shared<S>,
    caller: &Caller<S>,
    begin: &mut Begin<S>,
    calls: Vec<(Intent, Duration)>,
    asked: Instant,
) -> Result<(), sqlx::Error> {
    let intents: Vec<Intent> = calls.iter().map(|(intent, _)| intent.clone()).collect();
    // what it locks is let go at once: the claim is what keeps others away
    let domain = shared.service.load_intents(conn, &intents).await?;
    for (intent, age) in calls {
        // the age was told at some moment after `asked`
        let deadline = caller.deadline(age + asked.elapsed());
        match domain.call(&intent) {
            Some(call) => begin.call_until(intent, call, deadline),
            None => no_call(&intent),
        }
    }
    Ok(())
}

fn stale(intent: &Intent) {
    metrics::counter!("skald_participant_alarms_total", "alarm" => "stale_intent").increment(1);
    tracing::error!(saga = %intent.key.saga, "skald.intent has a row whose barrier row is no intent; it was left asleep");
}

async fn due(conn: &mut PgConnection, limit: usize) -> Result<Vec<Intent>, sqlx::Error> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = sqlx::query!(
        r#"select saga_id, step, epoch, verb as "verb!: i8", attempt, gateway_key, calls, traceparent, partition
           from skald.intent where call_after <= now() order by call_after limit $1 for update skip locked"#,
        limit,
    )
    .fetch_all(conn)
    .await?;
    let intents = rows.into_iter().filter_map(|r| {
        Some(Intent {
            key: Key { saga: r.saga_id, step: r.step, epoch: r.epoch },
            verb: Slot::from_code(r.verb)?.verb(),
            attempt: r.attempt,
            gateway_key: r.gateway_key,
            calls: r.calls,
            traceparent: r.traceparent,
            partition: r.partition,
        })
    });
    Ok(intents.collect())
}

/// Marks locked intents as worked on. Returns, in order, the calls begun with each key and the key's age: a key of which no
/// call was ever begun is as young as its first one.
async fn take(
    conn: &mut PgConnection,
    owner: Uuid,
    lease: Duration,
    due: &[Intent],
    needs: &[Need],
) -> Result<Vec<(i32, Duration)>, sqlx::Error> {
    let keys = Columns::of(due.iter().map(|i| (&i.key, i.slot())));
    let begun: Vec<i32> = needs.iter().map(|need| i32::from(*need == Need::Call)).collect();
    let seconds = |need: &Need| match need {
        Need::Behind => Some(BEHIND.as_secs_f64()),
        Need::Stale => None,
        Need::Call | Need::Nothing => Some(lease.as_secs_f64()),
    };
    let holds: Vec<Option<f64>> = needs.iter().map(seconds).collect();
    let rows = sqlx::query!(
        r#"with taken as (
             update skald.intent i
             set calls = i.calls + t.begun, owner = $7,
                 key_at = case when i.calls = 0 then now() else i.key_at end,
                 call_after = case when t.hold is null then 'infinity' else now() + make_interval(secs => t.hold) end
             from unnest($1::uuid[], $2::text[], $3::integer[], $4::"char"[], $5::integer[], $6::float8[])
                  with ordinality as t (saga_id, step, epoch, verb, begun, hold, at)
             where i.saga_id = t.saga_id and i.step = t.step and i.epoch = t.epoch and i.verb = t.verb
             returning t.at, i.calls, extract(epoch from clock_timestamp() - i.key_at)::float8 as age
           ) select calls as "calls!", age as "age!" from taken order by at"#,
        &keys.sagas,
        &keys.steps,
        &keys.epochs,
        &keys.slots,
        &begun,
        &holds as &[Option<f64>],
        owner,
    )
    .fetch_all(conn)
    .await?;
    let age = |seconds: f64| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX);
    Ok(rows.into_iter().map(|r| (r.calls, age(r.age))).collect())
}

/// What a dead instance worked on is due now. It may only be frozen: then both use the same key, and one settles.
async fn adopt_dead(conn: &mut PgConnection, owner: Uuid) -> Result<(), sqlx::Error> {
    let done = sqlx::query!(
        "update skald.intent i set call_after = now(), owner = $1
         where i.owner <> $1 and i.call_after > now() and i.call_after < 'infinity'
           and not exists (select from skald.instance p
                           where p.id = i.owner and p.beat_at >= clock_timestamp() - $2::interval)",
        owner,
        interval(DEAD_AFTER),
    )
    .execute(conn)
    .await?;
    if done.rows_affected() > 0 {
        tracing::info!(
            intents = done.rows_affected(),
            "took over the open intents of an instance that is gone"
        );
    }
    Ok(())
}

async fn report_open(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    let open = sqlx::query!(
        r#"select count(*) as "all!", count(*) filter (where answered = 'UNRESOLVED') as "unresolved!" from skald.intent"#
    )
    .fetch_one(conn)
    .await?;
    metrics::gauge!("skald_participant_intents_open").set(open.all as f64);
    metrics::gauge!("skald_participant_intents_unresolved").set(open.unresolved as f64);
    Ok(())
}
