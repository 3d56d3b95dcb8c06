//! Effectively once: no action or undo takes effect twice, and no action of an operator counts twice.

use std::collections::BTreeMap;

use skald_core::input;
use skald_participant::Key;
use uuid::Uuid;

use super::Facts;
use crate::{operators::operator_of, world::World};

/// The number of [`skald_core::Input::Operator`] in histories.
const OPERATOR: u32 = 7;

/// An effect that happened once too often.
pub(super) fn too_often(key: &Key, facts: &Facts) -> Option<String> {
    let Facts { ran, undone, committed } = *facts;
    let broken = ran > 1 || undone + committed > 1 || undone + committed > ran;
    broken.then(|| format!("{key:?} ran {ran} times, was undone {undone} and committed {committed} times"))
}

pub(super) fn judge(world: &World) -> Vec<String> {
    let mut counts: BTreeMap<(Uuid, String), u32> = BTreeMap::new();
    for (saga, row) in &world.store.sagas {
        for row in row.history.iter().filter(|row| row.kind == OPERATOR) {
            let Ok(input) = input::decode(&row.input) else { continue };
            if let Some(operator) = operator_of(&input) {
                *counts.entry((*saga, operator.request_id.clone())).or_default() += 1;
            }
        }
    }
    let twice = counts.into_iter().filter(|(_, n)| *n > 1);
    twice.map(|((saga, request), n)| format!("{saga}: the request {request} counted {n} times")).collect()
}
