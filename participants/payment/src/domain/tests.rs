//! The rules over charges, without a database or a gateway: each answer, and what is left to be written and told.

use skald_proto::{
    order::v1::{OrderInput, PaymentMethod},
    participant::v1::StepResult,
};
use uuid::Uuid;

use super::*;

fn key() -> Key {
    Key { saga: Uuid::nil(), step: "charge".to_owned(), epoch: 1 }
}

fn command(verb: Verb, total_minor: i64) -> Command {
    let input =
        OrderInput { total_minor, currency: "EUR".into(), customer_id: "bob".into(), ..Default::default() };
    let method = PaymentMethod { token: "tok_ok".into() };
    Command {
        protocol: 1,
        saga: Uuid::nil(),
        step: "charge".to_owned(),
        verb,
        epoch: 1,
        attempt: 1,
        action: if verb == Verb::Run { CHARGE } else { REFUND }.to_owned(),
        input: Some(pack(&input)),
        needs: vec![StepResult { step: "whatever".into(), result: Some(pack(&method)) }],
        traceparent: None,
    }
}

fn row(state: State) -> Charge {
    let refunded = state == State::Refunded;
    let captured = refunded || state == State::Captured;
    Charge {
        key: key(),
        amount_minor: 500,
        currency: "EUR".to_owned(),
        customer_id: "bob".to_owned(),
        method_token: "tok_ok".to_owned(),
        state,
        gateway_ref: captured.then(|| "ch_1".to_owned()),
        refund_ref: refunded.then(|| "re_1".to_owned()),
        intent_at: 0,
        settled_at: None,
        refunded_at: None,
    }
}

fn intent(verb: Verb) -> Intent {
    Intent {
        key: key(),
        verb,
        attempt: 1,
        gateway_key: "key".to_owned(),
        calls: 1,
        traceparent: Some("trace".to_owned()),
        partition: 0,
    }
}

fn code(answer: RunAnswer) -> String {
    match answer {
        RunAnswer::Failed(failed) => format!("{} {}", failed.code, failed.retryable),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_charge_begins_as_an_intent_and_knows_its_call() {
    let mut charges = Charges::default();
    assert_eq!(charges.run(&command(Verb::Run, 500)), RunAnswer::Intent);
    assert_eq!(charges.new_ones(), [&row(State::Intent)]);
    assert_eq!(charges.changed(), []);
    let call = Call::Charge { amount_minor: 500, currency: "EUR".into(), token: "tok_ok".into() };
    assert_eq!(charges.call(&intent(Verb::Run)), Some(call));
    assert_eq!(charges.call(&intent(Verb::Undo)), None, "there is nothing to refund yet");
}

#[test]
fn what_costs_nothing_needs_no_gateway() {
    let mut charges = Charges::default();
    let free = Some(charged(String::new(), 0, "EUR".into()));
    assert_eq!(charges.run(&command(Verb::Run, 0)), RunAnswer::Succeeded(free));
    let back = Some(refunded(String::new(), 0, "EUR".into()));
    assert_eq!(charges.undo(&command(Verb::Undo, 0)), UndoAnswer::Undone(back));
    charges.seal(&command(Verb::Undo, 0));
    assert_eq!((charges.new_ones(), charges.changed(), charges.told.len()), (vec![], vec![], 0));
}

#[test]
fn bad_input_is_final() {
    let no_token = Command { needs: vec![], ..command(Verb::Run, 500) };
    let no_input = Command { input: None, ..command(Verb::Run, 500) };
    let unknown = Command { action: "teleport".into(), ..command(Verb::Run, 500) };
    let mut lower = command(Verb::Run, 500);
    lower.input = Some(pack(&OrderInput { total_minor: 1, currency: "eur".into(), ..Default::default() }));
    for (command, expected) in [
        (command(Verb::Run, -1), "BAD_INPUT false"),
        (command(Verb::Run, 1_000_000_000_000_001), "BAD_INPUT false"),
        (no_token, "BAD_INPUT false"),
        (no_input, "BAD_INPUT false"),
        (lower, "BAD_INPUT false"),
        (unknown, "UNIMPLEMENTED true"),
    ] {
        let mut charges = Charges::default();
        assert_eq!(code(charges.run(&command)), expected);
        assert_eq!(charges.new_ones(), Vec::<&Charge>::new());
    }
}

#[test]
fn each_settlement_writes_its_state_and_tells_it() {
    let succeeded = Settlement::Succeeded(Some(charged("ch_1".into(), 500, "EUR".into())));
    let rejected = Settlement::Rejected(declined("card_declined".into()));
    let undone = Settlement::Undone(Some(refunded("re_1".into(), 500, "EUR".into())));
    for (verb, from, settlement, expected, decline_code) in [
        (Verb::Run, State::Intent, succeeded.clone(), row(State::Captured), ""),
        (Verb::Run, State::Intent, rejected, row(State::Declined), "card_declined"),
        (Verb::Undo, State::Captured, undone, row(State::Refunded), ""),
        // a person found out what nobody knew
        (Verb::Run, State::Unresolved, succeeded, row(State::Captured), ""),
    ] {
        let mut charges = Charges::new(vec![row(from)]);
        charges.settle(&intent(verb), &settlement);
        assert_eq!(charges.changed(), [(from, &expected)]);
        assert_eq!(charges.new_ones(), Vec::<&Charge>::new());
        let told =
            Told { charge: expected, decline_code: decline_code.into(), traceparent: Some("trace".into()) };
        assert_eq!(charges.told, [told]);
    }
}

#[test]
fn unresolved_is_written_once_and_told_to_nobody() {
    let mut charges = Charges::new(vec![row(State::Intent)]);
    charges.settle(&intent(Verb::Run), &Settlement::Unresolved);
    assert_eq!(charges.changed(), [(State::Intent, &row(State::Unresolved))]);
    assert_eq!(charges.told, []);
    let mut charges = Charges::new(vec![row(State::Unresolved)]);
    charges.settle(&intent(Verb::Run), &Settlement::Unresolved);
    assert_eq!(charges.changed(), []);
}

#[test]
fn only_what_was_captured_is_refunded() {
    let undo = |rows: Vec<Charge>| Charges::new(rows).undo(&command(Verb::Undo, 500));
    assert_eq!(undo(vec![row(State::Captured)]), UndoAnswer::Intent);
    let already = Some(refunded("re_1".into(), 500, "EUR".into()));
    assert_eq!(undo(vec![row(State::Refunded)]), UndoAnswer::Undone(already));
    for rows in [vec![], vec![row(State::Intent)], vec![row(State::Declined)], vec![row(State::Void)]] {
        let UndoAnswer::Failed(failed) = undo(rows) else { panic!("not failed") };
        assert_eq!((failed.code.as_str(), failed.retryable), ("INCONSISTENT", false));
    }
    let UndoAnswer::Failed(failed) = undo(vec![row(State::Unresolved)]) else { panic!("not failed") };
    assert_eq!((failed.code.as_str(), failed.retryable), ("UNRESOLVED", false));
    let call = Call::Refund { charge_ref: "ch_1".into(), amount_minor: 500, currency: "EUR".into() };
    assert_eq!(Charges::new(vec![row(State::Captured)]).call(&intent(Verb::Undo)), Some(call));
}

#[test]
fn a_sealed_charge_leaves_a_void_row_and_no_other_is_touched() {
    let mut charges = Charges::default();
    charges.seal(&command(Verb::Undo, 500));
    let void = Charge { method_token: String::new(), ..row(State::Void) };
    assert_eq!(charges.new_ones(), [&void]);
    let mut charges = Charges::new(vec![row(State::Captured)]);
    charges.seal(&command(Verb::Undo, 500));
    assert_eq!((charges.new_ones(), charges.changed()), (vec![], vec![]));
}

/// Another instance was first, after the barrier was looked up: a verdict is checked by the barrier, a failure is not.
#[test]
fn a_charge_that_is_there_already_is_not_made_again_and_no_failure_is_final() {
    let captured = RunAnswer::Succeeded(Some(charged("ch_1".into(), 500, "EUR".into())));
    for (state, expected) in [
        (State::Intent, RunAnswer::Intent),
        (State::Captured, captured.clone()),
        (State::Refunded, captured),
        (State::Declined, RunAnswer::Rejected(declined(String::new()))),
    ] {
        let mut charges = Charges::new(vec![row(state)]);
        assert_eq!(charges.run(&command(Verb::Run, 500)), expected);
        assert_eq!((charges.new_ones(), charges.changed()), (vec![], vec![]));
    }
    for state in [State::Void, State::Unresolved] {
        let mut charges = Charges::new(vec![row(state)]);
        assert_eq!(code(charges.run(&command(Verb::Run, 500))), "CONFLICT true");
    }
}
