//! Bad input: every door that bytes come in by, as a function that takes bytes and panics when a promise about bad input is
//! broken. The fuzzer (`./dev fuzz`) calls them with what it makes up, the tests with the corpus that it left behind.
//!
//! One room per door. A new one stands in [`TARGETS`] and gets a file in `corpus/` when it is fuzzed first; nothing else names it.

mod archive;
mod command;
mod config;
pub mod corpus;
mod definition;
pub mod golden;
mod history;
mod outcome;
mod state;

/// A door.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// As `./dev fuzz` names it, and its file in `corpus/`.
    pub name: &'static str,
    /// What comes in by it.
    pub about: &'static str,
    /// Takes bytes; panics when what is promised of them does not hold.
    pub run: fn(&[u8]),
    /// Good input to begin with, and what was found to be wrong once.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words that the format knows, for the fuzzer.
    pub words: &'static [&'static str],
}

/// Every door.
pub const TARGETS: &[Target] = &[
    outcome::TARGET,
    command::TARGET,
    history::TARGET,
    state::TARGET,
    archive::TARGET,
    definition::TARGET,
    config::TARGET,
];

/// The target with this name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
