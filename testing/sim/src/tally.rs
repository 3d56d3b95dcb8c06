//! What a run exercised: a counter for each fault, each transition of a step, each refusal. A counter that stays at zero says that
//! something was not tested. What is counted often is counted by number; names are made when somebody reads.

use std::collections::BTreeMap;

use skald_core::state::StepStatus;

use crate::faults::{self, Fault};

/// Numbers of step statuses.
const STATUSES: usize = 13;

/// Counters by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    faults: [u64; faults::ALL.len()],
    /// From one status to another.
    steps: [[u64; STATUSES]; STATUSES],
    names: Vec<(&'static str, u64)>,
    made: BTreeMap<String, u64>,
}

impl Default for Tally {
    fn default() -> Self {
        let steps = [[0; STATUSES]; STATUSES];
        Tally { faults: [0; faults::ALL.len()], steps, names: Vec::new(), made: BTreeMap::new() }
    }
}

impl Tally {
    /// Counts one more.
    pub(crate) fn add(&mut self, name: &'static str) {
        self.many(name, 1);
    }

    fn many(&mut self, name: &'static str, n: u64) {
        // The same text may stand at two places of the binary: then it has two counters, which are read as one.
        match self.names.iter_mut().find(|(known, _)| std::ptr::eq(*known, name)) {
            Some((_, count)) => *count += n,
            None => self.names.push((name, n)),
        }
    }

    /// Counts one more, under a name that was made.
    pub(crate) fn add_made(&mut self, name: String) {
        *self.made.entry(name).or_default() += 1;
    }

    /// A fault happened.
    pub(crate) fn fault(&mut self, fault: Fault) {
        self.faults[fault as usize] += 1;
    }

    /// A step went from one status to another.
    pub(crate) fn step(&mut self, was: StepStatus, now: StepStatus) {
        self.steps[was as usize][now as usize] += 1;
    }

    /// How often.
    #[must_use]
    pub fn get(&self, name: &str) -> u64 {
        self.by_name().get(name).copied().unwrap_or(0)
    }

    /// Adds another run's.
    pub fn merge(&mut self, other: &Tally) {
        let steps = self.steps.as_flattened_mut().iter_mut().zip(other.steps.as_flattened());
        let counts = self.faults.iter_mut().zip(&other.faults).chain(steps);
        counts.for_each(|(count, n)| *count += n);
        for (name, n) in &other.names {
            self.many(name, *n);
        }
        for (name, n) in &other.made {
            *self.made.entry(name.clone()).or_default() += n;
        }
    }

    /// All that happened, by name.
    #[must_use]
    pub fn by_name(&self) -> BTreeMap<String, u64> {
        let mut all = self.made.clone();
        let mut put = |name: String, n: u64| {
            if n > 0 {
                *all.entry(name).or_default() += n;
            }
        };
        for (fault, n) in faults::ALL.iter().zip(self.faults) {
            put(fault.counter().to_owned(), n);
        }
        for (name, n) in &self.names {
            put((*name).to_owned(), *n);
        }
        let status = |n: usize| StepStatus::try_from(n as i32).ok();
        for (was, row) in self.steps.iter().enumerate() {
            for (now, n) in row.iter().enumerate() {
                if let (Some(was), Some(now)) = (status(was), status(now)) {
                    put(format!("step: {was:?} -> {now:?}"), *n);
                }
            }
        }
        all
    }
}
