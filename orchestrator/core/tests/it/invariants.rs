//! A state that must not be is found out, with the words that say what is wrong.

use skald_core::{
    invariants,
    state::{Pending, Phase, StepStatus, Verdict},
};

use crate::{definitions::*, support::*};

/// What is said of a saga that somebody spoilt.
#[track_caller]
fn said(mut saga: Saga, spoil: impl Fn(&mut skald_core::State)) -> String {
    invariants::check(&saga.definition, &saga.state).expect("sound before");
    spoil(&mut saga.state);
    let violation = invariants::check(&saga.definition, &saga.state).expect_err("nobody noticed");
    let said = violation.to_string();
    // Without the step itself, which is printed whole.
    said.split(" (").next().expect("words").to_owned()
}

fn reserving() -> Saga {
    saga(&order()).started()
}

fn paying() -> Saga {
    reserving().succeeded("reserve")
}

fn charging() -> Saga {
    paying().signal("pay", "p1")
}

fn undoing() -> Saga {
    charging().cancelled()
}

fn ended() -> Saga {
    undoing().undone("charge").undone("reserve")
}

#[test]
fn of_the_steps() {
    let rows = [
        (said(reserving(), |s| drop(s.steps.pop())), "the steps are not the definition's"),
        (said(reserving(), |s| s.steps.swap(0, 1)), "step 0 is pay, not reserve"),
        (said(paying(), |s| s.steps[1].set_status(StepStatus::Running)), "pay: a signal step has a verb"),
        (
            said(paying(), |s| s.steps[1].set_pending(Pending::Answer)),
            "pay: something is pending without a verb",
        ),
        (
            said(reserving(), |s| s.steps[0].set_pending(Pending::Nothing)),
            "reserve: a verb waits for nothing and nobody",
        ),
        (said(reserving(), |s| s.steps[0].retry_at = 1), "reserve: retry_at and pending disagree"),
        (
            said(reserving(), |s| s.steps[0].set_pending(Pending::Retry)),
            "reserve: retry_at and pending disagree",
        ),
        (said(reserving(), |s| s.steps[0].attempt = 0), "reserve: a verb without an attempt"),
        (said(reserving(), |s| s.steps[0].epoch = 0), "reserve: entered without an epoch"),
        (
            said(charging(), |s| s.steps[0] = reserving().state.steps[0].clone()),
            "pay: entered before its predecessors were done",
        ),
        (
            said(reserving(), |s| s.steps[0].set_status(StepStatus::Sealing)),
            "reserve: only the pivot is sealed by itself",
        ),
        (
            said(undoing(), |s| s.steps[2].set_status(StepStatus::Sealing)),
            "charge: only the pivot is sealed by itself",
        ),
        (said(ended(), |s| s.steps[2].set_run(Verdict::Rejected)), "charge: undone although it never ran"),
        (
            said(reserving().cancelled().nothing_to_undo("reserve"), |s| {
                s.steps[0].set_run(Verdict::Succeeded)
            }),
            "reserve: nothing to undo although it ran",
        ),
        (said(paying(), |s| s.steps[0].set_run(Verdict::Unknown)), "reserve: succeeded without the verdict"),
    ];
    for (said, expected) in rows {
        assert_eq!(said, format!("invariant broken: {expected}"));
    }
    let no_undo = saga(&no_pivot()).started();
    let said = said(no_undo, |s| s.steps[0].set_status(StepStatus::Undoing));
    assert_eq!(said, "invariant broken: check: undoing without an undo");
}

#[test]
fn of_the_phase() {
    let misfit = "invariant broken: the steps don't fit the phase";
    let as_phase = |saga: Saga, phase: Phase| said(saga, |s| s.set_phase(phase));
    assert_eq!(as_phase(undoing(), Phase::Forward), misfit);
    assert_eq!(as_phase(charging(), Phase::Completed), misfit);
    assert_eq!(as_phase(charging(), Phase::Compensating), misfit);
    assert_eq!(as_phase(undoing(), Phase::Compensated), misfit);
    let done = saga(&pivot_first()).started().succeeded("pay");
    assert_eq!(as_phase(done, Phase::Compensating), misfit);
    // Something was left undone.
    assert_eq!(said(ended(), |s| s.steps[0].set_status(StepStatus::Succeeded)), misfit);
}

#[test]
fn of_what_is_kept() {
    let early = |s: &mut skald_core::State| s.early.push(a_signal("pay", "p2"));
    let kept = "invariant broken: a signal \"pay\" is kept for a step that waits for none";
    assert_eq!(said(paying(), early), kept);
    assert_eq!(said(reserving().cancelled(), early), kept);
    assert_eq!(said(reserving(), |s| s.early.push(a_signal("pey", "p2"))), kept.replace("pay", "pey"));
}

#[test]
fn of_what_moves() {
    let silent = "invariant broken: it is not final, nothing is in flight, no deadline is open and nobody is called: it would hang in silence";
    // A saga that only waits to be undone, behind a step that nobody undoes.
    let hung = |s: &mut skald_core::State| {
        s.steps[2].set_status(StepStatus::NothingToUndo);
        s.steps[2].set_pending(Pending::Nothing);
    };
    assert_eq!(said(undoing(), hung), silent);
}
