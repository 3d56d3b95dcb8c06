//! No stray money, asked from the gateway's own books: a completed order was charged once, a cancelled one has its money back.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Ended, Findings, Promise};

#[derive(Clone, Debug, sqlx::FromRow)]
struct Movement {
    reference: String,
    kind: String,
    our_ref: String,
    amount_minor: i64,
    currency: String,
}

#[derive(Clone, Debug, sqlx::FromRow)]
struct Charge {
    saga_id: Uuid,
    state: String,
    amount_minor: i64,
    gateway_ref: Option<String>,
    refund_ref: Option<String>,
}

pub(super) async fn judge(
    conn: &mut PgConnection,
    ledger: &[Promise],
    ended: &BTreeMap<Uuid, Ended>,
    findings: &mut Findings,
) {
    let movements: Vec<Movement> = sqlx::query_as(
        "select reference, kind, our_ref, amount_minor, currency::text from gateway.movement order by at",
    )
    .fetch_all(&mut *conn)
    .await
    .expect("the gateway's books can be read");
    let charges: Vec<Charge> = sqlx::query_as(
        "select saga_id, state::text, amount_minor, gateway_ref, refund_ref from public.charge",
    )
    .fetch_all(&mut *conn)
    .await
    .expect("the charges can be read");
    let mut moved: BTreeMap<String, Vec<Movement>> = BTreeMap::new();
    for movement in movements {
        let order = movement.our_ref.split('/').next().unwrap_or_default().to_owned();
        moved.entry(order).or_default().push(movement);
    }
    let mut known: BTreeMap<Uuid, Vec<Charge>> = BTreeMap::new();
    charges.into_iter().for_each(|charge| known.entry(charge.saga_id).or_default().push(charge));
    for promise in ledger {
        let Some(how) = ended.get(&promise.id) else { continue };
        let moved = moved.remove(&promise.id.to_string()).unwrap_or_default();
        let known = known.remove(&promise.id).unwrap_or_default();
        one_order(promise, how, &moved, &known, findings);
    }
    for (order, movements) in moved {
        findings.0.push(format!("the gateway moved money for {order}, which is no order: {movements:?}"));
    }
    for (order, charges) in known {
        findings.0.push(format!("payment has a charge of {order}, which is no order: {charges:?}"));
    }
}

fn one_order(promise: &Promise, how: &Ended, moved: &[Movement], known: &[Charge], findings: &mut Findings) {
    let (id, reason) = (promise.id, how.reason.as_deref().unwrap_or("completed"));
    let total: i64 = promise.draft.lines.iter().map(|line| line.quantity * line.unit_price_minor).sum();
    let currency = promise.draft.currency.as_str();
    let of = |kind: &str| moved.iter().filter(|m| m.kind == kind).collect::<Vec<_>>();
    let (charges, refunds) = (of("charge"), of("refund"));
    findings.check(charges.len() <= 1, || format!("order {id} ({reason}) was charged twice: {charges:?}"));
    let exact = moved.iter().all(|m| m.amount_minor == total && m.currency == currency);
    findings.check(exact, || format!("order {id} costs {total} {currency}, moved were {moved:?}"));
    let expected =
        if how.reason.is_none() { (usize::from(total > 0), 0) } else { (charges.len(), charges.len()) };
    findings.check((charges.len(), refunds.len()) == expected, || {
        format!("order {id} ({reason}) has the charges {charges:?} and the refunds {refunds:?}")
    });
    // What payment believes is what the gateway did.
    let believed = match (charges.first(), refunds.first()) {
        (None, _) => known.iter().all(|c| matches!(c.state.as_str(), "D" | "V")),
        (Some(charge), refund) => {
            let state = if refund.is_some() { "R" } else { "C" };
            known.len() == 1
                && known[0].state == state
                && known[0].amount_minor == total
                && known[0].gateway_ref.as_ref() == Some(&charge.reference)
                && known[0].refund_ref.as_ref() == refund.map(|r| &r.reference)
        }
    };
    findings
        .check(believed, || format!("order {id} ({reason}): payment has {known:?}, the gateway {moved:?}"));
}
