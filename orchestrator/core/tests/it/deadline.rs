//! Time passed: late is allowed, early is not.

use crate::{definitions::*, support::*};

#[test]
fn nothing_is_due_before_its_time() {
    let begun = saga(&order()).started();
    begun.clone().fired().expect("refused, NotDue: nothing is due");
    begun.after("29m 59s 999ms").fired().expect("refused, NotDue: nothing is due");
    saga(&order())
        .started()
        .cancelled()
        .undone("reserve")
        .after("100d")
        .fired()
        .expect("refused, NotDue: nothing is due");
}

#[test]
fn a_step_before_the_pivot_gives_up_and_is_undone_too() {
    saga(&order()).started().after("30m").fired().expect(
        r#"
        reserve: Undoing e1 a1 Answer entered+0s
        saga: Compensating created+0s reason=EXPIRED
        send reserve UNDO/1 attempt 1
        wake never
        event Turned EXPIRED
        "#,
    );
    let charge = saga(&order()).started_with(&[("pay", "p1")]).succeeded("reserve");
    charge.after("30m").fired().expect(
        r#"
        reserve: Succeeded e1 entered+0s run=Succeeded
        pay: Succeeded e1 entered+0s signal=p1
        charge: Undoing e1 a1 Answer entered+0s
        saga: Compensating created+0s RESERVED reason=EXPIRED
        send charge UNDO/1 attempt 1
        wake never
        event Turned EXPIRED
        "#,
    );
}

#[test]
fn a_signal_before_the_pivot_gives_up() {
    let pay = saga(&order()).started().after("1s").succeeded("reserve");
    pay.after("30m").fired().expect(
        r#"
        reserve: Undoing e1 a1 Answer entered+0s run=Succeeded
        pay: Dropped e1 entered+1s
        saga: Compensating created+0s RESERVED reason=EXPIRED
        send reserve UNDO/1 attempt 1
        wake never
        event Turned EXPIRED
        "#,
    );
    let fulfil = saga(&order()).started_with(&[("pay", "p1")]).succeeded("reserve").succeeded("charge");
    fulfil.until_due().fired().expect(
        r#"
        reserve: Succeeded e1 entered+0s run=Succeeded
        charge: Undoing e1 a1 Answer entered+0s run=Succeeded
        fulfil: Dropped e1 entered+0s
        saga: Compensating created+0s PAID reason=EXPIRED
        send charge UNDO/1 attempt 1
        wake never
        event Turned EXPIRED
        "#,
    );
}

#[test]
fn it_fires_late_and_a_late_signal_still_counts_until_then() {
    let pay = saga(&order()).started().succeeded("reserve").after("31m");
    pay.clone().signal("pay", "p1").expect(
        r#"
        pay: Succeeded e1 entered+0s result=PAY signal=p1
        charge: Running e1 a1 Answer entered+31m gives_up+1h1m
        send charge RUN/1 attempt 1
        wake +1h1m
        "#,
    );
    pay.fired()
        .signal("pay", "p1")
        .expect("refused, NotAllowed: not possible now: the saga is Compensating and waits for no signal");
}

#[test]
fn a_failing_step_gives_up_during_its_back_off() {
    let mut saga = saga(&order()).started();
    while saga.now - T0 < 29 * 60_000 {
        saga = saga.failed("reserve").until_due().fired();
    }
    saga = saga.failed("reserve");
    saga.until_due().after("2m").fired().expect(
        r#"
        reserve: Undoing e1 a1 Answer entered+0s
        saga: Compensating created+0s reason=EXPIRED
        send reserve UNDO/1 attempt 1
        wake never
        event Turned EXPIRED
        "#,
    );
}

#[test]
fn the_pivot_s_give_up_seals_it() {
    let signals = [("pay", "p1"), ("fulfil", "f1")];
    let commit = saga(&order()).started_with(&signals).succeeded("reserve").succeeded("charge");
    commit.after("30m").fired().expect(
        r#"
        commit: Sealing e1 a1 Answer entered+0s
        send commit SEAL_RUN/1 attempt 1
        wake never
        "#,
    );
}

#[test]
fn while_the_pivot_is_in_flight_no_other_deadline_fires() {
    // `take` was sent a minute before the saga is too old; only its own ten minutes count.
    let take = saga(&stubborn()).started().after("29m").succeeded("hold");
    let due = take.clone().until_due();
    assert_eq!(due.now, T0 + 39 * 60_000);
    let take = saga(&stubborn()).started().failed_final("hold").after("59m").succeeded("hold");
    take.after("9m").fired().expect("refused, NotDue: nothing is due");
}

#[test]
fn one_branch_gives_up_for_all() {
    let open = saga(&diamond()).started().succeeded("open").after("10m").succeeded("left");
    open.until_due().fired().expect(
        r#"
        open: Succeeded e1 entered+0s run=Succeeded
        left: Undoing e1 a1 Answer entered+0s run=Succeeded
        right: Undoing e1 a1 Answer entered+0s
        saga: Compensating created+0s LEFT reason=EXPIRED
        send left UNDO/1 attempt 1
        send right UNDO/1 attempt 1
        wake never
        event Turned EXPIRED
        "#,
    );
}

#[test]
fn a_signal_after_the_pivot_parks_and_the_late_one_is_taken() {
    let parked = saga(&pivot_first()).started().succeeded("pay").succeeded("ship").signal("rate", "r1");
    let parked = parked.until_due().fired();
    parked.clone().expect(
        r#"
        pickup: AwaitingSignal e1 entered+0s gives_up+1h PARKED(NOT_PICKED_UP: no signal came in time)
        wake never
        "#,
    );
    parked.clone().after("3h").fired().expect("refused, NotDue: nothing is due");
    parked.signal("pickup", "s1").expect(
        r#"
        pickup: Succeeded e1 entered+0s result=PICKUP signal=s1
        thank: Running e1 a1 Answer entered+1h
        send thank RUN/1 attempt 1
        wake +2h
        "#,
    );
}

#[test]
fn everything_that_is_due_happens_at_once() {
    // Two signals and a back-off.
    let saga = saga(&pivot_first()).started().succeeded("pay").after("59m 59s").failed("ship");
    saga.after("5s").fired().expect(
        r#"
        ship: Running e1 a2 Answer entered+0s error(UNAVAILABLE: no luck +59m59s)
        pickup: AwaitingSignal e1 entered+0s gives_up+1h PARKED(NOT_PICKED_UP: no signal came in time)
        rate: AwaitingSignal e1 entered+0s gives_up+1h PARKED(NOT_RATED: no signal came in time)
        send ship RUN/1 attempt 2
        wake never
        "#,
    );
}

#[test]
fn max_age_before_the_pivot_turns_round() {
    // Each step keeps its own deadline, and the whole is too old all the same.
    let definition = skald_core::definition::parse(
        r#"
        name = "slow"
        version = 1
        max_age = "1h"
        step = [
            { name = "a", participant = "p", action = "a", undo = "un-a", deadline = "40m" },
            { name = "b", participant = "p", action = "b", undo = "un-b", deadline = "40m" },
        ]
        "#,
    );
    let definition = std::sync::Arc::new(definition.unwrap());
    saga(&definition).started().after("30m").succeeded("a").until_due().fired().expect(
        r#"
        b: Undoing e1 a1 Answer entered+30m
        saga: Compensating created+0s reason=EXPIRED
        send b UNDO/1 attempt 1
        wake never
        event Turned EXPIRED
        "#,
    );
}

#[test]
fn max_age_after_the_pivot_parks_and_work_goes_on() {
    let done = saga(&pivot_first()).started().succeeded("pay").signal("pickup", "s1").signal("rate", "r1");
    let old = done.until_due();
    assert_eq!(old.now, T0 + 2 * 3_600_000);
    let old = old.fired();
    old.clone().expect(
        r#"
        saga: Forward created+0s PAID PARKED(MAX_AGE: it is older than its definition allows, and past its pivot)
        wake never
        "#,
    );
    let shipped = old.clone().succeeded("ship");
    shipped.clone().expect(
        r#"
        pay: Succeeded e1 entered+0s run=Succeeded
        ship: Succeeded e1 entered+0s run=Succeeded
        thank: Running e1 a1 Answer entered+2h
        send thank RUN/1 attempt 1
        wake never
        "#,
    );
    // Done is done: nobody is needed any more.
    shipped.succeeded("thank").expect(
        r#"
        pickup: Succeeded e1 entered+0s signal=s1
        thank: Succeeded e1 entered+2h run=Succeeded
        saga: Completed created+0s DONE
        wake never
        event Stage DONE
        event Completed
        "#,
    );
    old.after("1h").fired().expect("refused, NotDue: nothing is due");
}

#[test]
fn time_never_goes_back() {
    let mut saga = saga(&order()).started().after("1h").succeeded("reserve");
    saga.now = T0;
    saga.signal("pay", "p1").expect(
        r#"
        pay: Succeeded e1 entered+1h result=PAY signal=p1
        charge: Running e1 a1 Answer entered+1h gives_up+1h30m
        send charge RUN/1 attempt 1
        wake +1h30m
        "#,
    );
}
