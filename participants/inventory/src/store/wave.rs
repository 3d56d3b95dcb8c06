//! Writes what a wave decided: reservations that are now held, reservations that ended, counters. One statement, so that a wave
//! waits for the server once.

use skald_participant::Key;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{expect_rows, reservation::State};
use crate::allocation::{Change, Counters, Line};

/// Inserts `held`, ends `ended` (which were locked and held), sets the counters of the locked SKUs in `changes`, each of them
/// once. `unnest` can't take arrays of arrays of different lengths, so each line is a row of the input and is gathered again on
/// the way in.
pub(crate) async fn write(
    connection: &mut PgConnection,
    held: &[(Key, Vec<Line>)],
    ended: &[(Key, State)],
    changes: &[&Change],
) -> Result<(), sqlx::Error> {
    if held.is_empty() && ended.is_empty() && changes.is_empty() {
        return Ok(());
    }
    let flat = || held.iter().flat_map(|(key, lines)| lines.iter().map(move |line| (key, line)));
    let lines = Keys::of(flat().map(|(key, _)| key));
    let skus: Vec<&str> = flat().map(|(_, line)| line.sku.as_str()).collect();
    let quantities: Vec<i64> = flat().map(|(_, line)| line.quantity).collect();
    let ends = Keys::of(ended.iter().map(|(key, _)| key));
    let states: Vec<&str> = ended.iter().map(|(_, state)| state.letter()).collect();
    let changed: Vec<&str> = changes.iter().map(|change| change.sku.as_str()).collect();
    let column = |pick: fn(&Counters) -> i64| -> Vec<i64> {
        changes.iter().map(|change| pick(&change.after)).collect()
    };
    let done = sqlx::query!(
        r#"with held as (
             insert into public.reservation (saga_id, step, epoch, state, skus, quantities)
             select u.saga_id, u.step, u.epoch, 'H',
                    array_agg(u.sku order by u.sku), array_agg(u.quantity order by u.sku)
             from unnest($1::uuid[], $2::text[], $3::int[], $4::text[], $5::bigint[])
                  as u(saga_id, step, epoch, sku, quantity)
             group by u.saga_id, u.step, u.epoch order by u.saga_id, u.step, u.epoch
             returning 1
           ), ended as (
             update public.reservation r
             set state = u.state::"char", ended_at = now()
             from unnest($6::uuid[], $7::text[], $8::int[], $9::text[]) as u(saga_id, step, epoch, state)
             where r.saga_id = u.saga_id and r.step = u.step and r.epoch = u.epoch and r.state = 'H'
             returning 1
           ), counted as (
             update public.stock s
             set stocked = u.stocked, available = u.available, reserved = u.reserved,
                 committed = u.committed, version = u.version
             from unnest($10::text[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[])
                  as u(sku, stocked, available, reserved, committed, version)
             where s.sku = u.sku
             returning 1
           )
           select (select count(*) from held) as "held!", (select count(*) from ended) as "ended!",
                  (select count(*) from counted) as "counted!""#,
        &lines.sagas,
        &lines.steps as &[&str],
        &lines.epochs,
        &skus as &[&str],
        &quantities,
        &ends.sagas,
        &ends.steps as &[&str],
        &ends.epochs,
        &states as &[&str],
        &changed as &[&str],
        &column(|c| c.stocked),
        &column(|c| c.available),
        &column(|c| c.reserved),
        &column(|c| c.committed),
        &column(|c| c.version),
    )
    .fetch_one(connection)
    .await?;
    expect_rows("table reservation, insert of a wave", done.held, held.len())?;
    expect_rows("table reservation, end of a wave", done.ended, ended.len())?;
    expect_rows("table stock, write of a wave", done.counted, changes.len())
}

/// Keys as columns.
struct Keys<'a> {
    sagas: Vec<Uuid>,
    steps: Vec<&'a str>,
    epochs: Vec<i32>,
}

impl<'a> Keys<'a> {
    fn of(keys: impl Iterator<Item = &'a Key> + Clone) -> Self {
        Self {
            sagas: keys.clone().map(|key| key.saga).collect(),
            steps: keys.clone().map(|key| key.step.as_str()).collect(),
            epochs: keys.map(|key| key.epoch).collect(),
        }
    }
}
