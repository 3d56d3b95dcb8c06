//! Nothing acknowledged is lost: what a client was told is stored, and at rest it has ended.

use skald_core::state::Phase;

use crate::{orchestrator::store::Row, world::World};

pub(super) fn judge(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for order in &world.clients.orders {
        let Some(saga) = order.saga else {
            found.push(format!("the client {:?} was never told anything", order.key));
            continue;
        };
        let Some(Row { decoded: state, .. }) = world.store.sagas.get(&saga) else {
            found.push(format!("{saga} was acknowledged and is not stored"));
            continue;
        };
        if order.cancelled && state.phase() != Phase::Compensated {
            found.push(format!("{saga}: its cancellation was accepted and it is {:?}", state.phase()));
        }
    }
    for (saga, row) in &world.store.sagas {
        let state = &row.decoded;
        if !state.is_final() {
            let steps: Vec<String> = state
                .steps
                .iter()
                .map(|s| format!("{} {:?} {:?} {}", s.name, s.status(), s.pending(), s.parked))
                .collect();
            found.push(format!("{saga} hangs: {:?} {} {steps:?}", state.phase(), state.parked));
        } else if row.known.wake_at.is_some() && !state.is_parked() {
            found.push(format!("{saga} has ended and still is looked at"));
        }
    }
    for (key, (saga, _)) in &world.store.submissions {
        if !world.store.sagas.contains_key(saga) {
            found.push(format!("the key {key:?} names {saga}, which is not stored"));
        }
    }
    found
}
