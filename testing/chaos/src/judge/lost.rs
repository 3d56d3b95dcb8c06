//! Nothing acknowledged is lost, nobody got two orders for one key, each order ended as it must, and each state is one that may be.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use futures::TryStreamExt as _;
use prost::Message as _;
use skald_core::{Definition, invariants, state};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Findings;
use crate::{
    clients::{End, LAST, Promise},
    world::{World, service::Who},
};

/// Statuses as the table has them.
const COMPLETED: i16 = 3;
const COMPENSATED: i16 = 4;

/// How each order ended: cancelled for a reason, else completed.
pub(super) type Ended = BTreeMap<Uuid, Option<String>>;

pub(super) async fn judge(world: &World, ledger: &[Promise], findings: &mut Findings) -> Result<Ended> {
    let mut conn = world.sql(Who::Orchestrator).await?;
    let ended = sagas(&mut conn, findings).await?;
    keys(&mut conn, ledger, findings).await?;
    let known: BTreeSet<Uuid> = ledger.iter().map(|promise| promise.id).collect();
    // Every client repeats until it is answered: an order that nobody was told of is a second one for some key.
    for id in ended.keys().filter(|id| !known.contains(id)) {
        findings.violations.push(("lost", format!("nobody was told of order {id}")));
    }
    for promise in ledger {
        match ended.get(&promise.id) {
            None => findings.violations.push((
                "lost",
                format!("order {} was acknowledged and has not ended, or is not there", promise.id),
            )),
            Some(reason) => findings.check("lost", as_promised(promise, reason.as_deref()), || {
                format!("{promise:?} ended {reason:?}")
            }),
        }
    }
    first_come(world, ledger, &ended, findings).await?;
    Ok(ended)
}

/// Who came first got what there was: nothing that was wanted is left on the shelf while somebody was sent away.
async fn first_come(world: &World, ledger: &[Promise], ended: &Ended, findings: &mut Findings) -> Result<()> {
    let wanted: Vec<_> = ledger.iter().filter(|p| p.end == End::FirstCome).collect();
    let got = wanted.iter().filter(|p| ended.get(&p.id) == Some(&None)).count() as i64;
    let stocked: i64 = sqlx::query_scalar("select stocked from public.stock where sku = $1")
        .bind(LAST)
        .fetch_one(&mut world.sql(Who::Inventory).await?)
        .await?;
    findings.check("stock", got == stocked.min(wanted.len() as i64), || {
        format!("{got} of {} orders got one of {stocked} {LAST}", wanted.len())
    });
    Ok(())
}

async fn sagas(conn: &mut PgConnection, findings: &mut Findings) -> Result<Ended> {
    let definitions: Vec<(i32, Vec<u8>)> =
        sqlx::query_as("select id, body from public.definition").fetch_all(&mut *conn).await?;
    let decoded = definitions.into_iter().map(|(id, body)| Ok((id, Definition::decode(body.as_slice())?)));
    let definitions: BTreeMap<i32, Definition> = decoded.collect::<Result<_>>()?;
    let mut rows = sqlx::query_as::<_, (Uuid, i32, i16, i16, Option<String>, Option<String>, Vec<u8>)>(
        "select id, definition_id, status, format, quarantine, reason, state from public.saga",
    )
    .fetch(conn);
    let mut ended = Ended::new();
    while let Some((id, definition, status, format, quarantine, reason, bytes)) = rows.try_next().await? {
        findings.check("lost", quarantine.is_none(), || format!("order {id} is quarantined: {quarantine:?}"));
        match state::decode(format as u32, &bytes) {
            Err(error) => findings.violations.push(("invariants", format!("order {id}: {error}"))),
            Ok(state) => {
                let broken = invariants::check(&definitions[&definition], &state).err();
                findings.check("invariants", broken.is_none(), || format!("order {id}: {broken:?}"));
                // Nobody acts here, and participants are honest.
                findings.check("once", state.parked.is_empty(), || format!("order {id}: {}", state.parked));
            }
        }
        match status {
            COMPLETED => drop(ended.insert(id, None)),
            COMPENSATED => drop(ended.insert(id, Some(reason.unwrap_or_default()))),
            other => findings.violations.push(("lost", format!("order {id} has not ended: status {other}"))),
        }
    }
    Ok(ended)
}

/// Each key means the order that its client was told.
async fn keys(conn: &mut PgConnection, ledger: &[Promise], findings: &mut Findings) -> Result<()> {
    let keys: Vec<(String, Uuid)> =
        sqlx::query_as("select key, saga_id from public.submission").fetch_all(conn).await?;
    let keys: BTreeMap<String, Uuid> = keys.into_iter().collect();
    for Promise { id, key, .. } in ledger {
        findings.check("lost", keys.get(key) == Some(id), || {
            format!("key {key} means {:?}, not {id}", keys.get(key))
        });
    }
    findings.check("lost", keys.len() == ledger.len(), || {
        format!("{} keys stand for {} orders", keys.len(), ledger.len())
    });
    Ok(())
}

fn as_promised(promise: &Promise, reason: Option<&str>) -> bool {
    match (promise.end, reason) {
        (End::Completed, reason) => reason.is_none(),
        (End::Cancelled(why), reason) => reason == Some(why),
        (End::FirstCome, reason) => matches!(reason, None | Some("OUT_OF_STOCK")),
        (End::AsTold, Some(reason)) => reason == "CUSTOMER",
        (End::AsTold, None) => !promise.cancelled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_told_that_it_is_cancelled_must_not_get_it() {
        let promise =
            |end, cancelled| Promise { id: Uuid::nil(), key: "k".into(), total_minor: 1, end, cancelled };
        for (end, cancelled, reason, right) in [
            (End::AsTold, true, None, false),
            (End::AsTold, true, Some("CUSTOMER"), true),
            (End::AsTold, false, None, true),
            (End::AsTold, false, Some("PAYMENT_DECLINED"), false),
            (End::Completed, false, Some("CUSTOMER"), false),
            (End::Cancelled("CUSTOMER"), true, None, false),
            (End::FirstCome, false, Some("OUT_OF_STOCK"), true),
            (End::FirstCome, false, Some("CUSTOMER"), false),
        ] {
            assert_eq!(
                as_promised(&promise(end, cancelled), reason),
                right,
                "{end:?} {cancelled} {reason:?}"
            );
        }
    }
}
