//! Recorded inputs under another definition: nothing changes under the same one, and what does is named with its row.

use std::sync::Arc;

use skald_core::{
    Definition,
    what_if::{Rerun, rerun},
};

use crate::{
    definitions::{no_pivot, order},
    history::histories,
    support::{Saga, saga},
    verify::recorded,
};

fn under(new: &Definition, saga: &Saga) -> Rerun {
    rerun(&saga.definition, new, &recorded(saga)).expect("it folds")
}

#[track_caller]
fn parts(rerun: &Rerun, was: &str, would: &str, row: u32, why: &str) {
    let Rerun { was: is_was, would: is_would, parts } = rerun;
    assert_eq!((is_was.to_string(), is_would.to_string()), (was.into(), would.into()));
    assert_eq!(parts.as_ref().map(|(row, why)| (*row, why.as_str())), Some((row, why)));
}

fn changed(base: Arc<Definition>, change: impl FnOnce(&mut Definition)) -> Definition {
    let mut definition = (*base).clone();
    change(&mut definition);
    definition
}

#[test]
fn the_same_definition_changes_nothing() {
    for (name, saga) in histories() {
        let same = under(&saga.definition, &saga);
        assert_eq!(same.parts, None, "{name}");
        assert_eq!(same.was, same.would, "{name}");
    }
}

#[test]
fn a_late_deadline_fires_when_it_did() {
    // Thirty minutes were over, the driver came late, the payment was faster.
    let late = saga(&order()).started().succeeded("reserve").after("31m").signal("pay", "p1");
    assert_eq!(under(&order(), &late).parts, None);
}

#[test]
fn a_shorter_deadline_fires_before_the_row_that_came_too_late() {
    let paid_after_5m =
        saga(&order()).started().succeeded("reserve").after("5m").signal("pay", "p1").succeeded("charge");
    let hasty = changed(order(), |d| d.steps[1].give_up_ms = 60_000);
    parts(
        &under(&hasty, &paid_after_5m),
        "RUNNING",
        "COMPENSATING EXPIRED, waits for reserve UNDO/1 attempt 1",
        3,
        "a deadline fires before it: send reserve UNDO/1 attempt 1, event Turned EXPIRED",
    );
    let patient = changed(order(), |d| d.steps[1].give_up_ms = 600_000);
    assert_eq!(under(&patient, &paid_after_5m).parts, None);
}

#[test]
fn a_longer_deadline_refuses_the_one_that_fired() {
    let expired = saga(&order()).started().succeeded("reserve").until_due().fired().undone("reserve");
    let patient = changed(order(), |d| d.steps[1].give_up_ms *= 2);
    parts(
        &under(&patient, &expired),
        "COMPENSATED EXPIRED",
        "RUNNING",
        3,
        "DEADLINE_FIRED refused: nothing is due",
    );
}

#[test]
fn another_policy_for_a_no() {
    let full = saga(&no_pivot()).started().succeeded("check").rejected("book", "FULL");
    let compensating = changed(no_pivot(), |d| d.steps[1].park_on_reject = false);
    parts(
        &under(&compensating, &full),
        "PARKED",
        "COMPENSATED FULL",
        3,
        "OUTCOME: COMPENSATED FULL, event Turned FULL, event Compensated FULL; then: nothing follows",
    );
}

#[test]
fn another_reason() {
    let declined = saga(&order())
        .started_with(&[("pay", "p")])
        .succeeded("reserve")
        .failed("charge")
        .paused()
        .resumed()
        .rejected("charge", "PAYMENT_DECLINED");
    let renamed = changed(order(), |d| d.reasons[1].reason = "NO_MONEY".into());
    parts(
        &under(&renamed, &declined),
        "COMPENSATING PAYMENT_DECLINED, waits for reserve UNDO/1 attempt 1",
        "COMPENSATING NO_MONEY, waits for reserve UNDO/1 attempt 1",
        6,
        "OUTCOME: COMPENSATING NO_MONEY, send reserve UNDO/1 attempt 1, event Turned NO_MONEY; \
         then: send reserve UNDO/1 attempt 1, event Turned PAYMENT_DECLINED",
    );
}

#[test]
fn another_course_to_the_same_end_is_told() {
    let reserved = saga(&order()).started().succeeded("reserve");
    let quiet = changed(order(), |d| d.steps[0].stage = 0);
    let why = "OUTCOME: RUNNING, nothing follows; then: event Stage RESERVED";
    parts(&under(&quiet, &reserved), "RUNNING", "RUNNING", 2, why);
}

#[test]
fn an_operator_acts_on_what_he_would_have_seen() {
    let paused = saga(&order()).started().succeeded("reserve").after("5m").paused();
    let hasty = changed(order(), |d| d.steps[1].give_up_ms = 60_000);
    parts(
        &under(&hasty, &paused),
        "PAUSED",
        "PAUSED EXPIRED",
        3,
        "a deadline fires before it: send reserve UNDO/1 attempt 1, event Turned EXPIRED",
    );
}

#[test]
fn what_its_own_definition_refuses_is_no_basis() {
    let mut spoilt = recorded(&saga(&order()).started().succeeded("reserve"));
    spoilt.rows.remove(0);
    assert!(rerun(&order(), &order(), &spoilt).is_err());
}
