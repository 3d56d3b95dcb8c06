//! The saga begins.

use skald_core::{Input, State, definition::parse, history, input::Started};

use crate::{definitions::*, support::*};

#[test]
fn the_first_step_is_sent() {
    saga(&order()).started().expect(
        r#"
        reserve: Running e1 a1 Answer entered+0s gives_up+30m
        saga: Forward created+0s
        send reserve RUN/1 attempt 1
        wake +30m
        event Started
        "#,
    );
}

#[test]
fn signals_that_came_along_wait_for_their_steps() {
    saga(&order()).started_with(&[("pay", "p1"), ("fulfil", "f1")]).expect(
        r#"
        reserve: Running e1 a1 Answer entered+0s gives_up+30m
        saga: Forward created+0s early(pay p1) early(fulfil f1)
        send reserve RUN/1 attempt 1
        wake +30m
        event Started
        "#,
    );
}

#[test]
fn parallel_roots_start_together() {
    saga(&no_pivot()).started().expect(
        r#"
        check: Running e1 a1 Answer entered+0s gives_up+30m
        book: Running e1 a1 Answer entered+0s gives_up+30m
        saga: Forward created+0s
        send check RUN/1 attempt 1
        send book RUN/1 attempt 1
        wake +30m
        event Started
        "#,
    );
}

#[test]
fn a_pivot_may_come_first() {
    saga(&pivot_first()).started().expect(
        r#"
        pay: Running e1 a1 Answer entered+0s gives_up+30m
        saga: Forward created+0s
        send pay RUN/1 attempt 1
        wake +30m
        event Started
        "#,
    );
}

#[test]
fn a_saga_of_signals_that_all_came_along_is_complete_at_once() {
    let definition = parse(
        r#"
        name = "signals"
        version = 1
        stages = ["ONE", "TWO", "THREE"]
        max_age = "1d"
        step = [
            { name = "a", signal = true, deadline = "1h", stage = "ONE" },
            { name = "b", signal = true, deadline = "1h", stage = "THREE" },
        ]
        "#,
    );
    let definition = std::sync::Arc::new(definition.unwrap());
    saga(&definition).started_with(&[("b", "2"), ("a", "1")]).expect(
        r#"
        a: Succeeded e1 entered+0s signal=1
        b: Succeeded e1 entered+0s signal=2
        saga: Completed created+0s THREE
        wake never
        event Started
        event Stage ONE
        event Stage THREE
        event Completed
        "#,
    );
    saga(&definition).started().expect(
        r#"
        a: AwaitingSignal e1 entered+0s gives_up+1h
        saga: Forward created+0s
        wake +1h
        event Started
        "#,
    );
}

#[test]
fn it_begins_once() {
    let begun = saga(&order()).started();
    begun.clone().started().expect("refused, Repeat: it was taken before");
    begun.after("1h").fired().started().expect("refused, Repeat: it was taken before");
}

#[test]
fn signals_that_make_no_sense_are_malformed() {
    saga(&order()).started_with(&[("pey", "p1")]).expect("refused, Malformed: order has no signal \"pey\"");
    saga(&order())
        .started_with(&[("charge", "p1")])
        .expect("refused, Malformed: order has no signal \"charge\"");
    saga(&order())
        .started_with(&[("pay", "p1"), ("pay", "p2")])
        .expect("refused, Malformed: the signal \"pay\" came twice");
}

#[test]
fn nothing_comes_before_the_beginning() {
    let new = saga(&order());
    new.clone().succeeded("reserve").expect("refused, Malformed: the saga has not started");
    new.clone().signal("pay", "p1").expect("refused, Malformed: the saga has not started");
    new.clone().cancelled().expect("refused, Malformed: the saga has not started");
    new.clone().fired().expect("refused, Malformed: the saga has not started");
}

#[test]
fn history_keeps_the_request_s_hash_and_the_request_its_signals() {
    let begun = saga(&order()).started_with(&[("pay", "p1")]);
    let row = skald_core::input::decode(&begun.rows[0].input).unwrap();
    let request_hash = skald_core::history::request_hash(&begun.request);
    assert_eq!(row, Input::Started(Started { request_hash, signals: vec![] }));
}

#[test]
fn a_new_saga_is_what_no_rows_lead_to() {
    assert_eq!(history::replay(&order(), ID, b"", &[]).unwrap(), State::new(&order()));
}
