//! Each planted bug is found within so many seeds: a simulation that finds nothing proves nothing.

use std::sync::atomic::{AtomicUsize, Ordering};

use skald_sim::{Options, planted, run};

const SAGAS: usize = 40;

/// The bug, what it breaks in the design, and within how many seeds it must be found.
const BUGS: &[(&str, &str, u64)] = &[
    // the core
    ("epoch_ignored", "an answer of an earlier epoch counts", 400),
    ("turn_forgets_what_runs", "what may have happened is not undone", 20),
    ("pivot_is_not_sealed", "the pivot gives up without asking whether it happened", 60),
    ("deadlines_fire_while_paused", "a pause stops no deadline", 200),
    ("retries_are_forgotten", "a back-off never ends", 20),
    ("cancel_calls_the_pivot_back", "a cancellation after the pivot's command", 200),
    ("skip_needs_no_fence", "a skip asserts a fact without a SEAL", 400),
    ("resume_resumes_nothing", "a paused saga stays so", 200),
    ("digest_over_received_bytes", "the digest is over what came, not over what followed", 5),
    // the participants
    ("a_no_is_not_stored", "a business no is decided again", 100),
    ("too_old_is_run", "what is no longer remembered is run again", 100),
    ("unknown_action_is_a_no", "an older binary rejects what it does not know", 100),
    ("run_ignores_the_seal", "a RUN after its tombstone", 60),
    ("undo_ignores_the_fence", "an UNDO after its fence", 2_000),
    ("undo_seals_nothing", "an UNDO leaves no tombstone", 60),
    ("seal_seals_nothing", "a SEAL leaves no tombstone", 200),
    ("one_wave_for_all", "two commands of a saga in one wave", 60),
    ("a_new_key_after_silence", "another gateway key while nobody knows", 100),
    // what executes
    ("lookup_decides", "the look-up decides, not the insert", 100),
    ("stock_not_locked", "counters are read without their lock", 60),
    ("undo_waits_for_nothing", "an undo settles before its action has", 400),
    ("deadline_not_checked", "a key is used that the gateway has forgotten", 2_000),
    ("key_not_claimed", "an idempotency key is not claimed", 20),
    ("sends_after_unknown", "commands of a commit that nobody knows of", 60),
    ("budget_ignored", "silence gets a stampede", 100),
    ("watermark_off_by_one", "an unfinished offset is passed over", 20),
];

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
        while let Some((bug, breaks, most)) = BUGS.get(next.fetch_add(1, Ordering::Relaxed)) {
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
