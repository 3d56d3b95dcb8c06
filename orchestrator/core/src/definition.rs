//! The named, versioned graph of steps that a saga follows: data, immutable, addressed by the SHA-256
//! of its canonical encoding. Read from a TOML file ([`file`]), checked when loaded ([`check`]).

mod check;
mod file;

pub use check::Broken;
pub use file::{Error, parse};

use prost::Message;
use sha2::{Digest, Sha256};

/// A saga may not live longer than this many days: seven below the participants' horizon of 45.
pub const MAX_AGE_DAYS: u64 = 38;

/// One definition, all defaults resolved.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Definition {
    /// 1 to 64 characters of `[a-z0-9_-]`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Rises with each change; for people, the hash is what counts.
    #[prost(uint32, tag = "2")]
    pub version: u32,
    /// Full name of the input's message type.
    #[prost(string, tag = "3")]
    pub input: String,
    /// What customers see, in order.
    #[prost(string, repeated, tag = "4")]
    pub stages: Vec<String>,
    /// ms; then it compensates, after the pivot it parks.
    #[prost(uint64, tag = "5")]
    pub max_age_ms: u64,
    /// Each after those that it comes `after`.
    #[prost(message, repeated, tag = "6")]
    pub steps: Vec<Step>,
    /// Rejection codes and the reasons that they become, by code.
    #[prost(message, repeated, tag = "7")]
    pub reasons: Vec<Reason>,
}

/// One node of the graph: an action at a participant, or a signal that is waited for.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Step {
    /// 1 to 64 characters of `[a-z0-9_-]`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Empty for a signal step.
    #[prost(string, tag = "2")]
    pub participant: String,
    /// Empty for a signal step.
    #[prost(string, tag = "3")]
    pub action: String,
    /// Empty = none.
    #[prost(string, tag = "4")]
    pub undo: String,
    /// The action changes nothing that would have to be undone.
    #[prost(bool, tag = "5")]
    pub no_effect: bool,
    /// After it the saga only goes forward.
    #[prost(bool, tag = "6")]
    pub pivot: bool,
    /// Indices of the steps that must be done before.
    #[prost(uint32, repeated, tag = "7")]
    pub after: Vec<u32>,
    /// Indices of the steps whose results the commands carry.
    #[prost(uint32, repeated, tag = "8")]
    pub needs: Vec<u32>,
    /// Index from 1 into the stages; 0 = none.
    #[prost(uint32, tag = "9")]
    pub stage: u32,
    /// ms from entering it until it gives up; 0 = never.
    #[prost(uint64, tag = "10")]
    pub give_up_ms: u64,
    /// What the reason is then.
    #[prost(string, tag = "11")]
    pub give_up_reason: String,
    /// A business no parks instead of compensating.
    #[prost(bool, tag = "12")]
    pub park_on_reject: bool,
    /// How failures are spaced.
    #[prost(message, required, tag = "13")]
    pub retry: Retry,
}

/// How failures are spaced.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Retry {
    /// ms after the first failure.
    #[prost(uint64, tag = "1")]
    pub first_ms: u64,
    /// Growth per attempt in percent; 200 doubles.
    #[prost(uint32, tag = "2")]
    pub factor_percent: u32,
    /// ms at most.
    #[prost(uint64, tag = "3")]
    pub max_ms: u64,
    /// After so many an undo, or a step after the pivot, parks; before the pivot they only space it.
    #[prost(uint32, tag = "4")]
    pub attempts: u32,
    /// ms between attempts while parked so.
    #[prost(uint64, tag = "5")]
    pub slow_ms: u64,
}

/// What a rejection code becomes.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Reason {
    /// As the participant says it.
    #[prost(string, tag = "1")]
    pub code: String,
    /// As customers see it.
    #[prost(string, tag = "2")]
    pub reason: String,
}

impl Definition {
    /// The order saga that ships in the binary.
    pub fn order() -> Definition {
        parse(include_str!("../definitions/order.toml")).expect("the definition that ships is sound")
    }

    /// Every rule that it breaks; none for one that was loaded from a file.
    pub fn check(&self) -> Vec<Broken> {
        check::check(self)
    }

    /// What addresses it: SHA-256 of the canonical encoding.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.encode_to_vec()).into()
    }

    /// The index of a step.
    pub fn index(&self, step: &str) -> Option<usize> {
        self.steps.iter().position(|s| s.name == step)
    }

    /// The index of the pivot.
    pub fn pivot(&self) -> Option<usize> {
        self.steps.iter().position(|s| s.pivot)
    }

    /// What a rejection code becomes: itself, when the definition says nothing.
    pub fn reason<'a>(&'a self, code: &'a str) -> &'a str {
        self.reasons.iter().find(|r| r.code == code).map_or(code, |r| &r.reason)
    }

    /// Step `i` can only be reached when step `of` is done: `of` is its ancestor.
    pub fn is_ancestor(&self, of: usize, i: usize) -> bool {
        let bits = |j: usize| self.steps[j].after.iter().fold(0u64, |bits, &p| bits | 1 << p);
        // Steps stand after those that they come after, so one walk down reaches every ancestor.
        let reach =
            (0..i).rev().fold(bits(i), |reach, j| if reach >> j & 1 == 1 { reach | bits(j) } else { reach });
        reach >> of & 1 == 1
    }

    /// Step `i` comes after the pivot.
    pub fn after_pivot(&self, i: usize) -> bool {
        self.pivot().is_some_and(|p| self.is_ancestor(p, i))
    }
}

impl Step {
    /// It waits for a person or system instead of commanding a participant.
    pub fn is_signal(&self) -> bool {
        self.participant.is_empty()
    }

    /// It has something that compensation must undo.
    pub fn has_undo(&self) -> bool {
        !self.undo.is_empty()
    }
}
