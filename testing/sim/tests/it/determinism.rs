//! The same seed is the same run.

use skald_sim::{Options, run};

#[test]
fn a_seed_is_a_run() {
    for seed in [1, 2, 3] {
        let options = Options { seed, sagas: 20, trace: true, ..Options::default() };
        let (one, two) = (run(&options), run(&options));
        assert_eq!(one.fingerprint, two.fingerprint, "seed {seed}");
        assert!(one.trace == two.trace, "seed {seed}: the traces differ");
        assert_eq!(one.tally, two.tally, "seed {seed}");
    }
}

#[test]
fn another_seed_is_another_run() {
    let print = |seed| run(&Options { seed, sagas: 20, ..Options::default() }).fingerprint;
    assert_ne!(print(1), print(2));
}
