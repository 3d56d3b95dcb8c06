//! The customer wants out, at every moment.

use crate::{definitions::*, support::*};

#[test]
fn while_the_first_step_runs() {
    saga(&order()).started().after("1s").cancelled().expect(
        r#"
        reserve: Undoing e1 a1 Answer entered+0s
        saga: Compensating created+0s reason=CUSTOMER
        send reserve UNDO/1 attempt 1
        wake never
        event Turned CUSTOMER
        "#,
    );
}

#[test]
fn while_a_failed_step_waits_for_its_next_attempt() {
    saga(&order()).started().after("1s").failed("reserve").cancelled().expect(
        r#"
        reserve: Undoing e1 a1 Answer entered+0s
        saga: Compensating created+0s reason=CUSTOMER
        send reserve UNDO/1 attempt 1
        wake never
        event Turned CUSTOMER
        "#,
    );
}

#[test]
fn while_a_step_is_parked() {
    saga(&order()).started().after("1s").failed_final("reserve").cancelled().expect(
        r#"
        reserve: Undoing e1 a1 Answer entered+0s
        saga: Compensating created+0s reason=CUSTOMER
        send reserve UNDO/1 attempt 1
        wake never
        event Turned CUSTOMER
        "#,
    );
    saga(&no_pivot()).started().succeeded("check").rejected("book", "FULL").cancelled().expect(
        r#"
        check: Succeeded e1 entered+0s run=Succeeded
        book: Rejected e1 entered+0s run=Rejected
        saga: Compensated created+0s reason=CUSTOMER
        wake never
        event Turned CUSTOMER
        event Compensated CUSTOMER
        "#,
    );
}

#[test]
fn while_a_signal_is_awaited() {
    saga(&order()).started().succeeded("reserve").cancelled().expect(
        r#"
        reserve: Undoing e1 a1 Answer entered+0s run=Succeeded
        pay: Dropped e1 entered+0s
        saga: Compensating created+0s RESERVED reason=CUSTOMER
        send reserve UNDO/1 attempt 1
        wake never
        event Turned CUSTOMER
        "#,
    );
    let fulfil = saga(&order()).started_with(&[("pay", "p1")]).succeeded("reserve").succeeded("charge");
    fulfil.cancelled().expect(
        r#"
        reserve: Succeeded e1 entered+0s run=Succeeded
        charge: Undoing e1 a1 Answer entered+0s run=Succeeded
        fulfil: Dropped e1 entered+0s
        saga: Compensating created+0s PAID reason=CUSTOMER
        send charge UNDO/1 attempt 1
        wake never
        event Turned CUSTOMER
        "#,
    );
}

#[test]
fn while_money_moves() {
    saga(&order()).started_with(&[("pay", "p1"), ("fulfil", "f1")]).succeeded("reserve").cancelled().expect(
        r#"
            reserve: Succeeded e1 entered+0s run=Succeeded
            pay: Succeeded e1 entered+0s signal=p1
            charge: Undoing e1 a1 Answer entered+0s
            saga: Compensating created+0s RESERVED reason=CUSTOMER
            send charge UNDO/1 attempt 1
            wake never
            event Turned CUSTOMER
            "#,
    );
}

#[test]
fn not_once_the_pivot_was_decided() {
    let hold = saga(&stubborn()).started().succeeded("hold");
    hold.clone().cancelled().expect(
        "refused, NotAllowed: not possible now: the step of no return was decided and can't be called back",
    );
    hold.clone().failed("take").cancelled().expect(
        "refused, NotAllowed: not possible now: the step of no return was decided and can't be called back",
    );
    hold.clone().failed_final("take").cancelled().expect(
        "refused, NotAllowed: not possible now: the step of no return was decided and can't be called back",
    );
    hold.clone().rejected("take", "NO").cancelled().expect(
        "refused, NotAllowed: not possible now: the step of no return was decided and can't be called back",
    );
    hold.clone().until_due().fired().cancelled().expect(
        "refused, NotAllowed: not possible now: the step of no return was decided and can't be called back",
    );
    saga(&pivot_first())
        .started()
        .succeeded("pay")
        .cancelled()
        .expect("refused, NotAllowed: not possible now: the point of no return is behind it");
    hold.succeeded("take").cancelled().expect("refused, NotAllowed: not possible now: it is complete");
}

#[test]
fn again_is_a_repeat() {
    let cancelled = saga(&order()).started().cancelled();
    cancelled.clone().cancelled().expect("refused, Repeat: it was taken before");
    cancelled.undone("reserve").cancelled().expect("refused, Repeat: it was taken before");
}

#[test]
fn not_when_it_is_being_undone_for_another_reason() {
    let turned = saga(&order()).started_with(&[("pay", "p1")]).succeeded("reserve");
    let turned = turned.rejected("charge", "PAYMENT_DECLINED");
    turned
        .clone()
        .cancelled()
        .expect("refused, NotAllowed: not possible now: it is being undone already: PAYMENT_DECLINED");
    turned
        .undone("reserve")
        .cancelled()
        .expect("refused, NotAllowed: not possible now: it was undone: PAYMENT_DECLINED");
}

#[test]
fn without_a_pivot_until_it_is_complete() {
    let end = saga(&no_pivot()).started().succeeded("check").succeeded("book");
    end.clone().cancelled().expect(
        r#"
        check: Succeeded e1 entered+0s run=Succeeded
        end: Undoing e1 a1 Answer entered+0s
        saga: Compensating created+0s reason=CUSTOMER
        send end UNDO/1 attempt 1
        wake never
        event Turned CUSTOMER
        "#,
    );
    end.succeeded("end").cancelled().expect("refused, NotAllowed: not possible now: it is complete");
}
