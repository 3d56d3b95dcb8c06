//! The pivot gave up: SEAL asks whether it happened, for as long as it takes.

use skald_core::input::Verb;

use crate::{definitions::*, support::*};

/// The pivot was sent and nobody answered until it gave up.
fn sealing() -> Saga {
    saga(&stubborn()).started().succeeded("hold").until_due().fired()
}

fn sealing_the_order() -> Saga {
    let signals = [("pay", "p1"), ("fulfil", "f1")];
    saga(&order()).started_with(&signals).succeeded("reserve").succeeded("charge").until_due().fired()
}

#[test]
fn the_pivot_s_give_up_asks() {
    sealing().expect(
        r#"
        take: Sealing e1 a1 Answer entered+0s
        send take SEAL_RUN/1 attempt 1
        wake never
        "#,
    );
    sealing_the_order().expect(
        r#"
        commit: Sealing e1 a1 Answer entered+0s
        send commit SEAL_RUN/1 attempt 1
        wake never
        "#,
    );
}

#[test]
fn succeeded_goes_forward() {
    sealing_the_order().answer("commit", Verb::SealRun, succeeded("commit")).expect(
        r#"
        reserve: Succeeded e1 entered+0s run=Succeeded
        commit: Succeeded e1 entered+0s run=Succeeded
        saga: Completed created+0s COMPLETED
        wake never
        event Stage COMPLETED
        event Completed
        "#,
    );
    // The answer to RUN may arrive first.
    sealing_the_order().succeeded("commit").expect(
        r#"
        reserve: Succeeded e1 entered+0s run=Succeeded
        commit: Succeeded e1 entered+0s run=Succeeded
        saga: Completed created+0s COMPLETED
        wake never
        event Stage COMPLETED
        event Completed
        "#,
    );
    saga(&pivot_first()).started().until_due().fired().answer("pay", Verb::SealRun, succeeded("pay")).expect(
        r#"
            pay: Succeeded e1 entered+0s run=Succeeded result=PAY
            ship: Running e1 a1 Answer entered+30m
            pickup: AwaitingSignal e1 entered+30m gives_up+1h30m
            rate: AwaitingSignal e1 entered+30m gives_up+1h30m
            saga: Forward created+0s PAID
            send ship RUN/1 attempt 1
            wake +1h30m
            event Stage PAID
            "#,
    );
}

#[test]
fn sealed_turns_round_with_the_deadline_s_reason() {
    sealing_the_order().sealed("commit").expect(
        r#"
        reserve: Succeeded e1 entered+0s run=Succeeded
        charge: Undoing e1 a1 Answer entered+0s run=Succeeded
        commit: Sealed e1 entered+0s run=Sealed
        saga: Compensating created+0s FULFILLED reason=EXPIRED
        send charge UNDO/1 attempt 1
        wake never
        event Turned EXPIRED
        "#,
    );
    // By a RUN that met the seal.
    sealing_the_order().run("commit", sealed()).expect(
        r#"
        reserve: Succeeded e1 entered+0s run=Succeeded
        charge: Undoing e1 a1 Answer entered+0s run=Succeeded
        commit: Sealed e1 entered+0s run=Sealed
        saga: Compensating created+0s FULFILLED reason=EXPIRED
        send charge UNDO/1 attempt 1
        wake never
        event Turned EXPIRED
        "#,
    );
    saga(&pivot_first()).started().until_due().fired().sealed("pay").expect(
        r#"
        pay: Sealed e1 entered+0s run=Sealed
        saga: Compensated created+0s reason=EXPIRED
        wake never
        event Turned EXPIRED
        event Compensated EXPIRED
        "#,
    );
}

#[test]
fn rejected_turns_round_with_its_own_reason() {
    sealing_the_order().answer("commit", Verb::SealRun, rejected("GONE")).expect(
        r#"
        reserve: Succeeded e1 entered+0s run=Succeeded
        charge: Undoing e1 a1 Answer entered+0s run=Succeeded
        commit: Rejected e1 entered+0s run=Rejected
        saga: Compensating created+0s FULFILLED reason=GONE detail=why
        send charge UNDO/1 attempt 1
        wake never
        event Turned GONE why
        "#,
    );
    sealing_the_order().rejected("commit", "GONE").expect(
        r#"
        reserve: Succeeded e1 entered+0s run=Succeeded
        charge: Undoing e1 a1 Answer entered+0s run=Succeeded
        commit: Rejected e1 entered+0s run=Rejected
        saga: Compensating created+0s FULFILLED reason=GONE detail=why
        send charge UNDO/1 attempt 1
        wake never
        event Turned GONE why
        "#,
    );
}

#[test]
fn rejected_after_giving_up_turns_round_even_where_a_no_parks() {
    sealing().answer("take", Verb::SealRun, rejected("NO")).expect(
        r#"
        hold: Undoing e1 a1 Answer entered+0s run=Succeeded
        take: Rejected e1 entered+0s run=Rejected
        saga: Compensating created+0s reason=NO detail=why
        send hold UNDO/1 attempt 1
        wake never
        event Turned NO why
        "#,
    );
}

#[test]
fn it_never_gives_up_and_never_parks_on_retryable_failures() {
    let mut saga = sealing();
    for _ in 0..30 {
        saga = saga.failed("take");
        assert!(!saga.state.is_parked());
        saga = saga.until_due().fired();
    }
    assert_eq!(saga.step("take").attempt, 31);
    // Not even when the saga is too old, and no other deadline fires.
    saga.after("30d").fired().expect("refused, NotDue: nothing is due");
}

#[test]
fn a_final_failure_parks_and_a_verdict_still_counts() {
    let parked = sealing().failed_final("take");
    parked.clone().expect(
        r#"
        take: Sealing e1 a1 entered+0s error(UNRESOLVED: no luck +10m) PARKED(UNRESOLVED: no luck)
        wake never
        "#,
    );
    parked.clone().sealed("take").expect(
        r#"
        hold: Undoing e1 a1 Answer entered+0s run=Succeeded
        take: Sealed e1 entered+0s run=Sealed
        saga: Compensating created+0s reason=EXPIRED
        send hold UNDO/1 attempt 1
        wake never
        event Turned EXPIRED
        "#,
    );
    parked.succeeded("take").expect(
        r#"
        hold: Succeeded e1 entered+0s run=Succeeded
        take: Succeeded e1 entered+0s run=Succeeded
        saga: Completed created+0s
        wake never
        event Completed
        "#,
    );
}

#[test]
fn failures_of_the_run_before_it_are_stale() {
    let saga = sealing();
    saga.outcome("take", Verb::Run, 1, 1, Some(failed("UNAVAILABLE", true)))
        .expect("refused, Stale: it is about an attempt that is over");
}

#[test]
fn a_repeat_changes_nothing() {
    sealing().sealed("take").sealed("take").expect("refused, Repeat: it was taken before");
    sealing().sealed("take").run("take", sealed()).expect("refused, Repeat: it was taken before");
    sealing_the_order()
        .succeeded("commit")
        .answer("commit", Verb::SealRun, succeeded("commit"))
        .expect("refused, Repeat: it was taken before");
}

#[test]
fn it_can_t_be_called_back() {
    sealing().cancelled().expect(
        "refused, NotAllowed: not possible now: the step of no return was decided and can't be called back",
    );
}
