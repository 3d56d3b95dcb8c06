//! Each planted bug is found within so many seeds: a simulation that finds nothing proves nothing.

use std::sync::atomic::{AtomicUsize, Ordering};

use skald_sim::{Options, planted, run};

const SAGAS: usize = 40;

/// A bug, the numbered test of the design's section 10 that it breaks (0: another rule), what it is, and within how many seeds it must be
/// found.
type Bug = (&'static str, u8, &'static str, u64);

const BUGS: &[Bug] = &[
    // the core
    ("epoch_ignored", 7, "an answer of an earlier epoch counts", 400),
    ("turn_forgets_what_runs", 0, "what may have happened is not undone", 20),
    ("undo_in_any_order", 0, "a step is undone before what came after it", 20),
    ("pivot_is_not_sealed", 5, "the pivot gives up without asking whether it happened", 2_000),
    ("deadlines_fire_while_paused", 0, "a pause stops no deadline", 200),
    ("retries_are_forgotten", 0, "a back-off never ends", 20),
    ("cancel_calls_the_pivot_back", 0, "a cancellation after the pivot's command", 200),
    ("skip_needs_no_fence", 6, "a skip asserts a fact without a SEAL", 400),
    ("resume_resumes_nothing", 0, "a paused saga stays so", 200),
    ("digest_over_received_bytes", 0, "the digest is over what came, not over what followed", 5),
    // the participants
    ("a_no_is_not_stored", 7, "a business no is decided again", 100),
    ("too_old_is_run", 0, "what is no longer remembered is run again", 100),
    ("unknown_action_is_a_no", 0, "an older binary rejects what it does not know", 100),
    ("run_ignores_the_seal", 6, "a RUN after its tombstone", 60),
    ("undo_ignores_the_fence", 6, "an UNDO after its fence", 2_000),
    ("undo_seals_nothing", 1, "an UNDO leaves no tombstone", 60),
    ("seal_seals_nothing", 5, "a SEAL leaves no tombstone", 200),
    ("one_wave_for_all", 2, "two commands of a saga in one wave", 60),
    ("a_new_key_after_silence", 8, "another gateway key while nobody knows", 100),
    ("never_searches", 9, "a call whose answer was lost is not searched for", 2_000),
    // what executes
    ("lookup_decides", 1, "the look-up decides, not the insert", 100),
    ("stock_not_locked", 0, "counters are read without their lock", 60),
    ("undo_waits_for_nothing", 8, "an undo settles before its action has", 400),
    ("a_late_call_ends_the_sleep", 8, "who thaws forgets what another one found out", 2_000),
    ("deadline_not_checked", 9, "a key is used that the gateway has forgotten", 2_000),
    ("key_not_claimed", 0, "an idempotency key is not claimed", 20),
    ("sends_after_unknown", 0, "commands of a commit that nobody knows of", 60),
    ("budget_ignored", 3, "silence gets a stampede", 100),
    ("silence_is_a_failure", 3, "who does not answer has failed", 20),
    ("cut_off_is_a_failure", 4, "who can't be reached has failed", 60),
    ("watermark_off_by_one", 0, "an unfinished offset is passed over", 20),
];

#[test]
fn each_of_the_designs_tests_one_to_nine_has_a_planted_bug() {
    for test in 1..=9 {
        assert!(BUGS.iter().any(|(_, breaks, ..)| *breaks == test), "no bug breaks the design's test {test}");
    }
}

/// How many seeds it took; None: it was not found.
fn found_after(bug: &str, most: u64) -> Option<u64> {
    planted::set(bug);
    let found = (1..=most).find(|seed| {
        let options = Options { seed: *seed, sagas: SAGAS, ..Options::default() };
        // Some bugs break the core's own invariants, which debug builds check at once.
        let broke = std::panic::catch_unwind(|| !run(&options).violations.is_empty());
        broke.unwrap_or(true)
    });
    planted::set("");
    found
}

/// `SKALD_PLANTED=name` looks for one alone.
#[test]
fn each_planted_bug_is_found() {
    let next = AtomicUsize::new(0);
    let only = std::env::var("SKALD_PLANTED").ok();
    let work = || {
        let mut missed = Vec::new();
        while let Some((bug, _, breaks, most)) = BUGS.get(next.fetch_add(1, Ordering::Relaxed)) {
            if only.as_ref().is_some_and(|only| only != bug) {
                continue;
            }
            match found_after(bug, *most) {
                Some(seed) => eprintln!("{bug} ({breaks}): found at seed {seed} of {most}"),
                None => missed.push(format!("{bug} ({breaks}): not found in {most} seeds")),
            }
        }
        missed
    };
    let missed: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(missed.is_empty(), "{missed:#?}");
}
