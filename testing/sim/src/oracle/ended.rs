//! A saga that has ended commands nothing: unless a contradiction re-opened it, and then only what was in flight.

use std::collections::BTreeMap;

use skald_core::plan::Plan;
use uuid::Uuid;

use super::Before;

/// Commands in a plan for sagas that have ended by it.
pub(super) fn commands_of_the_ended(before: &BTreeMap<Uuid, Before>, plan: &Plan<usize>) -> Vec<String> {
    let mut found = Vec::new();
    for send in &plan.sends {
        let after = plan.writes.iter().find(|write| write.saga == send.saga);
        let ended = match after {
            Some(write) => write.state.is_final(),
            None => before.get(&send.saga).is_some_and(|before| before.ended),
        };
        if ended {
            found.push(format!("{} has ended and commands {:?}", send.saga, send.command));
        }
    }
    found
}
