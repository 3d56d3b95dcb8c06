//! The definitions that sagas follow: the order saga, its variant that parks on a no, and random valid ones.

use skald_core::{
    Definition,
    definition::{Reason, Retry, Step},
};

use crate::rng::Rng;

/// Who takes part in random definitions.
pub(crate) const PLAIN: [&str; 2] = ["p", "q"];

/// The order saga as it ships, or one that waits for a person when goods are missing.
pub(crate) fn order(parks: bool) -> Definition {
    let mut order = Definition::order();
    if parks {
        order.version += 1;
        order.steps[0].park_on_reject = true;
    }
    order
}

/// Any graph that a definition file may describe.
pub(crate) fn random(rng: &mut Rng) -> Definition {
    loop {
        let definition = draw(rng);
        if definition.check().is_empty() {
            return definition;
        }
    }
}

fn draw(rng: &mut Rng) -> Definition {
    let n = rng.below(5) + 1;
    let pivot = if rng.below(4) == 0 { n } else { rng.below(n) };
    let steps = (0..n).map(|i| step(rng, i, pivot)).collect();
    Definition {
        name: "random".into(),
        version: 1,
        input: "skald.order.v1.OrderInput".into(),
        stages: vec!["HALF".into(), "WHOLE".into()],
        max_age_ms: 38 * 24 * 3_600_000,
        steps,
        reasons: vec![Reason { code: "NO".into(), reason: "REFUSED".into() }],
    }
}

fn step(rng: &mut Rng, i: usize, pivot: usize) -> Step {
    let signal = i != pivot && rng.below(4) == 0;
    let undo = !signal && i < pivot && rng.below(5) > 0;
    // Before the pivot, and behind it, anything may run side by side; the pivot comes after everything before it.
    let after: Vec<u32> = if i == pivot {
        (0..i as u32).collect()
    } else if i > pivot {
        let mut after = vec![pivot as u32];
        after.extend((pivot as u32 + 1..i as u32).filter(|_| rng.below(2) == 0));
        after
    } else {
        (0..i as u32).filter(|_| rng.below(2) == 0).collect()
    };
    let needs = after.iter().copied().filter(|_| !signal && rng.below(3) == 0).collect();
    Step {
        name: format!("s{i}"),
        participant: if signal { String::new() } else { (*rng.pick(&PLAIN)).to_owned() },
        action: match (signal, undo) {
            (true, _) => String::new(),
            (_, true) => "do".into(),
            _ if i < pivot => "look".into(),
            _ => "go".into(),
        },
        undo: if undo { "undo".into() } else { String::new() },
        no_effect: !signal && !undo && i < pivot,
        pivot: i == pivot,
        after,
        needs,
        stage: rng.below(3) as u32 * u32::from(i > 0),
        give_up_ms: if i > pivot && !signal { 0 } else { 1_800_000 },
        give_up_reason: "EXPIRED".into(),
        park_on_reject: !signal && rng.below(4) == 0,
        retry: Retry { first_ms: 1_000, factor_percent: 200, max_ms: 60_000, attempts: 5, slow_ms: 300_000 },
    }
}
