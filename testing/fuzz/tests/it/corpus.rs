//! Good input, what was found to be wrong once, and what the fuzzer left behind.

use std::panic::catch_unwind;

use skald_fuzz::{TARGETS, Target, corpus, golden};

fn stands(target: &Target, what: &str, bytes: &[u8]) {
    let run = target.run;
    if catch_unwind(|| run(bytes)).is_err() {
        panic!("{}: {what} breaks a promise, see above", target.name);
    }
}

#[test]
fn every_target_stands_its_seeds_and_its_corpus() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{} has no seed", target.name);
        for (n, seed) in seeds.iter().enumerate() {
            stands(target, &format!("seed {n}"), seed);
        }
        let corpus =
            corpus::read(target).unwrap_or_else(|e| panic!("{}: {e}", corpus::file(target).display()));
        assert!(corpus.len() >= 100, "{}: {} inputs", target.name, corpus.len());
        for (n, bytes) in corpus.iter().enumerate() {
            stands(target, &format!("input {n} of its corpus"), bytes);
        }
    }
}

/// Cheap, and without a fuzzer.
#[test]
fn every_target_stands_seeds_that_were_cut_and_bent() {
    for target in TARGETS {
        for seed in (target.seeds)().iter().filter(|seed| seed.len() < 4000).step_by(7) {
            for at in (0..seed.len()).step_by(seed.len() / 100 + 1) {
                stands(target, "a cut seed", &seed[..at]);
                let mut bent = seed.clone();
                bent[at] ^= 1 << (at % 8);
                stands(target, "a bent seed", &bent);
            }
        }
    }
}

#[test]
fn corpora_are_small() {
    for target in TARGETS {
        let bytes = std::fs::metadata(corpus::file(target)).expect("it is there").len();
        assert!(bytes <= corpus::LARGEST as u64, "{}: {bytes} bytes", target.name);
    }
}

/// What all of this rests on: a state that is wrong is seen, however well it is decided from there.
#[test]
fn a_promise_that_is_broken_is_seen() {
    let golden = golden::golden();
    let mut stand =
        golden.stands.iter().find(|stand| stand.state.version == 1).expect("a saga that has begun").clone();
    let input = skald_core::input::decode(&stand.next.as_ref().expect("a row").input).expect("golden");
    let folds = |stand: &golden::Stand| catch_unwind(|| golden::fold(stand, stand.state.now, &input)).is_ok();
    assert!(folds(&stand));
    stand.state.steps.last_mut().expect("a step").set_status(skald_core::state::StepStatus::Undone);
    assert!(!folds(&stand), "a step that was undone and never entered");
}
