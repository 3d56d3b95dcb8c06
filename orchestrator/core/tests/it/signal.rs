//! What a signal step waits for, early or in time: the first one wins.

use crate::{definitions::*, support::*};

#[test]
fn in_time_it_is_taken_and_the_next_step_is_sent() {
    let pay = saga(&order()).started().succeeded("reserve").after("1s");
    pay.signal("pay", "p1").expect(
        r#"
        pay: Succeeded e1 entered+0s result=PAY signal=p1
        charge: Running e1 a1 Answer entered+1s gives_up+30m1s
        send charge RUN/1 attempt 1
        wake +30m1s
        "#,
    );
    let fulfil = saga(&order()).started_with(&[("pay", "p1")]).succeeded("reserve").succeeded("charge");
    fulfil.after("1s").signal("fulfil", "f1").expect(
        r#"
        fulfil: Succeeded e1 entered+0s signal=f1
        commit: Running e1 a1 Answer entered+1s gives_up+30m1s
        saga: Forward created+0s FULFILLED
        send commit RUN/1 attempt 1
        wake +30m1s
        event Stage FULFILLED
        "#,
    );
}

#[test]
fn early_it_is_buffered() {
    let early = saga(&order()).started().signal("pay", "p1");
    early.clone().expect(
        r#"
        saga: Forward created+0s early(pay p1)
        wake +30m
        "#,
    );
    early.clone().signal("fulfil", "f1").expect(
        r#"
        saga: Forward created+0s early(pay p1) early(fulfil f1)
        wake +30m
        "#,
    );
    early.succeeded("reserve").expect(
        r#"
        reserve: Succeeded e1 entered+0s run=Succeeded result=RESERVE
        pay: Succeeded e1 entered+0s result=PAY signal=p1
        charge: Running e1 a1 Answer entered+0s gives_up+30m
        saga: Forward created+0s RESERVED
        send charge RUN/1 attempt 1
        wake +30m
        event Stage RESERVED
        "#,
    );
}

#[test]
fn repeats_are_known_by_their_id_and_the_first_one_wins() {
    // Buffered …
    let early = saga(&order()).started_with(&[("pay", "p1")]);
    early.clone().signal("pay", "p1").expect("refused, Repeat: it was taken before");
    early.clone().signal("pay", "p2").expect(
        "refused, NotAllowed: not possible now: the signal \"pay\" was given before, the first one counts",
    );
    // … taken …
    let taken = early.succeeded("reserve");
    taken.clone().signal("pay", "p1").expect("refused, Repeat: it was taken before");
    taken.clone().signal("pay", "p2").expect(
        "refused, NotAllowed: not possible now: the signal \"pay\" was given before, the first one counts",
    );
    // … and long behind.
    let ended = taken.cancelled().undone("charge").undone("reserve");
    ended.clone().signal("pay", "p1").expect("refused, Repeat: it was taken before");
    ended
        .signal("fulfil", "f1")
        .expect("refused, NotAllowed: not possible now: the saga is Compensated and waits for no signal");
}

#[test]
fn a_saga_that_turned_round_waits_for_none() {
    let turned = saga(&order()).started().cancelled();
    turned
        .signal("pay", "p1")
        .expect("refused, NotAllowed: not possible now: the saga is Compensating and waits for no signal");
    let dropped = saga(&order()).started().succeeded("reserve").cancelled();
    dropped
        .signal("pay", "p1")
        .expect("refused, NotAllowed: not possible now: the saga is Compensating and waits for no signal");
}

#[test]
fn what_was_buffered_is_dropped_with_the_saga() {
    saga(&order())
        .started_with(&[("pay", "p1"), ("fulfil", "f1")])
        .rejected("reserve", "OUT_OF_STOCK")
        .expect(
            r#"
            reserve: Rejected e1 entered+0s run=Rejected
            saga: Compensated created+0s reason=OUT_OF_STOCK detail=why
            wake never
            event Turned OUT_OF_STOCK why
            event Compensated OUT_OF_STOCK why
            "#,
        );
}

#[test]
fn it_must_name_a_signal_step() {
    saga(&order())
        .started()
        .signal("charge", "x")
        .expect("refused, Malformed: order has no signal \"charge\"");
    saga(&order())
        .started()
        .signal("nothing", "x")
        .expect("refused, Malformed: order has no signal \"nothing\"");
}

#[test]
fn two_signals_side_by_side() {
    let pivot = saga(&pivot_first()).started().signal("rate", "r1").succeeded("pay");
    pivot.clone().expect(
        r#"
        pay: Succeeded e1 entered+0s run=Succeeded result=PAY
        ship: Running e1 a1 Answer entered+0s
        pickup: AwaitingSignal e1 entered+0s gives_up+1h
        rate: Succeeded e1 entered+0s signal=r1
        saga: Forward created+0s PAID
        send ship RUN/1 attempt 1
        wake +1h
        event Stage PAID
        "#,
    );
    pivot.signal("pickup", "s1").expect(
        r#"
        pickup: Succeeded e1 entered+0s result=PICKUP signal=s1
        wake +2h
        "#,
    );
}
