//! Random choices and random sound definitions. A case is a string of bytes; when they run out, every choice is
//! the first, which is the calm one. So a failing case shrinks to the few bytes that matter.

use std::sync::Arc;

use proptest::{
    prelude::any,
    test_runner::{Config, TestCaseResult, TestRunner},
};
use skald_core::{
    Definition,
    definition::{Reason, Retry, Step},
};

/// `SKALD_BUDGET=full` runs ten times the cases of `ci`, the default.
pub(crate) fn cases(ci: u32) -> u32 {
    if std::env::var("SKALD_BUDGET").is_ok_and(|budget| budget == "full") { ci * 10 } else { ci }
}

/// Runs a property over strings of choices; a failure prints the shortest that fails.
pub(crate) fn check(ci: u32, length: usize, property: impl Fn(&mut Choices)) {
    let config = Config { cases: cases(ci), failure_persistence: None, ..Config::default() };
    let bytes = proptest::collection::vec(any::<u8>(), 0..length);
    let result = TestRunner::new(config).run(&bytes, |bytes| -> TestCaseResult {
        property(&mut Choices { bytes: &bytes, at: 0 });
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

pub(crate) struct Choices<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Choices<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Choices<'a> {
        Choices { bytes, at: 0 }
    }

    /// One of 0 .. n.
    pub(crate) fn next(&mut self, n: usize) -> usize {
        self.at += 1;
        self.bytes.get(self.at - 1).map_or(0, |&byte| usize::from(byte) % n)
    }

    /// True one time in `n`, and never when the choices ran out.
    pub(crate) fn rarely(&mut self, n: usize) -> bool {
        self.next(n) == n - 1
    }

    pub(crate) fn over(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.next(from.len())]
    }
}

const MINUTE: u64 = 60_000;

/// A sound definition: a chain, a diamond or any graph, with or without a pivot, which comes first, last or in
/// between.
pub(crate) fn definition(c: &mut Choices) -> Arc<Definition> {
    let (before, pivot, behind) = (c.next(6), !c.rarely(4), c.next(4));
    let before = if pivot { before } else { before + 1 };
    let mut definition = Definition {
        name: "random".into(),
        version: 1,
        stages: vec!["ONE".into(), "TWO".into(), "THREE".into()],
        max_age_ms: c.pick(&[1440, 60, 20]) * MINUTE,
        reasons: vec![Reason { code: "NO".into(), reason: "REJECTED".into() }],
        ..Definition::default()
    };
    let shape = c.next(3);
    for i in 0..before {
        let mut step = step(c, i);
        step.after = after_before(c, shape, i, before);
        match c.next(4) {
            0 | 1 => step.undo = "undo".into(),
            2 => signal(&mut step),
            _ => step.no_effect = true,
        }
        definition.steps.push(step);
    }
    if pivot {
        let is_end = |&i: &u32| !definition.steps.iter().any(|step| step.after.contains(&i));
        let after = (0..before as u32).filter(is_end).collect();
        definition.steps.push(Step { pivot: true, after, ..step(c, before) });
        for i in before + 1..=before + behind {
            let mut step = step(c, i);
            step.after = subset(c, before as u32..i as u32, before as u32);
            if c.rarely(3) {
                signal(&mut step);
            } else {
                (step.give_up_ms, step.park_on_reject) = (0, true);
            }
            definition.steps.push(step);
        }
    }
    for i in 0..definition.steps.len() {
        definition.steps[i].needs = (0..i)
            .filter(|&of| definition.is_ancestor(of, i) && c.next(2) == 0)
            .map(|of| of as u32)
            .collect();
    }
    let broken = definition.check();
    assert!(broken.is_empty(), "the generator made a broken definition: {broken:?}");
    Arc::new(definition)
}

fn step(c: &mut Choices, i: usize) -> Step {
    Step {
        name: format!("s{i}"),
        participant: "p".into(),
        action: "run".into(),
        stage: c.next(4) as u32,
        give_up_ms: c.pick(&[10, 1, 20]) * MINUTE,
        give_up_reason: "EXPIRED".into(),
        park_on_reject: c.rarely(4),
        retry: Retry {
            first_ms: 1000,
            factor_percent: 200,
            max_ms: 10_000,
            attempts: c.pick(&[2, 1, 3]),
            slow_ms: MINUTE,
        },
        ..Step::default()
    }
}

fn signal(step: &mut Step) {
    (step.participant, step.action) = (String::new(), String::new());
}

/// Chain, diamond, anything.
fn after_before(c: &mut Choices, shape: usize, i: usize, of: usize) -> Vec<u32> {
    match (shape, i) {
        (_, 0) => vec![],
        (0, _) => vec![i as u32 - 1],
        (1, _) if i + 1 == of && i > 1 => (1..i as u32).collect(),
        (1, _) => vec![0],
        _ => {
            let mut after = subset(c, 0..i as u32, 0);
            if c.rarely(3) {
                after.clear();
            }
            after
        }
    }
}

/// One or two of a range.
fn subset(c: &mut Choices, range: std::ops::Range<u32>, least: u32) -> Vec<u32> {
    let n = range.len();
    let mut some = vec![least + c.next(n) as u32, least + c.next(n) as u32];
    some.sort_unstable();
    some.dedup();
    some
}
