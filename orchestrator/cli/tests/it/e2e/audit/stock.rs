//! No oversell: per SKU, available + reserved + committed = stocked, and all of it stands in reservations and ended orders.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Ended, Findings, Promise};

#[derive(Debug, sqlx::FromRow)]
struct Counters {
    sku: String,
    stocked: i64,
    available: i64,
    reserved: i64,
    committed: i64,
}

#[derive(Debug, sqlx::FromRow)]
struct Reservation {
    saga_id: Uuid,
    state: String,
    skus: Vec<String>,
    quantities: Vec<i64>,
}

pub(super) async fn judge(
    conn: &mut PgConnection,
    stocked: &BTreeMap<String, i64>,
    ledger: &[Promise],
    ended: &BTreeMap<Uuid, Ended>,
    findings: &mut Findings,
) {
    let counters: Vec<Counters> =
        sqlx::query_as("select sku, stocked, available, reserved, committed from public.stock order by sku")
            .fetch_all(&mut *conn)
            .await
            .expect("the stock can be read");
    let reservations: Vec<Reservation> =
        sqlx::query_as("select saga_id, state::text, skus, quantities from public.reservation")
            .fetch_all(conn)
            .await
            .expect("the reservations can be read");
    let mut by_order: BTreeMap<Uuid, Vec<&Reservation>> = BTreeMap::new();
    reservations.iter().for_each(|r| by_order.entry(r.saga_id).or_default().push(r));
    let mut sold: BTreeMap<&str, i64> = BTreeMap::new();
    for promise in ledger {
        let Some(how) = ended.get(&promise.id) else { continue };
        let held = by_order.remove(&promise.id).unwrap_or_default();
        one_order(promise, how, &held, findings);
        if how.reason.is_none() {
            for line in &promise.draft.lines {
                *sold.entry(&line.sku).or_default() += line.quantity;
            }
        }
    }
    for id in by_order.keys() {
        findings.0.push(format!("goods are reserved for {id}, which is no order"));
    }
    for c in &counters {
        let Counters { sku, stocked: all, available, reserved, committed } = c;
        findings
            .check(stocked.get(sku) == Some(all), || format!("{c:?}: {:?} were stocked", stocked.get(sku)));
        findings.check(available + reserved + committed == *all, || format!("{c:?} does not add up"));
        findings.check([*available, *reserved, *committed].iter().all(|n| *n >= 0), || {
            format!("{c:?} is below 0")
        });
        let in_state = |state: &str| units(&reservations, state, sku);
        findings.check(in_state("H") == *reserved, || format!("{c:?}: {} units are held", in_state("H")));
        findings
            .check(in_state("C") == *committed, || format!("{c:?}: {} units were committed", in_state("C")));
        findings.check(*reserved == 0, || format!("{c:?}: all has ended, and still goods are set aside"));
        let sold = sold.get(sku.as_str()).copied().unwrap_or(0);
        findings.check(*committed == sold, || format!("{c:?}: completed orders have {sold} units"));
    }
    findings.check(counters.len() == stocked.len(), || format!("{} SKUs for {stocked:?}", counters.len()));
}

/// A completed order has its goods, once; a cancelled one has none.
fn one_order(promise: &Promise, how: &Ended, held: &[&Reservation], findings: &mut Findings) {
    let id = promise.id;
    match how.reason {
        None => {
            let mut wanted: Vec<(&str, i64)> =
                promise.draft.lines.iter().map(|line| (line.sku.as_str(), line.quantity)).collect();
            wanted.sort_unstable();
            let got = |r: &Reservation| {
                let mut lines: Vec<(String, i64)> =
                    r.skus.iter().cloned().zip(r.quantities.iter().copied()).collect();
                lines.sort();
                lines
            };
            let right = held.len() == 1
                && held[0].state == "C"
                && got(held[0]).iter().map(|(sku, n)| (sku.as_str(), *n)).eq(wanted);
            findings.check(right, || format!("order {id} is complete and has the goods {held:?}"));
        }
        Some(_) => {
            let none = held.len() <= 1 && held.iter().all(|r| r.state == "L");
            findings.check(none, || format!("order {id} was cancelled and has the goods {held:?}"));
        }
    }
}

fn units(reservations: &[Reservation], state: &str, sku: &str) -> i64 {
    let lines =
        reservations.iter().filter(|r| r.state == state).flat_map(|r| r.skus.iter().zip(&r.quantities));
    lines.filter(|(of, _)| *of == sku).map(|(_, units)| units).sum()
}
