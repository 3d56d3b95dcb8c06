//! The table of open intents. Functions take a borrowed connection; who calls them owns the transaction.

use std::{collections::HashMap, time::Duration};

use sqlx::{PgConnection, postgres::types::PgInterval};
use uuid::Uuid;

use super::{Intent, resolve::Postponed};
use crate::{
    barrier::{Columns, Row, Slot, columns},
    command::Key,
};

/// An intent that is about to be opened.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct New {
    /// As it will be known; `calls` is 1 when its call begins right after the commit, else 0.
    pub(crate) intent: Intent,
}

/// A command that meets an open intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Met {
    pub(crate) key: Key,
    pub(crate) slot: Slot,
    /// The attempt that the answer is to count for, and the partition that it goes to.
    pub(crate) attempt: Option<(i32, i32)>,
}

/// Whom to answer: an intent as it stood last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Addressee {
    pub(crate) key: Key,
    pub(crate) slot: Slot,
    pub(crate) attempt: i32,
    pub(crate) traceparent: Option<String>,
    pub(crate) partition: i32,
}

/// Inserts a wave's barrier rows like [`barrier::insert`](crate::barrier::insert) and, only when all of them were new, opens the
/// intents among them. Those whose call begins now are taken up by the sweeper after `lease`, the others at once.
pub(crate) async fn insert(
    conn: &mut PgConnection,
    owner: Uuid,
    lease: Duration,
    rows: &[Row],
    new: &[New],
) -> Result<u64, sqlx::Error> {
    let (barrier, verdicts, outcomes) = columns(rows);
    let all = || new.iter().map(|n| &n.intent);
    let keys = Columns::of(all().map(|i| (&i.key, i.slot())));
    let attempts: Vec<i32> = all().map(|i| i.attempt).collect();
    let gateway_keys: Vec<&str> = all().map(|i| i.gateway_key.as_str()).collect();
    let calls: Vec<i32> = all().map(|i| i.calls).collect();
    let traces: Vec<Option<&str>> = all().map(|i| i.traceparent.as_deref()).collect();
    let partitions: Vec<i32> = all().map(|i| i.partition).collect();
    let stored = sqlx::query_scalar!(
        r#"with stored as (
             insert into skald.barrier (saga_id, step, epoch, verb, verdict, outcome)
             select * from unnest($1::uuid[], $2::text[], $3::integer[], $4::"char"[], $5::"char"[], $6::bytea[])
             on conflict do nothing returning 1
           ), opened as (
             insert into skald.intent
               (saga_id, step, epoch, verb, attempt, gateway_key, calls, traceparent, partition, call_after, owner)
             select n.saga_id, n.step, n.epoch, n.verb, n.attempt, n.gateway_key, n.calls, n.traceparent, n.partition,
                    case when n.calls > 0 then now() + $16::interval else now() end, $17
             from unnest($7::uuid[], $8::text[], $9::integer[], $10::"char"[], $11::integer[], $12::text[], $13::integer[],
                         $14::text[], $15::integer[])
                  as n (saga_id, step, epoch, verb, attempt, gateway_key, calls, traceparent, partition)
             where (select count(*) from stored) = cardinality($1::uuid[])
           ) select count(*) as "stored!" from stored"#,
        &barrier.sagas,
        &barrier.steps,
        &barrier.epochs,
        &barrier.slots,
        &verdicts,
        &outcomes as &[Option<Vec<u8>>],
        &keys.sagas,
        &keys.steps,
        &keys.epochs,
        &keys.slots,
        &attempts,
        &gateway_keys as &[&str],
        &calls,
        &traces as &[Option<&str>],
        &partitions,
        interval(lease),
        owner,
    )
    .fetch_one(conn)
    .await?;
    Ok(stored.unsigned_abs())
}

/// Leaves attempt numbers on open intents and wakes those that sleep. Returns how many were still open, and whether any is
/// due now.
pub(crate) async fn meet(conn: &mut PgConnection, met: &[Met]) -> Result<(usize, bool), sqlx::Error> {
    let keys = Columns::of(met.iter().map(|m| (&m.key, m.slot)));
    let attempts: Vec<i32> = met.iter().map(|m| m.attempt.map_or(0, |(attempt, _)| attempt)).collect();
    let partitions: Vec<i32> = met.iter().map(|m| m.attempt.map_or(-1, |(_, partition)| partition)).collect();
    let due = sqlx::query_scalar!(
        r#"update skald.intent i
           set attempt = greatest(i.attempt, m.attempt),
               partition = case when m.attempt > 0 then m.partition else i.partition end,
               call_after = case when i.answered is null then i.call_after else now() end,
               answered = null
           from unnest($1::uuid[], $2::text[], $3::integer[], $4::"char"[], $5::integer[], $6::integer[])
                as m (saga_id, step, epoch, verb, attempt, partition)
           where i.saga_id = m.saga_id and i.step = m.step and i.epoch = m.epoch and i.verb = m.verb
           returning i.call_after <= now() as "due!""#,
        &keys.sagas,
        &keys.steps,
        &keys.epochs,
        &keys.slots,
        &attempts,
        &partitions,
    )
    .fetch_all(conn)
    .await?;
    Ok((due.len(), due.contains(&true)))
}

/// Which open intents of these keys wait for a person.
pub(crate) async fn unresolved(
    conn: &mut PgConnection,
    keys: impl Iterator<Item = &Key>,
) -> Result<Vec<(Key, Slot)>, sqlx::Error> {
    let keys = Columns::of(keys.map(|key| (key, Slot::Run)));
    let rows = sqlx::query!(
        r#"select i.saga_id, i.step, i.epoch, i.verb as "verb!: i8"
           from unnest($1::uuid[], $2::text[], $3::integer[]) as k (saga_id, step, epoch)
           join skald.intent i on i.saga_id = k.saga_id and i.step = k.step and i.epoch = k.epoch
           where i.answered = 'UNRESOLVED'"#,
        &keys.sagas,
        &keys.steps,
        &keys.epochs,
    )
    .fetch_all(conn)
    .await?;
    let pair = |saga, step, epoch, verb| Some((Key { saga, step, epoch }, Slot::from_code(verb)?));
    Ok(rows.into_iter().filter_map(|r| pair(r.saga_id, r.step, r.epoch, r.verb)).collect())
}

/// Turns open intents into verdicts and closes them. Returns those that still were intents, each with the attempt that stood on
/// it; the others were settled by someone else.
pub(crate) async fn settle(
    conn: &mut PgConnection,
    rows: &[Row],
) -> Result<HashMap<(Key, Slot), Option<Addressee>>, sqlx::Error> {
    let (keys, verdicts, outcomes) = columns(rows);
    let (first, last) = keys.range();
    let settled = sqlx::query!(
        r#"with settled as (
             update skald.barrier b set verdict = s.verdict, outcome = s.outcome
             from unnest($1::uuid[], $2::text[], $3::integer[], $4::"char"[], $5::"char"[], $6::bytea[])
                  as s (saga_id, step, epoch, verb, verdict, outcome)
             where b.saga_id = s.saga_id and b.step = s.step and b.epoch = s.epoch and b.verb = s.verb
               and b.saga_id between $7 and $8 and b.verdict = 'I'
             returning b.saga_id, b.step, b.epoch, b.verb
           ), closed as (
             delete from skald.intent i using settled s
             where i.saga_id = s.saga_id and i.step = s.step and i.epoch = s.epoch and i.verb = s.verb
             returning i.saga_id, i.step, i.epoch, i.verb, i.attempt, i.traceparent, i.partition
           )
           select s.saga_id as "saga_id!", s.step as "step!", s.epoch as "epoch!", s.verb as "verb!: i8",
                  c.attempt as "attempt?", c.traceparent as "traceparent?", c.partition as "partition?"
           from settled s left join closed c using (saga_id, step, epoch, verb)"#,
        &keys.sagas,
        &keys.steps,
        &keys.epochs,
        &keys.slots,
        &verdicts,
        &outcomes as &[Option<Vec<u8>>],
        first,
        last,
    )
    .fetch_all(conn)
    .await?;
    let found = settled.into_iter().filter_map(|r| {
        let (key, slot) = (Key { saga: r.saga_id, step: r.step, epoch: r.epoch }, Slot::from_code(r.verb)?);
        let addressee = r.attempt.zip(r.partition).map(|(attempt, partition)| Addressee {
            key: key.clone(),
            slot,
            attempt,
            traceparent: r.traceparent,
            partition,
        });
        Some(((key, slot), addressee))
    });
    Ok(found.collect())
}

/// Undo intents behind actions that settled are due now. Returns whether there are any. A statement of its own after
/// [`settle`]: it must see the undo that was queued while that one waited for the action's intent.
pub(crate) async fn wake_undo(
    conn: &mut PgConnection,
    settled: impl Iterator<Item = &Key>,
) -> Result<bool, sqlx::Error> {
    let keys = Columns::of(settled.map(|key| (key, Slot::Undo)));
    let done = sqlx::query!(
        r#"update skald.intent i set call_after = now(), answered = null
           from unnest($1::uuid[], $2::text[], $3::integer[]) as k (saga_id, step, epoch)
           where i.saga_id = k.saga_id and i.step = k.step and i.epoch = k.epoch and i.verb = 'U'"#,
        &keys.sagas,
        &keys.steps,
        &keys.epochs,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Undo intents behind actions of which nobody knows whether they happened are answered as well.
pub(crate) async fn undo_unresolved(
    conn: &mut PgConnection,
    keys: impl Iterator<Item = &Key>,
) -> Result<Vec<Addressee>, sqlx::Error> {
    let keys = Columns::of(keys.map(|key| (key, Slot::Undo)));
    let rows = sqlx::query!(
        r#"update skald.intent i set call_after = 'infinity', answered = 'UNRESOLVED'
           from unnest($1::uuid[], $2::text[], $3::integer[]) as k (saga_id, step, epoch)
           where i.saga_id = k.saga_id and i.step = k.step and i.epoch = k.epoch and i.verb = 'U'
           returning i.saga_id, i.step, i.epoch, i.attempt, i.traceparent, i.partition"#,
        &keys.sagas,
        &keys.steps,
        &keys.epochs,
    )
    .fetch_all(conn)
    .await?;
    let found = rows.into_iter().map(|r| Addressee {
        key: Key { saga: r.saga_id, step: r.step, epoch: r.epoch },
        slot: Slot::Undo,
        attempt: r.attempt,
        traceparent: r.traceparent,
        partition: r.partition,
    });
    Ok(found.collect())
}

/// Writes down what became of calls that did not settle. Those whose key is no longer the one of the call are left alone; who no
/// longer owns an intent neither moves its time nor ends its sleep. Returns those written, with the attempts that stood on them.
pub(crate) async fn postpone(
    conn: &mut PgConnection,
    owner: Uuid,
    postponed: &[Postponed],
) -> Result<Vec<Addressee>, sqlx::Error> {
    let all = || postponed.iter();
    let keys = Columns::of(all().map(|p| (&p.intent.key, p.intent.slot())));
    let gateway_keys: Vec<&str> = all().map(|p| p.intent.gateway_key.as_str()).collect();
    let next_keys: Vec<Option<&str>> = all().map(|p| p.next_key.as_deref()).collect();
    let unsent: Vec<i32> = all().map(|p| i32::from(p.unsent)).collect();
    let millis = |delay: Duration| i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
    let delays: Vec<Option<i64>> = all().map(|p| p.delay.map(millis)).collect();
    let answered: Vec<Option<&str>> = all().map(|p| p.answered.as_deref()).collect();
    let rows = sqlx::query!(
        r#"update skald.intent i
           set gateway_key = coalesce(p.next_key, i.gateway_key),
               key_at = case when p.next_key is null then i.key_at else now() end,
               calls = case when p.next_key is null then greatest(i.calls - p.unsent, 0) else 0 end,
               call_after = case when p.delay is null then 'infinity'
                                 when i.owner = $10 then now() + p.delay * interval '1 millisecond'
                                 else i.call_after end,
               answered = case when p.delay is null or i.owner = $10 then p.answered else i.answered end
           from unnest($1::uuid[], $2::text[], $3::integer[], $4::"char"[], $5::text[], $6::text[], $7::integer[],
                       $8::bigint[], $9::text[])
                as p (saga_id, step, epoch, verb, gateway_key, next_key, unsent, delay, answered)
           where i.saga_id = p.saga_id and i.step = p.step and i.epoch = p.epoch and i.verb = p.verb
             and i.gateway_key = p.gateway_key
           returning i.saga_id, i.step, i.epoch, i.verb as "verb!: i8", i.attempt, i.traceparent, i.partition"#,
        &keys.sagas,
        &keys.steps,
        &keys.epochs,
        &keys.slots,
        &gateway_keys as &[&str],
        &next_keys as &[Option<&str>],
        &unsent,
        &delays as &[Option<i64>],
        &answered as &[Option<&str>],
        owner,
    )
    .fetch_all(conn)
    .await?;
    let found = rows.into_iter().filter_map(|r| {
        Some(Addressee {
            key: Key { saga: r.saga_id, step: r.step, epoch: r.epoch },
            slot: Slot::from_code(r.verb)?,
            attempt: r.attempt,
            traceparent: r.traceparent,
            partition: r.partition,
        })
    });
    Ok(found.collect())
}

/// An open intent, without a lock.
pub(crate) async fn get(
    conn: &mut PgConnection,
    key: &Key,
    slot: Slot,
) -> Result<Option<Intent>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select attempt, gateway_key, calls, traceparent, partition from skald.intent
           where saga_id = $1 and step = $2 and epoch = $3 and verb = $4"#,
        key.saga,
        key.step,
        key.epoch,
        slot.code(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|r| Intent {
        key: key.clone(),
        verb: slot.verb(),
        attempt: r.attempt,
        gateway_key: r.gateway_key,
        calls: r.calls,
        traceparent: r.traceparent,
        partition: r.partition,
    }))
}

/// The failure for which an open intent sleeps.
pub(crate) async fn answered(
    conn: &mut PgConnection,
    key: &Key,
    slot: Slot,
) -> Result<Option<String>, sqlx::Error> {
    let found = sqlx::query_scalar!(
        "select answered from skald.intent where saga_id = $1 and step = $2 and epoch = $3 and verb = $4",
        key.saga,
        key.step,
        key.epoch,
        slot.code(),
    );
    Ok(found.fetch_optional(conn).await?.flatten())
}

/// Locks an intent that waits for a person, so that no call begins; `false` when it does not (any more).
pub(crate) async fn hold_unresolved(conn: &mut PgConnection, intent: &Intent) -> Result<bool, sqlx::Error> {
    let held = sqlx::query_scalar!(
        r#"select 1 as "held!" from skald.intent
           where saga_id = $1 and step = $2 and epoch = $3 and verb = $4 and answered = 'UNRESOLVED' for update"#,
        intent.key.saga,
        intent.key.step,
        intent.key.epoch,
        intent.slot().code(),
    );
    Ok(held.fetch_optional(conn).await?.is_some())
}

/// A held intent is due now, with another key.
pub(crate) async fn again(
    conn: &mut PgConnection,
    intent: &Intent,
    next_key: &str,
    owner: Uuid,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update skald.intent
         set gateway_key = $5, key_at = now(), calls = 0, call_after = now(), answered = null, owner = $6
         where saga_id = $1 and step = $2 and epoch = $3 and verb = $4",
        intent.key.saga,
        intent.key.step,
        intent.key.epoch,
        intent.slot().code(),
        next_key,
        owner,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(crate) fn interval(duration: Duration) -> PgInterval {
    let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    PgInterval { months: 0, days: 0, microseconds }
}
