//! Undo is exact: COMPENSATED, each effect was undone exactly once; COMPLETED, each step took effect exactly once. A step that a
//! person vouched for is the visible exception.

use skald_core::{
    definition::Step,
    state::{Phase, State},
};
use skald_participant::Key;
use uuid::Uuid;

use super::{Facts, service_of, vouched};
use crate::{orchestrator::store::Row, participant::domain::Kind, world::World};

pub(super) fn judge(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for (saga, row) in &world.store.sagas {
        let state = &row.decoded;
        for step in row.definition.steps.iter().filter(|step| !step.is_signal()) {
            if let Some(what) = step_broken(world, *saga, row, state, step) {
                found.push(format!("{saga} is {:?}, {}: {what}", state.phase(), step.name));
            }
        }
    }
    found
}

fn step_broken(world: &World, saga: Uuid, row: &Row, state: &State, step: &Step) -> Option<String> {
    let service = service_of(world, &row.definition, &step.name)?;
    // Payment's effects are the gateway's; a commit's effect is the reservation's.
    let counts = match world.services[service].kind {
        Kind::Payment => return None,
        Kind::Inventory => step.name == "reserve",
        Kind::Plain => true,
    };
    if !counts || world.oracle.unfenced.contains(&saga) {
        return None;
    }
    let epoch = state.steps.iter().find(|s| s.name == step.name)?.epoch as i32;
    let facts = |epoch| {
        let key = Key { saga, step: step.name.clone(), epoch };
        world.oracle.effects.get(&(service, key)).copied().unwrap_or_default()
    };
    let earlier: Vec<Facts> = (1..epoch).map(facts).filter(|f| f.ran > 0).collect();
    if !earlier.is_empty() {
        return Some(format!("an earlier epoch, which was rejected, took effect: {earlier:?}"));
    }
    let Facts { ran, undone, committed } = facts(epoch);
    if vouched(&world.oracle, saga, state, &step.name) {
        // Behind the fence nothing happens.
        let ran_behind = state.phase() == Phase::Completed && ran > 0;
        return ran_behind.then(|| "it was skipped behind a fence, and ran".to_owned());
    }
    let inventory = world.services[service].kind == Kind::Inventory;
    let commit_vouched = inventory && vouched(&world.oracle, saga, state, "commit");
    let right = match state.phase() {
        Phase::Completed if commit_vouched => (ran, undone) == (1, 0),
        _ if step.no_effect => ran == 0,
        Phase::Completed => (ran, undone, committed) == (1, 0, u32::from(inventory)),
        Phase::Compensated => ran == undone && committed == 0,
        _ => true,
    };
    (!right).then(|| format!("it ran {ran} times, was undone {undone} and committed {committed} times"))
}
