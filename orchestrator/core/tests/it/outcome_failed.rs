//! *Failed* is no verdict: it ends the attempt that waits, and nothing else.

use skald_core::input::{Answer, Failure, Verb};

use crate::{definitions::*, support::*};

#[test]
fn a_retryable_failure_backs_off_and_tries_again_with_the_same_command() {
    let failed = saga(&order()).started().after("1s").failed("reserve");
    failed.clone().expect(
        r#"
        reserve: Running e1 a1 Retry retry+1s438ms entered+0s gives_up+30m error(UNAVAILABLE: no luck +1s)
        wake +1s438ms
        "#,
    );
    let again = failed.until_due().fired();
    again.clone().expect(
        r#"
        reserve: Running e1 a2 Answer entered+0s gives_up+30m error(UNAVAILABLE: no luck +1s)
        send reserve RUN/1 attempt 2
        wake +30m
        "#,
    );
    again.failed("reserve").expect(
        r#"
        reserve: Running e1 a2 Retry retry+2s398ms entered+0s gives_up+30m error(UNAVAILABLE: no luck +1s438ms)
        wake +2s398ms
        "#,
    );
}

#[test]
fn before_the_pivot_attempts_only_space_it() {
    let mut saga = saga(&order()).started();
    for _ in 0..15 {
        saga = saga.failed("reserve").until_due().fired();
    }
    assert!(!saga.state.is_parked());
    // The gap has grown to the most that the policy allows, less up to a fifth.
    saga.failed("reserve").expect(
        r#"
        reserve: Running e1 a16 Retry retry+8m59s852ms entered+0s gives_up+30m error(UNAVAILABLE: no luck +8m4s447ms)
        wake +8m59s852ms
        "#,
    );
}

#[test]
fn the_participant_may_ask_for_more_time_but_not_for_ever() {
    let failed = |ms| {
        Answer::Failed(Failure {
            code: "BUSY".into(),
            message: "later".into(),
            retryable: true,
            retry_after_ms: ms,
        })
    };
    let begun = saga(&order()).started();
    begun.clone().run("reserve", failed(5_000)).expect(
        r#"
        reserve: Running e1 a1 Retry retry+5s entered+0s gives_up+30m error(BUSY: later +0s)
        wake +5s
        "#,
    );
    begun.clone().run("reserve", failed(1)).expect(
        r#"
        reserve: Running e1 a1 Retry retry+438ms entered+0s gives_up+30m error(BUSY: later +0s)
        wake +438ms
        "#,
    );
    begun.run("reserve", failed(u64::MAX)).expect(
        r#"
        reserve: Running e1 a1 Retry retry+10m entered+0s gives_up+30m error(BUSY: later +0s)
        wake +10m
        "#,
    );
}

#[test]
fn a_final_failure_parks_wherever_it_stands() {
    saga(&order()).started().failed_final("reserve").expect(
        r#"
        reserve: Running e1 a1 entered+0s gives_up+30m error(UNRESOLVED: no luck +0s) PARKED(UNRESOLVED: no luck)
        wake never
        "#,
    );
    let undoing = saga(&order()).started().cancelled().failed_final("reserve");
    undoing.expect(
        r#"
        reserve: Undoing e1 a1 entered+0s error(UNRESOLVED: no luck +0s) PARKED(UNRESOLVED: no luck)
        wake never
        "#,
    );
    saga(&pivot_first()).started().failed_final("pay").expect(
        r#"
        pay: Running e1 a1 entered+0s gives_up+30m error(UNRESOLVED: no luck +0s) PARKED(UNRESOLVED: no luck)
        wake never
        "#,
    );
    saga(&pivot_first()).started().succeeded("pay").failed_final("ship").expect(
        r#"
        ship: Running e1 a1 entered+0s error(UNRESOLVED: no luck +0s) PARKED(UNRESOLVED: no luck)
        wake +1h
        "#,
    );
}

#[test]
fn a_parked_step_s_deadlines_stop_and_the_other_branch_goes_on() {
    let parked = saga(&diamond()).started().succeeded("open").failed_final("left");
    parked.clone().after("25m").succeeded("right").expect(
        r#"
        right: Succeeded e1 entered+0s run=Succeeded result=RIGHT
        saga: Forward created+0s RIGHT
        wake never
        event Stage RIGHT
        "#,
    );
    // What it needs a person for is told until somebody comes; the other branch may still give up.
    parked.until_due().fired().expect(
        r#"
        open: Succeeded e1 entered+0s run=Succeeded
        left: Undoing e1 a1 Answer entered+0s
        right: Undoing e1 a1 Answer entered+0s
        saga: Compensating created+0s OPEN reason=EXPIRED
        send left UNDO/1 attempt 1
        send right UNDO/1 attempt 1
        wake never
        event Turned EXPIRED
        "#,
    );
}

#[test]
fn an_undo_parks_after_the_policy_s_attempts_and_is_then_retried_slowly() {
    let parked = saga(&no_pivot()).started().cancelled().failed_to_the_end("book");
    parked.clone().expect(
        r#"
        book: Undoing e1 a2 Retry retry+1m964ms entered+0s error(UNAVAILABLE: no luck +964ms) PARKED(UNAVAILABLE: no luck (2 attempts, now every 60 s))
        wake +1m964ms
        "#,
    );
    let again = parked.until_due().fired();
    again.clone().expect(
        r#"
        book: Undoing e1 a3 Answer entered+0s error(UNAVAILABLE: no luck +964ms) PARKED(UNAVAILABLE: no luck (2 attempts, now every 60 s))
        send book UNDO/1 attempt 3
        wake never
        "#,
    );
    let failed = again.failed("book");
    failed.clone().expect(
        r#"
        book: Undoing e1 a3 Retry retry+2m964ms entered+0s error(UNAVAILABLE: no luck +1m964ms) PARKED(UNAVAILABLE: no luck (3 attempts, now every 60 s))
        wake +2m964ms
        "#,
    );
    failed.until_due().fired().undone("book").expect(
        r#"
        book: Undone e1 entered+0s undo=Undone
        saga: Compensated created+0s reason=CUSTOMER
        wake never
        event Compensated CUSTOMER
        "#,
    );
}

#[test]
fn so_does_a_step_after_the_pivot() {
    let parked = saga(&pivot_first()).started().succeeded("pay").failed_to_the_end("ship");
    parked.clone().expect(
        r#"
        ship: Running e1 a2 Retry retry+1m880ms entered+0s error(UNAVAILABLE: no luck +880ms) PARKED(UNAVAILABLE: no luck (2 attempts, now every 60 s))
        wake +1m880ms
        "#,
    );
    parked.until_due().fired().succeeded("ship").expect(
        r#"
        pay: Succeeded e1 entered+0s run=Succeeded
        ship: Succeeded e1 entered+0s run=Succeeded
        wake +1h
        "#,
    );
}

#[test]
fn a_final_failure_while_retried_slowly_ends_the_retries() {
    let parked = saga(&no_pivot()).started().cancelled().failed_to_the_end("book").until_due().fired();
    parked.failed_final("book").expect(
        r#"
        book: Undoing e1 a3 entered+0s error(UNRESOLVED: no luck +1m964ms) PARKED(UNRESOLVED: no luck)
        wake never
        "#,
    );
}

#[test]
fn it_counts_only_for_the_attempt_that_waits() {
    let failure = || Some(failed("UNAVAILABLE", true));
    let waiting = saga(&order()).started().failed("reserve");
    // A repeat, during the back-off and after it.
    waiting
        .clone()
        .outcome("reserve", Verb::Run, 1, 1, failure())
        .expect("refused, Stale: it is about an attempt that is over");
    let second = waiting.until_due().fired();
    second
        .clone()
        .outcome("reserve", Verb::Run, 1, 1, failure())
        .expect("refused, Stale: it is about an attempt that is over");
    second
        .clone()
        .outcome("reserve", Verb::Run, 1, 3, failure())
        .expect("refused, Stale: it is about an attempt that is over");
    // Another verb than the present one.
    second
        .clone()
        .outcome("reserve", Verb::Undo, 1, 2, failure())
        .expect("refused, Stale: it is about an attempt that is over");
    second
        .clone()
        .outcome("reserve", Verb::SealRun, 1, 2, failure())
        .expect("refused, Stale: it is about an attempt that is over");
    let undoing = second.clone().cancelled();
    undoing
        .outcome("reserve", Verb::Run, 1, 2, failure())
        .expect("refused, Stale: it is about an attempt that is over");
    // A step that waits no longer: it never contradicts.
    let done = second.clone().succeeded("reserve");
    done.outcome("reserve", Verb::Run, 1, 2, Some(failed("UNRESOLVED", false)))
        .expect("refused, Stale: it is about an attempt that is over");
    let parked = second.outcome("reserve", Verb::Run, 1, 2, Some(failed("UNRESOLVED", false)));
    parked
        .outcome("reserve", Verb::Run, 1, 2, Some(failed("UNRESOLVED", false)))
        .expect("refused, Stale: it is about an attempt that is over");
}

#[test]
fn it_never_re_opens_a_saga() {
    let ended = saga(&order()).started().cancelled().undone("reserve");
    let last = Some(failed("UNRESOLVED", false));
    ended
        .clone()
        .outcome("reserve", Verb::Undo, 1, 1, last.clone())
        .expect("refused, Stale: it is about an attempt that is over");
    ended
        .outcome("reserve", Verb::Run, 1, 1, last)
        .expect("refused, Stale: it is about an attempt that is over");
}
