//! Which changes of a definition a running saga can follow: what it entered binds, what it did not enter does not.

use skald_core::{
    Definition, Input,
    definition::parse,
    input::Signal,
    transfer::{changes, obstacles},
};

use crate::{
    definitions::order,
    history::histories,
    support::{Saga, saga},
};

const ORDER: &str = include_str!("../../definitions/order.toml");

/// The order saga with a piece of its text replaced.
fn with(from: &str, to: &str) -> Definition {
    assert!(ORDER.contains(from), "{from:?} is in the file");
    parse(&ORDER.replacen(from, to, 1)).expect("a sound definition")
}

fn charging() -> Saga {
    saga(&order()).started_with(&[("pay", "p")]).succeeded("reserve")
}

#[track_caller]
fn moves(saga: &Saga, new: &Definition, why: &[&str]) {
    assert_eq!(obstacles(&saga.state, &saga.definition, new), why);
}

#[test]
fn every_saga_can_follow_its_own_definition() {
    for (name, saga) in histories() {
        assert_eq!(obstacles(&saga.state, &saga.definition, &saga.definition), [""; 0], "{name}");
        assert_eq!(changes(&saga.definition, &saga.definition), [], "{name}");
    }
}

#[test]
fn what_was_entered_binds() {
    for (from, to, why) in [
        (
            "action = \"charge\"",
            "action = \"pay\"",
            &["charge was entered: action: \"charge\" becomes \"pay\""][..],
        ),
        (
            "undo = \"release\"",
            "no_effect = true",
            &[
                "reserve was entered: undo: \"release\" becomes nothing",
                "reserve was entered: no_effect: false becomes true",
            ],
        ),
        (
            "participant = \"payment\"",
            "participant = \"bank\"",
            &["charge was entered: participant: \"payment\" becomes \"bank\""],
        ),
        (
            "[\"RESERVED\", \"PAID\"",
            "[\"HELD\", \"RESERVED\", \"PAID\"",
            &["it reached stage RESERVED, and the stages up to there change"],
        ),
        ("name = \"order\"", "name = \"purchase\"", &["name: \"order\" becomes \"purchase\""]),
    ] {
        moves(&charging(), &with(from, to), why);
    }
    let without_pay = parse(
        &ORDER
            .replace("[[step]]\nname = \"pay\"\nsignal = true\ndeadline = \"30m\"\n", "")
            .replace("needs = [\"pay\"]\n", ""),
    )
    .expect("sound");
    moves(
        &charging(),
        &without_pay,
        &["charge is in flight: needs: pay becomes nothing", "pay was entered and is removed"],
    );
    let not_yet = saga(&order()).started();
    moves(&not_yet, &without_pay, &[]);
    // But a signal that was kept for it would be lost.
    moves(
        &saga(&order()).started_with(&[("pay", "p")]),
        &without_pay,
        &["it keeps the signal pay, for which no step waits"],
    );
}

#[test]
fn what_was_not_entered_may_change() {
    for (from, to) in [
        ("action = \"commit\"", "action = \"settle\""),
        ("deadline = \"14d\"", "deadline = \"7d\""),
        ("deadline = \"30m\"", "deadline = \"1h\""),
        ("max_age = \"38d\"", "max_age = \"30d\""),
        ("\"FULFILLED\", \"COMPLETED\"]", "\"FULFILLED\", \"CLOSED\", \"COMPLETED\"]"),
    ] {
        moves(&charging(), &with(from, to), &[]);
    }
    let added = with(
        "# From here on",
        "[[step]]\nname = \"check\"\nparticipant = \"fraud\"\naction = \"check\"\nno_effect = true\n# From here on",
    );
    moves(&charging(), &added, &[]);
}

#[test]
fn a_place_among_what_was_entered_is_kept() {
    let new = "[[step]]\nname = \"check\"\nparticipant = \"fraud\"\naction = \"check\"\nno_effect = true\n";
    let before = with("# The customer pays", &format!("{new}# The customer pays"));
    moves(&saga(&order()).started(), &before, &[]);
    moves(
        &charging(),
        &before,
        &[
            "charge was entered: it would come after check and did not",
            "pay was entered: it would come after check and did not",
        ],
    );
    let beside = with("undo = \"refund\"\n", "undo = \"refund\"\nafter = [\"pay\"]\n");
    moves(&charging(), &beside, &[]);
    let parallel = parse(
        &ORDER
            .replace("name = \"pay\"\nsignal = true\n", "name = \"pay\"\nsignal = true\nafter = []\n")
            .replace("name = \"charge\"\n", "name = \"charge\"\nafter = [\"reserve\", \"pay\"]\n"),
    )
    .expect("sound");
    moves(&charging(), &parallel, &["pay was entered: it came after reserve and no longer does"]);
}

#[test]
fn a_result_that_was_not_kept_cannot_be_needed() {
    // `charge` needs `pay`; nobody needs it later, so it was dropped.
    let waiting = charging().succeeded("charge");
    let greedy = with("needs = [\"reserve\"]", "needs = [\"reserve\", \"pay\"]");
    moves(&waiting, &greedy, &["commit needs the result of pay, which was not kept"]);
    moves(&charging(), &greedy, &[]);
}

#[test]
fn on_its_way_back_nobody_needs_a_result() {
    let committing = charging().succeeded("charge").signal("fulfil", "f");
    let greedy = with("needs = [\"reserve\"]", "needs = [\"reserve\", \"fulfil\"]");
    moves(
        &committing,
        &greedy,
        &[
            "commit is in flight: needs: reserve becomes fulfil, reserve",
            "commit needs the result of fulfil, which was not kept",
        ],
    );
    moves(&committing.until_due().fired().sealed("commit"), &greedy, &[]);
}

#[test]
fn a_command_in_flight_is_sent_again_as_it_was() {
    let bare = with("needs = [\"pay\"]\n", "");
    moves(&charging(), &bare, &["charge is in flight: needs: pay becomes nothing"]);
    moves(&saga(&order()).started(), &bare, &[]);
    moves(&charging().succeeded("charge"), &bare, &[]);
}

#[test]
fn a_result_that_never_was_is_not_missed() {
    let signal = Signal { name: "pay".into(), signal_id: "p".into(), payload: None };
    let charging = saga(&order()).started().succeeded("reserve").input(Input::Signal(signal)).look_away();
    moves(&charging, &order(), &[]);
}

#[test]
fn changes_say_what_binds() {
    let new = parse(
        &ORDER
            .replace("deadline = \"14d\"", "deadline = \"7d\"")
            .replace("action = \"charge\"", "action = \"take\"")
            .replace("max_age = \"38d\"", "max_age = \"30d\"")
            .replace("version = 1", "version = 2"),
    )
    .expect("sound");
    let all: Vec<_> = changes(&order(), &new).into_iter().map(|c| (c.step, c.what, c.binds)).collect();
    let line = |step: &str, what: &str, binds| (step.to_owned(), what.to_owned(), binds);
    assert_eq!(
        all,
        [
            line("", "max_age: 1month 7days 13h 26m 24s becomes 30days", false),
            line("charge", "action: \"charge\" becomes \"take\"", true),
            line("fulfil", "deadline: 14days becomes 7days", false),
        ]
    );
}
