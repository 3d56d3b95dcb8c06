//! Verdicts for RUN: in time, late, repeated, from any attempt, and such as make no sense.

use skald_core::input::{Answer, Done, Verb};

use crate::{definitions::*, support::*};

fn at_charge() -> Saga {
    saga(&order()).started_with(&[("pay", "p1")]).after("1s").succeeded("reserve")
}

fn at_commit() -> Saga {
    at_charge().signal("fulfil", "f1").after("1s").succeeded("charge")
}

#[test]
fn success_enters_the_next_step() {
    // A signal waits, a signal that came early is taken and the step behind it is sent.
    saga(&order()).started().after("1s").succeeded("reserve").expect(
        r#"
        reserve: Succeeded e1 entered+0s run=Succeeded result=RESERVE
        pay: AwaitingSignal e1 entered+1s gives_up+30m1s
        saga: Forward created+0s RESERVED
        wake +30m1s
        event Stage RESERVED
        "#,
    );
    at_charge().expect(
        r#"
        reserve: Succeeded e1 entered+0s run=Succeeded result=RESERVE
        pay: Succeeded e1 entered+1s result=PAY signal=p1
        charge: Running e1 a1 Answer entered+1s gives_up+30m1s
        saga: Forward created+0s RESERVED
        send charge RUN/1 attempt 1
        wake +30m1s
        event Stage RESERVED
        "#,
    );
    at_charge().after("1s").succeeded("charge").expect(
        r#"
        pay: Succeeded e1 entered+1s signal=p1
        charge: Succeeded e1 entered+1s run=Succeeded
        fulfil: AwaitingSignal e1 entered+2s gives_up+14days2s
        saga: Forward created+0s PAID
        wake +14days2s
        event Stage PAID
        "#,
    );
    at_commit().expect(
        r#"
        pay: Succeeded e1 entered+1s signal=p1
        charge: Succeeded e1 entered+1s run=Succeeded
        fulfil: Succeeded e1 entered+2s signal=f1
        commit: Running e1 a1 Answer entered+2s gives_up+30m2s
        saga: Forward created+0s FULFILLED
        send commit RUN/1 attempt 1
        wake +30m2s
        event Stage PAID
        event Stage FULFILLED
        "#,
    );
}

#[test]
fn success_of_the_pivot_completes() {
    at_commit().after("1s").succeeded("commit").expect(
        r#"
        reserve: Succeeded e1 entered+0s run=Succeeded
        commit: Succeeded e1 entered+2s run=Succeeded
        saga: Completed created+0s COMPLETED
        wake never
        event Stage COMPLETED
        event Completed
        "#,
    );
}

#[test]
fn a_no_turns_round_with_the_reason_that_the_definition_maps() {
    saga(&order()).started().after("1s").rejected("reserve", "OUT_OF_STOCK").expect(
        r#"
        reserve: Rejected e1 entered+0s run=Rejected
        saga: Compensated created+0s reason=OUT_OF_STOCK detail=why
        wake never
        event Turned OUT_OF_STOCK why
        event Compensated OUT_OF_STOCK why
        "#,
    );
    at_charge().after("1s").rejected("charge", "PAYMENT_DECLINED").expect(
        r#"
        reserve: Undoing e1 a1 Answer entered+0s run=Succeeded
        pay: Succeeded e1 entered+1s signal=p1
        charge: Rejected e1 entered+1s run=Rejected
        saga: Compensating created+0s RESERVED reason=PAYMENT_DECLINED detail=why
        send reserve UNDO/1 attempt 1
        wake never
        event Turned PAYMENT_DECLINED why
        "#,
    );
    at_commit().after("1s").rejected("commit", "NO_SUCH_CODE").expect(
        r#"
        reserve: Succeeded e1 entered+0s run=Succeeded
        charge: Undoing e1 a1 Answer entered+1s run=Succeeded
        commit: Rejected e1 entered+2s run=Rejected
        saga: Compensating created+0s FULFILLED reason=NO_SUCH_CODE detail=why
        send charge UNDO/1 attempt 1
        wake never
        event Turned NO_SUCH_CODE why
        "#,
    );
}

#[test]
fn a_no_before_anything_was_done_ends_at_once() {
    saga(&pivot_first()).started().rejected("pay", "POOR").expect(
        r#"
        pay: Rejected e1 entered+0s run=Rejected
        saga: Compensated created+0s reason=POOR detail=why
        wake never
        event Turned POOR why
        event Compensated POOR why
        "#,
    );
}

#[test]
fn branches_run_side_by_side_and_join() {
    let open = saga(&diamond()).started().after("1s").succeeded("open");
    open.clone().expect(
        r#"
        open: Succeeded e1 entered+0s run=Succeeded result=OPEN
        left: Running e1 a1 Answer entered+1s gives_up+30m1s
        right: Running e1 a1 Answer entered+1s gives_up+30m1s
        saga: Forward created+0s OPEN
        send left RUN/1 attempt 1
        send right RUN/1 attempt 1
        wake +30m1s
        event Stage OPEN
        "#,
    );
    // Stages follow the furthest step that is done: LEFT after RIGHT is no step forward.
    let right = open.after("1s").succeeded("right");
    right.clone().expect(
        r#"
        right: Succeeded e1 entered+1s run=Succeeded result=RIGHT
        saga: Forward created+0s RIGHT
        wake +30m1s
        event Stage RIGHT
        "#,
    );
    let left = right.after("1s").succeeded("left");
    left.clone().expect(
        r#"
        left: Succeeded e1 entered+1s run=Succeeded
        join: Running e1 a1 Answer entered+3s gives_up+30m3s
        send join RUN/1 attempt 1
        wake +30m3s
        "#,
    );
    left.after("1s").succeeded("join").expect(
        r#"
        open: Succeeded e1 entered+0s run=Succeeded
        right: Succeeded e1 entered+1s run=Succeeded
        join: Succeeded e1 entered+3s run=Succeeded
        saga: Completed created+0s DONE
        wake never
        event Stage DONE
        event Completed
        "#,
    );
}

#[test]
fn a_no_on_one_branch_undoes_the_other_even_while_it_runs() {
    let open = saga(&diamond()).started().succeeded("open");
    open.clone().rejected("left", "NO").expect(
        r#"
        open: Succeeded e1 entered+0s run=Succeeded
        left: Rejected e1 entered+0s run=Rejected
        right: Undoing e1 a1 Answer entered+0s
        saga: Compensating created+0s OPEN reason=NO detail=why
        send right UNDO/1 attempt 1
        wake never
        event Turned NO why
        "#,
    );
    open.succeeded("right").rejected("left", "NO").expect(
        r#"
        open: Succeeded e1 entered+0s run=Succeeded
        left: Rejected e1 entered+0s run=Rejected
        right: Undoing e1 a1 Answer entered+0s run=Succeeded
        saga: Compensating created+0s RIGHT reason=NO detail=why
        send right UNDO/1 attempt 1
        wake never
        event Turned NO why
        "#,
    );
}

#[test]
fn park_on_reject_parks_and_the_other_branch_goes_on() {
    let parked = saga(&no_pivot()).started().after("1s").rejected("book", "FULL");
    parked.clone().expect(
        r#"
        book: Rejected e1 entered+0s run=Rejected error(FULL: sorry +1s) PARKED(FULL: sorry)
        wake +30m
        "#,
    );
    parked.clone().after("1s").succeeded("check").expect(
        r#"
        check: Succeeded e1 entered+0s run=Succeeded result=CHECK
        wake never
        "#,
    );
    // Its own deadline and the saga's age stop counting, the other branch's deadline does not.
    parked.after("2h").fired().expect(
        r#"
        check: Dropped e1 entered+0s
        book: Rejected e1 entered+0s run=Rejected
        saga: Compensated created+0s reason=EXPIRED
        wake never
        event Turned EXPIRED
        event Compensated EXPIRED
        "#,
    );
}

#[test]
fn what_a_parked_step_needs_is_kept_for_its_next_try() {
    let definition = skald_core::definition::parse(
        r#"
        name = "kept"
        version = 1
        max_age = "1d"
        step = [
            { name = "hold", participant = "p", action = "a", undo = "u" },
            { name = "left", participant = "p", action = "a", undo = "u", after = ["hold"], needs = ["hold"], on_rejected = "park" },
            { name = "right", participant = "p", action = "a", undo = "u", after = ["hold"] },
        ]
        "#,
    );
    let definition = std::sync::Arc::new(definition.unwrap());
    let parked = saga(&definition).started().succeeded("hold").rejected("left", "NO");
    parked.clone().expect(
        r#"
        left: Rejected e1 entered+0s run=Rejected error(NO: sorry +0s) PARKED(NO: sorry)
        wake +30m
        "#,
    );
    // `hold` keeps its result while the other branch goes on …
    parked.clone().succeeded("right").expect(
        r#"
        right: Succeeded e1 entered+0s run=Succeeded
        wake never
        "#,
    );
    // … and loses it with the saga's turn.
    parked.cancelled().expect(
        r#"
        hold: Succeeded e1 entered+0s run=Succeeded
        left: Rejected e1 entered+0s run=Rejected
        right: Undoing e1 a1 Answer entered+0s
        saga: Compensating created+0s reason=CUSTOMER
        send right UNDO/1 attempt 1
        wake never
        event Turned CUSTOMER
        "#,
    );
}

#[test]
fn a_no_after_the_pivot_parks() {
    saga(&pivot_first()).started().succeeded("pay").rejected("ship", "NO_TRUCK").expect(
        r#"
        ship: Rejected e1 entered+0s run=Rejected error(NO_TRUCK: sorry +0s) PARKED(NO_TRUCK: sorry)
        wake +1h
        "#,
    );
}

#[test]
fn no_undo_and_no_effect_is_left_alone() {
    // `check` is still running when `book` turned round by cancel: it is dropped, its answer recorded.
    let turned = saga(&no_pivot()).started().cancelled();
    turned.clone().expect(
        r#"
        check: Dropped e1 entered+0s
        book: Undoing e1 a1 Answer entered+0s
        saga: Compensating created+0s reason=CUSTOMER
        send book UNDO/1 attempt 1
        wake never
        event Turned CUSTOMER
        "#,
    );
    let late = turned.succeeded("check");
    late.clone().expect(
        r#"
        check: Dropped e1 entered+0s run=Succeeded
        wake never
        "#,
    );
    late.succeeded("check").expect("refused, Repeat: it was taken before");
}

#[test]
fn a_verdict_counts_from_any_attempt() {
    let waiting = at_charge().after("1s").failed("charge");
    // During the back-off …
    waiting.clone().outcome("charge", Verb::Run, 1, 1, Some(succeeded("charge"))).expect(
        r#"
        pay: Succeeded e1 entered+1s signal=p1
        charge: Succeeded e1 entered+1s run=Succeeded
        fulfil: AwaitingSignal e1 entered+2s gives_up+14days2s
        saga: Forward created+0s PAID
        wake +14days2s
        event Stage PAID
        "#,
    );
    // … while attempt 2 runs, from attempt 1 …
    let second = waiting.until_due().fired();
    second.clone().outcome("charge", Verb::Run, 1, 1, Some(succeeded("charge"))).expect(
        r#"
        pay: Succeeded e1 entered+1s signal=p1
        charge: Succeeded e1 entered+1s run=Succeeded
        fulfil: AwaitingSignal e1 entered+2s414ms gives_up+14days2s414ms
        saga: Forward created+0s PAID
        wake +14days2s414ms
        event Stage PAID
        "#,
    );
    // … and after a person was called.
    second.failed_final("charge").outcome("charge", Verb::Run, 1, 1, Some(succeeded("charge"))).expect(
        r#"
        pay: Succeeded e1 entered+1s signal=p1
        charge: Succeeded e1 entered+1s run=Succeeded
        fulfil: AwaitingSignal e1 entered+2s414ms gives_up+14days2s414ms
        saga: Forward created+0s PAID
        wake +14days2s414ms
        event Stage PAID
        "#,
    );
}

#[test]
fn a_repeat_changes_nothing() {
    at_commit().succeeded("charge").expect("refused, Repeat: it was taken before");
    at_commit().succeeded("commit").succeeded("commit").expect("refused, Repeat: it was taken before");
    saga(&order())
        .started()
        .rejected("reserve", "OUT_OF_STOCK")
        .rejected("reserve", "OUT_OF_STOCK")
        .expect("refused, Repeat: it was taken before");
}

#[test]
fn a_late_verdict_is_recorded_and_the_undo_s_answer_decides() {
    let undoing = at_charge().cancelled();
    undoing.clone().expect(
        r#"
        reserve: Succeeded e1 entered+0s run=Succeeded
        pay: Succeeded e1 entered+1s signal=p1
        charge: Undoing e1 a1 Answer entered+1s
        saga: Compensating created+0s RESERVED reason=CUSTOMER
        send charge UNDO/1 attempt 1
        wake never
        event Turned CUSTOMER
        "#,
    );
    let late = undoing.clone().after("1s").succeeded("charge");
    late.clone().expect(
        r#"
        charge: Undoing e1 a1 Answer entered+1s run=Succeeded
        wake never
        "#,
    );
    late.undone("charge").expect(
        r#"
        reserve: Undoing e1 a1 Answer entered+0s run=Succeeded
        charge: Undone e1 entered+1s run=Succeeded undo=Undone
        send reserve UNDO/1 attempt 1
        wake never
        "#,
    );
    undoing.clone().rejected("charge", "PAYMENT_DECLINED").expect(
        r#"
        charge: Undoing e1 a1 Answer entered+1s run=Rejected
        wake never
        "#,
    );
    undoing.run("charge", sealed()).expect(
        r#"
        charge: Undoing e1 a1 Answer entered+1s run=Sealed
        wake never
        "#,
    );
}

#[test]
fn a_verdict_later_than_the_undo_s_is_recorded() {
    let undone_first = at_charge().cancelled().undone("charge");
    undone_first.succeeded("charge").expect(
        r#"
        charge: Undone e1 entered+1s run=Succeeded undo=Undone
        wake never
        "#,
    );
    let nothing = at_charge().cancelled().nothing_to_undo("charge");
    nothing.clone().run("charge", sealed()).expect(
        r#"
        charge: NothingToUndo e1 entered+1s run=Sealed undo=NothingToUndo
        wake never
        "#,
    );
    nothing.clone().rejected("charge", "PAYMENT_DECLINED").expect(
        r#"
        charge: NothingToUndo e1 entered+1s run=Rejected undo=NothingToUndo
        wake never
        "#,
    );
    // Even when the saga has ended.
    nothing.undone("reserve").run("charge", sealed()).expect(
        r#"
        charge: NothingToUndo e1 entered+1s run=Sealed undo=NothingToUndo
        wake never
        "#,
    );
}

#[test]
fn results_are_kept_only_while_a_later_step_needs_them() {
    let held = |saga: &Saga| {
        let held = saga.state.steps.iter().filter(|s| s.result.is_some()).map(|s| s.name.clone());
        held.collect::<Vec<_>>().join(" ")
    };
    let mut saga = saga(&order()).started_with(&[("pay", "p1"), ("fulfil", "f1")]);
    saga = saga.succeeded("reserve");
    assert_eq!(held(&saga), "reserve pay");
    saga = saga.failed("charge").until_due().fired().failed_final("charge");
    assert_eq!(held(&saga), "reserve pay", "a parked step may run again");
    saga = saga.succeeded("charge");
    assert_eq!(held(&saga), "reserve");
    let sealing = saga.clone().until_due().fired();
    assert_eq!(held(&sealing), "reserve");
    assert_eq!(held(&saga.succeeded("commit")), "");
    assert_eq!(held(&sealing.sealed("commit")), "");
}

#[test]
fn a_success_without_a_result_is_one() {
    saga(&order()).started().run("reserve", Answer::Succeeded(Done { result: None })).expect(
        r#"
        reserve: Succeeded e1 entered+0s run=Succeeded
        pay: AwaitingSignal e1 entered+0s gives_up+30m
        saga: Forward created+0s RESERVED
        wake +30m
        event Stage RESERVED
        "#,
    );
}

#[test]
fn answers_that_make_no_sense_are_malformed() {
    let saga = saga(&order()).started();
    saga.clone().succeeded("reserv").expect("refused, Malformed: order has no step \"reserv\"");
    saga.clone()
        .succeeded("pay")
        .expect("refused, Malformed: \"pay\" is a signal, no participant answers for it");
    saga.clone().succeeded("charge").expect("refused, Malformed: no command was sent for \"charge\" epoch 1");
    saga.clone()
        .outcome("reserve", Verb::Run, 0, 1, Some(succeeded("reserve")))
        .expect("refused, Malformed: no command was sent for \"reserve\" epoch 0");
    saga.clone()
        .outcome("reserve", Verb::Run, 2, 1, Some(succeeded("reserve")))
        .expect("refused, Malformed: no command was sent for \"reserve\" epoch 2");
    saga.clone()
        .outcome("reserve", Verb::Run, 1, 1, None)
        .expect("refused, Malformed: \"reserve\" says nothing about its RUN");
    saga.clone().run("reserve", undone()).expect("refused, Malformed: undone is no answer to RUN");
    saga.clone()
        .run("reserve", nothing_to_undo())
        .expect("refused, Malformed: nothing to undo is no answer to RUN");
    saga.clone().run("reserve", fenced()).expect("refused, Malformed: fenced is no answer to RUN");
    let unknown_verb = skald_core::input::Outcome {
        step: "reserve".into(),
        verb: 9,
        epoch: 1,
        attempt: 1,
        answer: Some(sealed()),
    };
    saga.input(skald_core::Input::Outcome(unknown_verb)).expect("refused, Malformed: there is no verb 9");
}
