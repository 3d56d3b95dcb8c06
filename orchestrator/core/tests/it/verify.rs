//! The gate finds each kind of spoilt record, and names row, kind and field; what is clean stays so.

use skald_core::{
    Definition, Input,
    archive::Recorded,
    fields::Difference,
    input::{self, Answer, Done, Outcome},
    state,
    verify::{Finding, verify},
};

use crate::{
    definitions::order,
    history::histories,
    support::{self, Saga, payload, saga},
};

/// As a database has it.
pub(crate) fn recorded(saga: &Saga) -> Recorded {
    Recorded {
        id: saga.id,
        definition: 1,
        version: saga.state.version,
        format: skald_core::FORMAT,
        active: !saga.state.is_final(),
        request: saga.request.clone(),
        state: state::encode(&saga.state),
        rows: saga.rows.clone(),
    }
}

/// Reserved, charged, and waiting for the seller: four rows.
fn charged() -> Recorded {
    recorded(
        &saga(&order()).started().succeeded("reserve").signal("pay", "p1").after("1s").succeeded("charge"),
    )
}

#[track_caller]
fn only(definition: &Definition, saga: &Recorded) -> Finding {
    let mut found = verify(definition, saga);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn difference(step: &str, field: &'static str, found: &str, recorded: &str) -> Option<Difference> {
    Some(Difference { step: step.into(), field, found: found.into(), recorded: recorded.into() })
}

/// The row's input becomes another.
fn edit(saga: &mut Recorded, seq: usize, edit: impl FnOnce(&mut Input)) {
    let mut input = input::decode(&saga.rows[seq - 1].input).expect("an input");
    edit(&mut input);
    saga.rows[seq - 1].input = input::encode(&input);
}

#[test]
fn clean_histories_are_clean() {
    for (name, saga) in histories() {
        assert_eq!(verify(&saga.definition, &recorded(&saga)), [], "{name}");
    }
}

#[test]
fn an_edited_input_is_found_at_its_row_and_in_the_final_state() {
    let mut saga = charged();
    edit(&mut saga, 2, |input| {
        let Input::Outcome(outcome) = input else { panic!("an outcome") };
        outcome.answer = Some(Answer::Succeeded(Done { result: Some(payload("another")) }));
    });
    let found = only(&order(), &saga);
    assert_eq!((found.code, found.row), ("DIGEST", Some((2, 2))));
    assert!(
        found.what.starts_with("the digest differs: found ")
            && found.what.ends_with(", and so do 2 rows after it")
    );
    assert!(found.recomputed[1].starts_with("reserve: status=Succeeded epoch=1"), "{:?}", found.recomputed);
    // `commit` needs it, so it is there to the end.
    assert_eq!(
        found.difference,
        difference("reserve", "result", "t (7 bytes, ae448ac8)", "t (7 bytes, 0efbadd0)")
    );
}

#[test]
fn another_digest_is_found_and_said_to_be_alone() {
    let mut saga = charged();
    saga.rows[1].digest ^= 1;
    let found = only(&order(), &saga);
    assert_eq!((found.code, found.row, &found.difference), ("DIGEST", Some((2, 2)), &None));
    let (is, was) = (charged().rows[1].digest, saga.rows[1].digest);
    let after = "; everything after it is as recorded, so the recorded digest is spoilt";
    assert_eq!(found.what, format!("the digest differs: found {is:016x}, recorded {was:016x}{after}"));
}

#[test]
fn the_last_row_says_which_side_differs() {
    let mut saga = charged();
    saga.rows[3].digest ^= 1;
    let found = only(&order(), &saga);
    assert!(
        found.what.ends_with("; the state is the stored one, so the recorded digest or the effects differ")
    );
    // Decided by other rules: the state and the digest agree with each other.
    let mut saga = charged();
    edit(&mut saga, 4, |input| {
        let Input::Outcome(outcome) = input else { panic!("an outcome") };
        outcome.answer = Some(support::failed("BUSY", false));
    });
    let found = only(&order(), &saga);
    assert_eq!(found.difference, difference("", "stage", "1", "2"));
    saga.state = b"\x08\x01".to_vec();
    assert!(only(&order(), &saga).what.ends_with("; the stored state has neither"));
}

#[test]
fn rules_that_decided_otherwise_with_equal_effects_are_told_from_a_spoilt_digest() {
    // What a planted change of `advance` would leave: another state, the digest of it, and the same effects.
    let mut saga = charged();
    let mut stored = state::decode(skald_core::FORMAT, &saga.state).expect("a state");
    let mut rows = saga.rows.clone();
    let mut state = skald_core::State::new(&order());
    let mut effects = skald_core::Effects::default();
    for row in &rows {
        effects =
            skald_core::history::fold(&order(), saga.id, &saga.request, &mut state, row).expect("folds");
    }
    stored.steps[2].entered_at += 1;
    saga.state = state::encode(&stored);
    rows[3].digest = skald_core::history::digest(&saga.state, &effects);
    saga.rows = rows;
    let found = only(&order(), &saga);
    assert!(
        found.what.ends_with("; the stored state has the recorded digest, so its input or the rules differ")
    );
    assert_eq!(found.difference, difference("charge", "entered_at", "1800000000000", "1800000000001"));
}

#[test]
fn an_edited_state_is_found_field_by_field() {
    for (field, found, recorded, edit) in [
        ("status", "AwaitingSignal", "Succeeded", (|s| s.status = 5) as fn(&mut state::Step)),
        ("give_up_at", "1801209601000", "(none)", |s| s.give_up_at = 0),
        ("vouched", "(none)", "true", |s| s.vouched = true),
    ] {
        let mut saga = charged();
        let mut state = state::decode(skald_core::FORMAT, &saga.state).expect("a state");
        edit(&mut state.steps[3]);
        saga.state = state::encode(&state);
        let wrong = only(&order(), &saga);
        assert_eq!((wrong.code, wrong.row), ("STATE", None));
        assert_eq!(wrong.what, "the stored state is not the one that its history leads to");
        assert_eq!(wrong.difference, difference("fulfil", field, found, recorded));
    }
    let mut saga = charged();
    saga.state.extend([0xf8, 0x07, 1]);
    let found = only(&order(), &saga);
    assert_eq!(
        (found.what.as_str(), found.difference),
        ("the stored state's bytes are not canonical, or have fields that this binary does not know", None)
    );
    saga.state = vec![0xff];
    assert_eq!(only(&order(), &saga).code, "UNREADABLE");
    saga.rows[1].digest ^= 1;
    let codes: Vec<_> = verify(&order(), &saga).into_iter().map(|found| found.code).collect();
    assert_eq!(codes, ["UNREADABLE", "DIGEST"], "its history is judged all the same");
    saga.rows[1].digest ^= 1;
    saga.format += 1;
    assert!(only(&order(), &saga).what.contains("format 2, this binary reads up to 1"));
}

#[test]
fn missing_rows_are_named() {
    for (gone, row, what) in [
        (1..2, Some((3, 5)), "row 2 is missing"),
        (1..3, Some((4, 2)), "rows 2 to 3 are missing"),
        (0..1, Some((2, 2)), "row 1 is missing"),
        (3..4, None, "the history ends at row 3, the saga is at 4"),
        (0..4, None, "the history ends at row 0, the saga is at 4"),
    ] {
        let mut saga = charged();
        saga.rows.drain(gone.clone());
        let found = only(&order(), &saga);
        assert_eq!((found.code, found.row, found.what.as_str()), ("MISSING", row, what), "{gone:?}");
    }
    let mut saga = charged();
    saga.version = 3;
    assert_eq!(only(&order(), &saga).what, "the history goes on to row 4, the saga is at 3");
}

#[test]
fn rows_that_cannot_be_folded_are_named() {
    let spoilt = |spoil: fn(&mut Recorded)| {
        let mut saga = charged();
        spoil(&mut saga);
        let Finding { code, row, what, .. } = only(&order(), &saga);
        (code, row.map(|(seq, _)| seq), what)
    };
    for (found, code, row, what) in [
        (spoilt(|s| s.rows[2].rules = 9), "NEWER", 3, "it was decided by rules 9, this binary knows up to 1"),
        (spoilt(|s| s.rows[2].kind = 4), "KIND", 3, "its kind is CANCEL_REQUESTED, the input is SIGNAL"),
        (
            spoilt(|s| s.request.push(0)),
            "REQUEST",
            1,
            "the stored request is not the one that the history began with",
        ),
        (
            spoilt(|s| edit(s, 2, |input| *input = s_outcome("charge"))),
            "REFUSED",
            2,
            "it was accepted then and is refused now: no command was sent for \"charge\" epoch 1",
        ),
    ] {
        assert_eq!(found, (code, Some(row), what.to_owned()));
    }
    let (code, row, _) = spoilt(|s| s.rows[3].input = vec![0xff]);
    assert_eq!((code, row), ("UNREADABLE", Some(4)));
    // Only the first is told, with what comes of it.
    let (code, row, what) = spoilt(|s| {
        edit(s, 2, |input| {
            let Input::Outcome(outcome) = input else { panic!("an outcome") };
            outcome.answer = Some(support::rejected("NO"));
        });
    });
    assert_eq!((code, row), ("DIGEST", Some(2)));
    let wanted = "; row 3 can't be folded then: it was accepted then and is refused now: not possible now: \
                  the saga is Compensated and waits for no signal";
    assert!(what.ends_with(wanted), "{what}");
}

fn s_outcome(step: &str) -> Input {
    let (step, answer) = (step.into(), Some(support::succeeded(step)));
    Input::Outcome(Outcome { step, verb: 1, epoch: 1, attempt: 1, answer })
}

#[test]
fn a_changed_definition_is_found_where_it_matters() {
    let mut changed = (*order()).clone();
    changed.steps[3].give_up_ms += 1;
    let found = only(&changed, &charged());
    assert_eq!((found.code, found.row), ("DIGEST", Some((4, 2))));
    assert_eq!(found.difference, difference("fulfil", "give_up_at", "1801209601001", "1801209601000"));
}

#[test]
fn a_panic_while_folding_is_a_finding() {
    let mut broken = (*order()).clone();
    broken.steps[1].stage = 99;
    let found = only(&broken, &charged());
    assert_eq!((found.code, found.row), ("PANIC", Some((3, 5))));
}
