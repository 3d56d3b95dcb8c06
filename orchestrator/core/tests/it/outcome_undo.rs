//! Verdicts for UNDO, in reverse order of the graph.

use skald_core::input::Verb;

use crate::{definitions::*, support::*};

/// Cancelled when everything but the pivot is done: charge is being undone, reserve waits for it.
fn undoing() -> Saga {
    saga(&order())
        .started_with(&[("pay", "p1")])
        .succeeded("reserve")
        .succeeded("charge")
        .after("1s")
        .cancelled()
}

#[test]
fn undo_goes_back_step_by_step() {
    undoing().expect(
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
    let charge = undoing().after("1s").undone("charge");
    charge.clone().expect(
        r#"
        reserve: Undoing e1 a1 Answer entered+0s run=Succeeded
        charge: Undone e1 entered+0s run=Succeeded undo=Undone
        send reserve UNDO/1 attempt 1
        wake never
        "#,
    );
    charge.after("1s").undone("reserve").expect(
        r#"
        reserve: Undone e1 entered+0s run=Succeeded undo=Undone
        saga: Compensated created+0s PAID reason=CUSTOMER
        wake never
        event Compensated CUSTOMER
        "#,
    );
}

#[test]
fn nothing_to_undo_is_settled_too() {
    let unknown = saga(&order()).started().cancelled();
    unknown.nothing_to_undo("reserve").expect(
        r#"
        reserve: NothingToUndo e1 entered+0s undo=NothingToUndo
        saga: Compensated created+0s reason=CUSTOMER
        wake never
        event Compensated CUSTOMER
        "#,
    );
}

#[test]
fn branches_are_undone_side_by_side_and_then_what_they_share() {
    let both = saga(&diamond()).started().succeeded("open").succeeded("left").cancelled();
    both.clone().expect(
        r#"
        open: Succeeded e1 entered+0s run=Succeeded
        left: Undoing e1 a1 Answer entered+0s run=Succeeded
        right: Undoing e1 a1 Answer entered+0s
        saga: Compensating created+0s LEFT reason=CUSTOMER
        send left UNDO/1 attempt 1
        send right UNDO/1 attempt 1
        wake never
        event Turned CUSTOMER
        "#,
    );
    let one = both.nothing_to_undo("right");
    one.clone().expect(
        r#"
        right: NothingToUndo e1 entered+0s undo=NothingToUndo
        wake never
        "#,
    );
    let open = one.undone("left");
    open.clone().expect(
        r#"
        open: Undoing e1 a1 Answer entered+0s run=Succeeded
        left: Undone e1 entered+0s run=Succeeded undo=Undone
        send open UNDO/1 attempt 1
        wake never
        "#,
    );
    open.undone("open").expect(
        r#"
        open: Undone e1 entered+0s run=Succeeded undo=Undone
        saga: Compensated created+0s LEFT reason=CUSTOMER
        wake never
        event Compensated CUSTOMER
        "#,
    );
}

#[test]
fn undo_passes_over_signals_and_what_has_no_effect() {
    // `end` was reached: `book` waits for its undo, `check` needs none.
    let end = saga(&no_pivot()).started().succeeded("check").succeeded("book").cancelled();
    end.clone().expect(
        r#"
        check: Succeeded e1 entered+0s run=Succeeded
        end: Undoing e1 a1 Answer entered+0s
        saga: Compensating created+0s reason=CUSTOMER
        send end UNDO/1 attempt 1
        wake never
        event Turned CUSTOMER
        "#,
    );
    let book = end.undone("end");
    book.clone().expect(
        r#"
        book: Undoing e1 a1 Answer entered+0s run=Succeeded
        end: Undone e1 entered+0s undo=Undone
        send book UNDO/1 attempt 1
        wake never
        "#,
    );
    book.undone("book").expect(
        r#"
        book: Undone e1 entered+0s run=Succeeded undo=Undone
        saga: Compensated created+0s reason=CUSTOMER
        wake never
        event Compensated CUSTOMER
        "#,
    );
}

#[test]
fn a_repeat_changes_nothing() {
    undoing().undone("charge").undone("charge").expect("refused, Repeat: it was taken before");
    undoing()
        .undone("charge")
        .undone("reserve")
        .undone("charge")
        .expect("refused, Repeat: it was taken before");
    saga(&order())
        .started()
        .cancelled()
        .nothing_to_undo("reserve")
        .nothing_to_undo("reserve")
        .expect("refused, Repeat: it was taken before");
}

#[test]
fn a_verdict_counts_from_any_attempt_and_calls_nobody_any_more() {
    let parked = undoing().failed_to_the_end("charge");
    assert!(parked.state.is_parked());
    parked.outcome("charge", Verb::Undo, 1, 1, Some(undone())).expect(
        r#"
        reserve: Undoing e1 a1 Answer entered+0s run=Succeeded
        charge: Undone e1 entered+0s run=Succeeded undo=Undone
        send reserve UNDO/1 attempt 1
        wake never
        "#,
    );
    undoing().failed_final("charge").undone("charge").expect(
        r#"
        reserve: Undoing e1 a1 Answer entered+0s run=Succeeded
        charge: Undone e1 entered+0s run=Succeeded undo=Undone
        send reserve UNDO/1 attempt 1
        wake never
        "#,
    );
}

#[test]
fn an_undo_that_was_not_sent_has_no_answer() {
    undoing().undone("reserve").expect("refused, Malformed: no undo was sent for \"reserve\"");
    saga(&order()).started().undone("reserve").expect("refused, Malformed: no undo was sent for \"reserve\"");
}

#[test]
fn an_undo_is_never_rejected() {
    undoing()
        .answer("charge", Verb::Undo, rejected("NO"))
        .expect("refused, Malformed: rejected is no answer to UNDO");
    undoing()
        .answer("charge", Verb::Undo, succeeded("charge"))
        .expect("refused, Malformed: succeeded is no answer to UNDO");
    undoing()
        .answer("charge", Verb::Undo, sealed())
        .expect("refused, Malformed: sealed is no answer to UNDO");
    undoing()
        .answer("charge", Verb::SealUndo, sealed())
        .expect("refused, Malformed: sealed is no answer to SEAL_UNDO");
}
