//! The rules over one wave, without a database: each answer, and what is left to be written.

use skald_proto::{order::v1 as order, participant::v1::StepResult};
use uuid::Uuid;

use super::*;
use crate::allocation::Counters;

fn saga(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn any(message: &impl Name) -> Any {
    pack(message)
}

fn command(number: u128, verb: Verb, action: &str) -> Command {
    Command {
        protocol: 1,
        saga: saga(number),
        step: if action == COMMIT { "commit" } else { "reserve" }.to_owned(),
        verb,
        epoch: 1,
        attempt: 1,
        action: action.to_owned(),
        input: None,
        needs: Vec::new(),
        traceparent: None,
    }
}

fn reserve(number: u128, wanted: &[(&str, i64)]) -> Command {
    let line = |(sku, quantity): &(&str, i64)| order::OrderLine {
        sku: (*sku).to_owned(),
        quantity: *quantity,
        ..Default::default()
    };
    let input = order::OrderInput { lines: wanted.iter().map(line).collect(), ..Default::default() };
    Command { input: Some(any(&input)), ..command(number, Verb::Run, RESERVE) }
}

fn commit(number: u128) -> Command {
    let reserved = proto::Reserved { step: "reserve".to_owned(), epoch: 1, units: 3 };
    let result = Some(any(&reserved));
    let needs = vec![StepResult { step: "whatever".to_owned(), result }];
    Command { needs, ..command(number, Verb::Run, COMMIT) }
}

fn release(number: u128) -> Command {
    command(number, Verb::Undo, RELEASE)
}

fn key(number: u128) -> Key {
    Key { saga: saga(number), step: "reserve".to_owned(), epoch: 1 }
}

/// A reservation of three units of `a`.
fn reservation(number: u128, state: State) -> Reservation {
    let lines = vec![Line { sku: "a".to_owned(), quantity: 3 }];
    Reservation { key: key(number), state, lines, held_at: 0, ended_at: None }
}

fn wave(commands: &[Command], reservations: Vec<Reservation>, reserved: i64) -> Wave {
    let demands = commands.iter().map(|command| (command.key(), Demand::of(command))).collect();
    let mut wave = Wave::new(demands, reservations);
    let counters = Counters { stocked: 10 + reserved, available: 10, reserved, committed: 0, version: 1 };
    wave.shelf = Shelf::new([("a".to_owned(), counters)]);
    wave
}

fn failed(answer: RunAnswer) -> Failed {
    match answer {
        RunAnswer::Failed(failed) => failed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reservation_names_itself_for_those_who_need_it() {
    let commands = [reserve(1, &[("a", 2)])];
    let mut wave = wave(&commands, vec![], 0);
    assert_eq!(wave.skus(), ["a"]);
    let reserved = proto::Reserved { step: "reserve".to_owned(), epoch: 1, units: 2 };
    assert_eq!(wave.run(&commands[0]), RunAnswer::Succeeded(Some(any(&reserved))));
    assert_eq!(wave.held, [(key(1), vec![Line { sku: "a".to_owned(), quantity: 2 }])]);
    assert_eq!(wave.ended, []);
}

#[test]
fn what_is_missing_is_named() {
    let commands = [reserve(1, &[("a", 11), ("zz", 1)])];
    let mut wave = wave(&commands, vec![], 0);
    assert_eq!(wave.skus(), ["a", "zz"]);
    let RunAnswer::Rejected(rejection) = wave.run(&commands[0]) else { panic!("not rejected") };
    assert_eq!(rejection.code, "OUT_OF_STOCK");
    assert_eq!(
        rejection.message,
        "out of stock: a (asked for 11, there are 10), zz (asked for 1, there are 0)"
    );
    let shortage =
        |sku: &str, requested, available| proto::Shortage { sku: sku.to_owned(), requested, available };
    let detail = proto::OutOfStock { missing: vec![shortage("a", 11, 10), shortage("zz", 1, 0)] };
    assert_eq!(rejection.detail, Some(any(&detail)));
    assert_eq!((wave.held, wave.ended), (vec![], vec![]));
}

#[test]
fn commit_takes_its_quantities_from_the_reservation() {
    let commands = [commit(1)];
    let mut wave = wave(&commands, vec![reservation(1, State::Held)], 3);
    assert_eq!(wave.skus(), ["a"]);
    let committed = RunAnswer::Succeeded(Some(any(&proto::Committed { units: 3 })));
    assert_eq!(wave.run(&commands[0]), committed);
    assert_eq!(wave.ended, [(key(1), State::Committed)]);
    assert_eq!(wave.shelf.changes()[0].after.committed, 3);
}

#[test]
fn a_reservation_that_is_not_held_can_not_be_committed() {
    for found in [vec![], vec![reservation(1, State::LetGo)], vec![reservation(1, State::Committed)]] {
        let commands = [commit(1)];
        let mut wave = wave(&commands, found, 3);
        let RunAnswer::Rejected(rejection) = wave.run(&commands[0]) else { panic!("not rejected") };
        assert_eq!(rejection.code, "RESERVATION_GONE");
        assert_eq!((wave.ended, wave.shelf.changes()), (vec![], vec![]));
    }
}

#[test]
fn release_lets_go_what_is_held_and_nothing_else() {
    let commands = [release(1)];
    let mut held = wave(&commands, vec![reservation(1, State::Held)], 3);
    let released = UndoAnswer::Undone(Some(any(&proto::Released { units: 3 })));
    assert_eq!(held.undo(&commands[0]), released.clone());
    assert_eq!(held.ended, [(key(1), State::LetGo)]);
    // another instance was first: the barrier finds out
    let mut gone = wave(&commands, vec![reservation(1, State::LetGo)], 3);
    assert_eq!(gone.undo(&commands[0]), released);
    assert_eq!((gone.ended, gone.shelf.changes()), (vec![], vec![]));
    for found in [vec![], vec![reservation(1, State::Committed)]] {
        let mut wave = wave(&commands, found, 3);
        let UndoAnswer::Failed(failed) = wave.undo(&commands[0]) else { panic!("not failed") };
        assert_eq!((failed.code.as_str(), failed.retryable), ("RESERVATION_GONE", false));
        assert_eq!((wave.ended, wave.shelf.changes()), (vec![], vec![]));
    }
}

#[test]
fn counters_below_a_reservation_are_an_alarm_and_change_nothing() {
    let commands = [commit(1), release(2)];
    let found = vec![reservation(1, State::Held), reservation(2, State::Held)];
    let mut wave = wave(&commands, found, 2);
    assert_eq!(failed(wave.run(&commands[0])).code, "INCONSISTENT");
    let UndoAnswer::Failed(failed) = wave.undo(&commands[1]) else { panic!("not failed") };
    assert_eq!((failed.code.as_str(), failed.retryable), ("INCONSISTENT", false));
    assert_eq!((wave.ended, wave.shelf.changes()), (vec![], vec![]));
}

#[test]
fn bad_input_is_final_and_an_unknown_action_is_not() {
    let no_input = command(1, Verb::Run, RESERVE);
    let no_lines = reserve(2, &[]);
    let no_need = command(3, Verb::Run, COMMIT);
    let unknown = command(4, Verb::Run, "teleport");
    let commands = [no_input, no_lines, no_need, unknown];
    let mut wave = wave(&commands, vec![], 0);
    assert_eq!(wave.skus(), Vec::<String>::new());
    let answers: Vec<(String, bool)> = commands
        .iter()
        .map(|command| failed(wave.run(command)))
        .map(|failed| (failed.code, failed.retryable))
        .collect();
    let bad = ("BAD_INPUT".to_owned(), false);
    assert_eq!(answers, [bad.clone(), bad.clone(), bad, ("UNIMPLEMENTED".to_owned(), true)]);
}

/// PostgreSQL looks for no text with a NUL: it would be a dead letter, and the saga would hang.
#[test]
fn a_reservation_whose_step_can_not_be_looked_for_is_a_bad_input() {
    let mut odd = commit(1);
    for need in &mut odd.needs {
        need.result = Some(any(&proto::Reserved { step: "a\0b".to_owned(), epoch: 1, units: 1 }));
    }
    let Demand::Commit(Err(why)) = Demand::of(&odd) else { panic!("it would be looked for") };
    assert_eq!((&*why.code, why.retryable), ("BAD_INPUT", false));
}
