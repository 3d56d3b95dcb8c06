//! Replay is exact: folding a history gives, row by row, the recorded digests, and the stored state at its end.

use skald_core::{history, state};

use crate::world::World;

pub(super) fn judge(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for (saga, row) in &world.store.sagas {
        match history::replay(&row.definition, *saga, &row.request, &row.history) {
            Err(mismatch) => found.push(format!("{saga}: {mismatch}")),
            Ok(state) if state::encode(&state) != row.state => {
                found.push(format!("{saga}: its history leads to another state than the stored one"));
            }
            Ok(_) if state::decode(skald_core::FORMAT, &row.state).ok().as_ref() != Some(&row.decoded) => {
                found.push(format!("{saga}: its bytes don't say what was stored"));
            }
            Ok(_) => {}
        }
    }
    found
}
