//! No stray money: each captured charge belongs to a completed saga, or has exactly one refund. The gateway's own records decide.

use std::collections::BTreeMap;

use skald_core::state::Phase;
use skald_payment::gateway::Kind;
use uuid::Uuid;

use super::vouched;
use crate::world::World;

pub(super) fn judge(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    if !world.oracle.orders {
        return found;
    }
    let amounts: BTreeMap<Uuid, i64> =
        world.clients.orders.iter().filter_map(|order| Some((order.saga?, order.amount))).collect();
    for (saga, row) in &world.store.sagas {
        let state = &row.decoded;
        if vouched(&world.oracle, *saga, state, "charge") {
            continue;
        }
        let amount = amounts.get(saga).copied().unwrap_or_default();
        let (mut taken, mut given) = (0, 0);
        for epoch in 1..=state.steps.iter().find(|s| s.name == "charge").map_or(0, |s| s.epoch) {
            let our_ref = format!("{saga}/charge/{epoch}");
            let sum = |kind| world.gateway.movements(kind, &our_ref).iter().map(|m| m.amount).sum::<i64>();
            taken += sum(Kind::Charge);
            given += sum(Kind::Refund);
        }
        let right = match state.phase() {
            Phase::Completed => (taken, given) == (amount, 0),
            _ => taken == given,
        };
        if !right {
            found.push(format!(
                "{saga} is {:?}: {taken} taken, {given} given back of {amount}",
                state.phase()
            ));
        }
    }
    for (refund, our_ref, moved) in world.gateway.all() {
        let known = our_ref.split('/').next().and_then(|id| id.parse().ok());
        if known.is_none_or(|saga: Uuid| !world.store.sagas.contains_key(&saga)) {
            found.push(format!("money of nobody: {refund} {our_ref} {moved:?}"));
        }
    }
    found
}
