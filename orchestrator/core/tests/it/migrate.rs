//! A saga goes on under another version of its definition: what follows at once, what can't be, and that replay stays exact.

use std::sync::Arc;

use skald_core::{
    Definition, Input, Refused, State, advance, advance_to,
    archive::Recorded,
    definition::parse,
    history::{self, Lineage, Mismatch},
    input::{self, Act, Migrate, Operator},
    machine::Context,
    verify::{Finding, verify},
};

use crate::{
    definitions::order,
    history::histories,
    support::{Saga, saga},
    verify::recorded,
};

const ORDER: &str = include_str!("../../definitions/order.toml");

/// Version 2 of the order saga: its text with pieces replaced.
fn second(pieces: &[(&str, &str)]) -> Arc<Definition> {
    let mut text = ORDER.replace("version = 1", "version = 2");
    for (from, to) in pieces {
        assert!(text.contains(from), "{from:?} is in the file");
        text = text.replacen(from, to, 1);
    }
    Arc::new(parse(&text).expect("a sound definition"))
}

/// Beside `pay`, and before `commit`.
fn with_a_check() -> Arc<Definition> {
    let check = "[[step]]\nname = \"check\"\nparticipant = \"fraud\"\naction = \"check\"\nno_effect = true\n\
                 after = [\"reserve\"]\n# From here on";
    let commit = "pivot = true\nafter = [\"fulfil\", \"check\"]\n";
    second(&[("# From here on", check), ("pivot = true\n", commit)])
}

fn reserved() -> Saga {
    saga(&order()).started().after("10s").succeeded("reserve")
}

fn charging() -> Saga {
    reserved().signal("pay", "p1")
}

#[test]
fn what_it_could_have_entered_is_entered_at_once() {
    reserved().after("5s").moved_to(&with_a_check()).expect(
        "
        check: Running e1 a1 Answer entered+15s gives_up+30m15s
        send check RUN/1 attempt 1
        wake +30m10s
        follow order 2
        ",
    );
}

#[test]
fn what_is_in_flight_goes_on_and_keeps_its_deadline() {
    let hurried = second(&[
        ("deadline = \"14d\"", "deadline = \"7d\""),
        ("action = \"commit\"", "action = \"settle\""),
    ]);
    charging().moved_to(&hurried).expect("wake +30m10s\nfollow order 2").succeeded("charge").expect(
        "
            pay: Succeeded e1 entered+10s signal=p1
            charge: Succeeded e1 entered+10s run=Succeeded
            fulfil: AwaitingSignal e1 entered+10s gives_up+7days10s
            saga: Forward created+0s PAID
            wake +7days10s
            event Stage PAID
            ",
    );
}

#[test]
fn a_stage_that_the_new_version_gives_to_what_was_done_is_reached_now() {
    let staged = second(&[
        ("\"RESERVED\", \"PAID\"", "\"RESERVED\", \"PAYING\", \"PAID\""),
        ("name = \"pay\"\nsignal = true\n", "name = \"pay\"\nsignal = true\nstage = \"PAYING\"\n"),
    ]);
    charging().moved_to(&staged).expect(
        "
        saga: Forward created+0s PAYING
        wake +30m10s
        event Stage PAYING
        follow order 2
        ",
    );
}

#[test]
fn on_its_way_back_it_goes_on_undoing() {
    charging()
        .cancelled()
        .moved_to(&with_a_check())
        .expect("wake never\nfollow order 2")
        .undone("charge")
        .undone("reserve")
        .expect(
            "
            reserve: Undone e1 entered+0s run=Succeeded undo=Undone
            saga: Compensated created+0s RESERVED reason=CUSTOMER
            wake never
            event Compensated CUSTOMER
            ",
        );
}

#[test]
fn a_paused_saga_sends_what_is_new_when_it_goes_on() {
    reserved()
        .paused()
        .after("1h")
        .moved_to(&with_a_check())
        .expect(
            "
            check: Running e1 a1 Answer entered+1h10s gives_up+1h30m10s
            wake never
            follow order 2
            ",
        )
        .after("1h")
        .resumed()
        .expect(
            "
            pay: AwaitingSignal e1 entered+10s gives_up+2h30m10s
            check: Running e1 a1 Answer entered+1h10s gives_up+2h30m10s
            saga: Forward created+0s RESERVED
            send check RUN/1 attempt 1
            wake +2h30m10s
            ",
        );
}

#[test]
fn what_can_t_move_says_exactly_why() {
    let table: [(Saga, Arc<Definition>, &str); 8] = [
        (
            charging(),
            second(&[("action = \"charge\"", "action = \"take\"")]),
            "NotAllowed: not possible now: charge was entered: action: \"charge\" becomes \"take\"",
        ),
        (
            charging().succeeded("charge").signal("fulfil", "f"),
            with_a_check(),
            "NotAllowed: not possible now: commit was entered: it would come after check and did not",
        ),
        (
            charging(),
            second(&[("needs = [\"pay\"]\n", "")]),
            "NotAllowed: not possible now: charge is in flight: needs: pay becomes nothing",
        ),
        (
            charging().succeeded("charge").signal("fulfil", "f").succeeded("commit"),
            with_a_check(),
            "NotAllowed: not possible now: it is Completed: nothing of it is left to follow a definition",
        ),
        (
            charging().cancelled().undone("charge").undone("reserve"),
            with_a_check(),
            "NotAllowed: not possible now: it is Compensated: nothing of it is left to follow a definition",
        ),
        (reserved(), order(), "NotAllowed: not possible now: it follows order 1 already"),
        (
            reserved().after("2d"),
            second(&[("max_age = \"38d\"", "max_age = \"2d\""), ("deadline = \"14d\"", "deadline = \"1d\"")]),
            "NotAllowed: not possible now: it is older than max_age there (2days): it would be ended for that at once",
        ),
        (saga(&order()), with_a_check(), "Malformed: the saga has not started"),
    ];
    for (saga, to, why) in table {
        saga.look_away().moved_to(&to).expect(&format!("refused, {why}"));
    }
}

/// A move of `saga`, as it is asked for with these hashes and at this version.
fn asked(saga: &Saga, from: &Definition, to: &Definition, version: u32) -> Input {
    let migrate = Migrate { from: from.hash().into(), to: to.hash().into() };
    let (request_id, reason) = ("r1".into(), "because".into());
    assert!(saga.state.version > 0);
    Input::Operator(Operator {
        request_id,
        expected_version: version,
        reason,
        act: Some(Act::Migrate(migrate)),
    })
}

#[test]
fn a_move_is_guarded_by_version_and_by_both_hashes() {
    let (mut saga, new, other) = (reserved(), with_a_check(), second(&[]));
    let before = saga.state.clone();
    let cx = Context { saga: saga.id, definition: &saga.definition, now: saga.now };
    let old = saga.definition.clone();
    let mut told = |input: &Input, to: Option<&Definition>| {
        let refused = advance_to(cx, to, &mut saga.state, input).expect_err("refused");
        assert_eq!(saga.state, before);
        refused
    };
    let well = asked(&reserved(), &old, &new, 2);
    let stale = asked(&reserved(), &old, &new, 1);
    assert_eq!(told(&stale, Some(&new)), Refused::Moved { expected: 1, found: 2 });
    assert!(matches!(told(&well, None), Refused::Malformed(_)), "without the target at hand");
    assert!(matches!(told(&well, Some(&other)), Refused::Malformed(_)), "with another target at hand");
    let elsewhere = asked(&reserved(), &other, &new, 2);
    let Refused::NotAllowed(why) = told(&elsewhere, Some(&new)) else { panic!("not allowed") };
    assert_eq!(why, "it follows order 1, which is not what it was to leave");
    assert!(advance(cx, &mut saga.state.clone(), &well).is_err(), "the plain door has no target");
}

/// Moved twice, and then completed.
fn twice() -> Saga {
    let third = Arc::new(Definition { version: 3, ..second(&[]).as_ref().clone() });
    reserved()
        .moved_to(&second(&[("deadline = \"14d\"", "deadline = \"7d\"")]))
        .signal("pay", "p1")
        .moved_to(&third)
        .succeeded("charge")
        .signal("fulfil", "f")
        .succeeded("commit")
}

fn judged(saga: &Saga, recorded: &Recorded) -> Vec<Finding> {
    let known = saga.known();
    verify(Lineage::new(&saga.definition, &known), recorded)
}

#[test]
fn a_history_over_three_definitions_is_exact() {
    let saga = twice();
    saga.replays();
    assert_eq!((saga.definition.version, saga.left.len()), (3, 2));
    let whole = recorded(&saga);
    assert_eq!(judged(&saga, &whole), []);
    // Without the others it can't be folded, and says which row needs one.
    let replayed = history::replay(&saga.definition, saga.id, &saga.request, &saga.rows);
    assert!(matches!(replayed, Err(Mismatch::Unknown { seq: 3, .. })), "{replayed:?}");
    let found = verify(&saga.definition, &whole);
    assert_eq!((found.len(), found[0].code), (1, "DEFINITION"));
    assert!(found[0].what.starts_with("row 3 moves the saga from or to a definition that is not there: "));
}

#[test]
fn a_hand_edited_move_is_named() {
    let saga = twice();
    let edit = |seq: usize, edit: &dyn Fn(&mut Migrate)| {
        let mut whole = recorded(&saga);
        let mut input = input::decode(&whole.rows[seq - 1].input).expect("an input");
        let Input::Operator(Operator { act: Some(Act::Migrate(migrate)), .. }) = &mut input else {
            panic!("row {seq} is no move")
        };
        edit(migrate);
        whole.rows[seq - 1].input = input::encode(&input);
        let found = judged(&saga, &whole);
        (found[0].code, found[0].row.map(|(seq, _)| seq))
    };
    // The same but for a deadline that no row meets: only the digest of the row itself tells.
    let third = saga.definition.hash();
    assert_eq!(edit(3, &|migrate| migrate.to = third.into()), ("DIGEST", Some(3)));
    assert_eq!(edit(5, &|migrate| migrate.from = third.into()), ("REFUSED", Some(5)));
    // The saga's own row names another definition.
    let known = saga.known();
    let found = verify(Lineage::new(&saga.left[1], &known), &recorded(&saga));
    assert_eq!(found[0].what, "its history leads to definition order 3, its row names order 2");
}

#[test]
fn wherever_a_saga_moves_to_a_twin_it_ends_as_it_would_have() {
    let mut moves = 0;
    for (name, saga) in histories() {
        let twin = Arc::new(Definition { version: 99, ..saga.definition.as_ref().clone() });
        for at in 1..saga.rows.len() {
            let Some(moved) = folded_with_a_move(&saga, &twin, at) else { continue };
            moves += 1;
            let version = moved.version - 1;
            assert_eq!(State { version, ..moved }, saga.state, "{name}, moved after row {at}");
        }
    }
    assert!(moves > 100, "{moves}");
}

/// The state that the saga's inputs lead to, with a move after row `at`; None: it had ended there.
fn folded_with_a_move(saga: &Saga, twin: &Definition, at: usize) -> Option<State> {
    let mut state = State::new(&saga.definition);
    let mut definition = saga.definition.as_ref();
    for row in &saga.rows {
        let mut input = match input::decode(&row.input).expect("an input") {
            Input::Started(_) => Input::Started(history::started(&saga.request).expect("a request")),
            other => other,
        };
        if let Input::Operator(operator) = &mut input {
            operator.expected_version = state.version;
        }
        let cx = Context { saga: saga.id, definition, now: row.at };
        advance(cx, &mut state, &input).expect("accepted, as it was");
        if row.seq as usize == at {
            let now = state.now;
            let input = asked(saga, definition, twin, state.version);
            let cx = Context { saga: saga.id, definition, now };
            if state.is_final() {
                assert!(advance_to(cx, Some(twin), &mut state, &input).is_err());
                return None;
            }
            advance_to(cx, Some(twin), &mut state, &input).expect("a twin can always be followed");
            definition = twin;
        }
    }
    Some(state)
}
