//! Makes a failing run shorter: fewer sagas, fewer kinds of faults. Each try is a run of its own that breaks the same promise.

use crate::{
    faults::ALL,
    oracle::Violation,
    world::{Options, run},
};

/// Tries at most.
const TRIES: usize = 300;
/// Seeds that are tried for a smaller number of sagas: another number is another run.
const SEEDS: u64 = 12;

/// The shortest run that was found.
#[derive(Clone, Debug)]
pub struct Short {
    /// What to run.
    pub options: Options,
    /// What it breaks.
    pub violation: Violation,
    /// How many events it has.
    pub events: u64,
}

/// Looks for a shorter run that breaks the same promise.
///
/// # Panics
/// The run does not break it.
#[must_use]
pub fn shrink(failing: &Options, promise: &str) -> Short {
    let mut tries = TRIES;
    let mut best = attempt(failing, promise, &mut tries).expect("it was seen to fail");
    for sagas in [1, 2, 4, 8, 16, 32] {
        if sagas >= best.options.sagas {
            break;
        }
        let seeds = std::iter::once(failing.seed).chain((1..SEEDS).map(|n| failing.seed * 1_000 + n));
        let found = seeds
            .into_iter()
            .find_map(|seed| attempt(&Options { seed, sagas, ..failing.clone() }, promise, &mut tries));
        if let Some(shorter) = found {
            best = shorter;
            break;
        }
    }
    for fault in ALL {
        let mut without = best.options.without.clone();
        without.push(fault);
        let fewer = Options { without, ..best.options.clone() };
        if let Some(simpler) = attempt(&fewer, promise, &mut tries) {
            best = simpler;
        }
    }
    best
}

fn attempt(options: &Options, promise: &str, tries: &mut usize) -> Option<Short> {
    *tries = tries.checked_sub(1)?;
    let report = run(options);
    let violation = report.violations.into_iter().find(|violation| violation.promise == promise)?;
    Some(Short { options: options.clone(), violation, events: report.events })
}
