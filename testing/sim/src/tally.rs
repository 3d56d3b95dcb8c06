//! What a run exercised: a counter for each fault, each transition of a step, each refusal. A counter that stays at zero says that
//! something was not tested.

use std::collections::BTreeMap;

/// Counters by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<String, u64>);

impl Tally {
    /// Counts one more.
    pub fn add(&mut self, name: &str) {
        self.many(name, 1);
    }

    /// Counts so many more.
    pub fn many(&mut self, name: &str, n: u64) {
        match self.0.get_mut(name) {
            Some(count) => *count += n,
            None => {
                self.0.insert(name.to_owned(), n);
            }
        }
    }

    /// A fault happened.
    pub(crate) fn fault(&mut self, fault: crate::faults::Fault) {
        self.add(fault.counter());
    }

    /// How often.
    #[must_use]
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Adds another run's.
    pub fn merge(&mut self, other: &Tally) {
        for (name, n) in &other.0 {
            self.many(name, *n);
        }
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, n)| (name.as_str(), *n))
    }
}
