//! What a long run must have exercised: every fault, every kind of input, every transition of a step, every refusal. A run in which one
//! of them never happened proves less than it seems.

use crate::{faults::ALL, tally::Tally};

/// From so many sagas on, everything must have happened.
const ENOUGH: u64 = 200_000;
/// From so many on, every fault and every kind of input.
const SOME: u64 = 4_000;

const INPUTS: [&str; 7] =
    ["STARTED", "OUTCOME", "DEADLINE_FIRED", "CANCEL_REQUESTED", "SIGNAL", "POSTPONED", "OPERATOR"];

const VERBS: [&str; 7] = ["RETRY", "SKIP", "RESOLVE", "COMPENSATE", "CANCEL", "PAUSE", "RESUME"];

const STEPS: [&str; 22] = [
    "AwaitingSignal -> Dropped",
    "AwaitingSignal -> Succeeded",
    "Fencing -> NothingToUndo",
    "Fencing -> Undone",
    "Rejected -> Running",
    "Rejected -> Succeeded",
    "Running -> Dropped",
    "Running -> Rejected",
    "Running -> Sealing",
    "Running -> Succeeded",
    "Running -> Undoing",
    "Sealing -> Rejected",
    "Sealing -> Sealed",
    "Sealing -> Succeeded",
    "Sealing -> Undoing",
    "Succeeded -> Undoing",
    "Undoing -> Fencing",
    "Undoing -> NothingToUndo",
    "Undoing -> Undone",
    "Waiting -> AwaitingSignal",
    "Waiting -> Running",
    "Waiting -> Succeeded",
];

const PARKED: [&str; 6] = ["AwaitingSignal", "Fencing", "Rejected", "Running", "Sealing", "Undoing"];

const REFUSED: [&str; 18] = [
    "it is about an attempt that is over",
    "it was taken before",
    "moved",
    "nothing is due",
    "not allowed: it is being undone already",
    "not allowed: it is complete",
    "not allowed: it is not paused",
    "not allowed: it is paused already",
    "not allowed: it was undone",
    "not allowed: its command is in flight, and is sent again by itself until it is answered",
    "not allowed: none of its steps waits to be tried again",
    "not allowed: the point of no return is behind it",
    "not allowed: the saga has not come to it",
    "not allowed: the saga is Compensated and waits for no signal",
    "not allowed: the saga itself is not parked",
    "not allowed: the signal was given before, the first one counts",
    "not allowed: the step of no return was decided and can't be called back",
    "not allowed: it is being asked already whether the step of no return happened",
];

const OTHER: [&str; 12] = [
    "client: key taken",
    "command: again",
    "dead letter: command",
    "dead letter: outcome",
    "haunted: after partitions were dropped",
    "haunted: at once",
    "old binary stops before a newer format",
    "operator: the first answer again",
    "orphan: swept",
    "payment: unresolved",
    "payment: settled by hand",
    "race: someone else was first",
];

/// The counters that stayed at zero in a run of so many sagas, though they should not have.
#[must_use]
pub fn missing(tally: &Tally, sagas: u64) -> Vec<String> {
    let mut wanted: Vec<String> = Vec::new();
    if sagas >= SOME {
        wanted.extend(ALL.iter().map(|fault| fault.counter().to_owned()));
        wanted.extend(INPUTS.iter().map(|&name| name.to_owned()));
        wanted.extend(VERBS.iter().map(|verb| format!("operator: {verb}")));
    }
    if sagas >= ENOUGH {
        wanted.extend(STEPS.iter().map(|step| format!("step: {step}")));
        wanted.extend(PARKED.iter().map(|step| format!("parked: {step}")));
        wanted.extend(REFUSED.iter().map(|why| format!("refused: {why}")));
        wanted.extend(OTHER.iter().map(|&name| name.to_owned()));
    }
    let counted = tally.by_name();
    wanted.retain(|name| !counted.contains_key(name));
    wanted
}
