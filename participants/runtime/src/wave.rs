//! Cuts what a poll brought into waves with at most one command per saga, so that a wave's decisions do not depend on each
//! other through the barrier. Pure.

use std::collections::HashMap;

use uuid::Uuid;

use crate::{
    command::{Command, Verb},
    planted,
};

/// A command and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery<O> {
    /// What came.
    pub command: Command,
    /// Where the answer goes and what acknowledges the delivery.
    pub origin: O,
}

/// A command with all deliveries of it that came with the same poll.
#[derive(Debug, Clone, PartialEq)]
pub struct Item<O> {
    /// What is decided once.
    pub command: Command,
    /// Each is acknowledged and answered; never empty.
    pub origins: Vec<O>,
}

/// Cuts deliveries into waves, in arrival order: the first command of each saga, then the second of each, and so on. An exact
/// repeat joins the command that it repeats.
pub fn cut<O>(deliveries: Vec<Delivery<O>>) -> Vec<Vec<Item<O>>> {
    let mut waves: Vec<Vec<Item<O>>> = Vec::new();
    let mut depth: HashMap<Uuid, usize> = HashMap::with_capacity(deliveries.len());
    let mut places: HashMap<Identity, (usize, usize)> = HashMap::with_capacity(deliveries.len());
    for Delivery { command, origin } in deliveries {
        let identity = Identity::of(&command);
        let place = places.get(&identity).copied();
        if let Some((wave, at)) = place.filter(|(wave, at)| repeats(&waves[*wave][*at].command, &command)) {
            waves[wave][at].origins.push(origin);
            continue;
        }
        let wave = depth.entry(command.saga).or_default();
        if planted::is("one_wave_for_all") {
            *wave = 0;
        }
        if *wave == waves.len() {
            waves.push(Vec::new());
        }
        places.insert(identity, (*wave, waves[*wave].len()));
        waves[*wave].push(Item { command, origins: vec![origin] });
        *wave += 1;
    }
    waves
}

/// Names a command and its attempt.
#[derive(PartialEq, Eq, Hash)]
struct Identity {
    saga: Uuid,
    step: String,
    verb: Verb,
    epoch: i32,
    attempt: i32,
}

impl Identity {
    fn of(command: &Command) -> Self {
        Self {
            saga: command.saga,
            step: command.step.clone(),
            verb: command.verb,
            epoch: command.epoch,
            attempt: command.attempt,
        }
    }
}

/// Same name and same content; the trace may differ.
fn repeats(a: &Command, b: &Command) -> bool {
    a.protocol == b.protocol && a.action == b.action && a.input == b.input && a.needs == b.needs
}

#[cfg(test)]
mod tests;
