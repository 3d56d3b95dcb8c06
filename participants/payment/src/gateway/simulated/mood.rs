//! How the simulated gateway misbehaves. No randomness: of a thousand calls exactly so many lose their answer, evenly spread.

use std::time::Duration;

/// What is wrong with the gateway just now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mood {
    /// Added to each call.
    pub latency: Duration,
    /// Every call fails before it does anything.
    pub outage: bool,
    /// Out of 1,000 calls, how many do their work and then lose the answer.
    pub lost_answers_per_mille: u32,
}

/// What the mood means for one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) latency: Duration,
    pub(super) outage: bool,
    pub(super) lose_answer: bool,
}

/// A mood that counts the calls.
#[derive(Clone, Debug)]
pub(super) struct Current {
    mood: Mood,
    owed: u32,
}

impl Current {
    pub(super) fn new(mood: Mood) -> Self {
        Self { mood, owed: 0 }
    }

    /// The fate of the next call.
    pub(super) fn next(&mut self) -> Fate {
        self.owed += self.mood.lost_answers_per_mille.min(1_000);
        let lose_answer = self.owed >= 1_000;
        if lose_answer {
            self.owed -= 1_000;
        }
        Fate { latency: self.mood.latency, outage: self.mood.outage, lose_answer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_so_many_of_a_thousand_are_lost() {
        for per_mille in [0, 1, 7, 250, 999, 1_000] {
            let mood = Mood { lost_answers_per_mille: per_mille, ..Mood::default() };
            let mut current = Current::new(mood);
            let lost = (0..1_000).filter(|_| current.next().lose_answer).count();
            assert_eq!(lost, per_mille as usize);
        }
    }
}
