//! No stray money, by the gateway's own books: a completed order was charged once, a cancelled one has its money back.

use std::collections::BTreeMap;

use anyhow::Result;
use futures::TryStreamExt as _;

use super::{Findings, lost::Ended};
use crate::{
    clients::Promise,
    world::{World, service::Who},
};

/// What the books say of an order: amounts in minor units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Moved {
    charged: Vec<i64>,
    refunded: Vec<i64>,
}

pub(super) async fn judge(
    world: &World,
    ledger: &[Promise],
    ended: &Ended,
    findings: &mut Findings,
) -> Result<()> {
    let mut moved: BTreeMap<String, Moved> = BTreeMap::new();
    let mut conn = world.sql(Who::Payment).await?;
    let mut rows = sqlx::query_as::<_, (String, String, i64)>(
        "select our_ref, kind, amount_minor from gateway.movement order by at",
    )
    .fetch(&mut conn);
    while let Some((our_ref, kind, amount)) = rows.try_next().await? {
        let moved = moved.entry(our_ref.split('/').next().unwrap_or_default().to_owned()).or_default();
        if kind == "charge" { moved.charged.push(amount) } else { moved.refunded.push(amount) }
    }
    for promise in ledger {
        let Some(reason) = ended.get(&promise.id) else { continue };
        let moved = moved.remove(&promise.id.to_string()).unwrap_or_default();
        findings.check("money", is_right(promise.total_minor, reason.is_none(), &moved), || {
            format!("order {} costs {}, ended {reason:?}, and {moved:?}", promise.id, promise.total_minor)
        });
    }
    for (order, moved) in moved {
        findings.violations.push(("money", format!("{moved:?} for {order}, which is no order")));
    }
    Ok(())
}

fn is_right(total: i64, completed: bool, moved: &Moved) -> bool {
    let once = moved.charged.is_empty() || moved.charged == [total];
    once && if completed {
        moved.charged.len() == 1 && moved.refunded.is_empty()
    } else {
        moved.refunded == moved.charged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_charge_is_of_a_completed_order_or_given_back() {
        for (completed, charged, refunded, right) in [
            (true, vec![500], vec![], true),
            (true, vec![], vec![], false),
            (true, vec![500, 500], vec![], false),
            (true, vec![400], vec![], false),
            (true, vec![500], vec![500], false),
            (false, vec![], vec![], true),
            (false, vec![500], vec![500], true),
            (false, vec![500], vec![], false),
            (false, vec![500], vec![500, 500], false),
            (false, vec![500, 500], vec![500, 500], false),
        ] {
            let moved = Moved { charged, refunded };
            assert_eq!(is_right(500, completed, &moved), right, "{completed} {moved:?}");
        }
    }
}
