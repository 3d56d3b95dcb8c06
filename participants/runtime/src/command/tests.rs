//! What is a command, and what is a dead letter.

use super::*;

const SAGA: &str = "0193d5a0-0000-7000-8000-000000000001";

fn message() -> wire::Command {
    wire::Command {
        protocol: 1,
        saga_id: SAGA.to_owned(),
        step: "reserve".to_owned(),
        verb: wire::Verb::SealUndo.into(),
        epoch: 2,
        attempt: 3,
        action: "release".to_owned(),
        ..wire::Command::default()
    }
}

/// The answer must fit into a record, whatever somebody made up: the outcome would be sent again for ever.
#[test]
fn a_failure_that_quotes_the_command_is_cut() {
    let failed = Failed::last("BAD_INPUT", format!("{:?} is nothing", "\u{1}".repeat(400_000)));
    let wire::outcome::Answer::Failed(said) = failed.into() else { panic!("not failed") };
    assert_eq!((said.message.chars().count(), &*said.code), (1000, "BAD_INPUT"));
}

#[test]
fn a_good_message_is_a_command() {
    let c = Command::decode(&message().encode_to_vec(), SAGA.as_bytes(), Some("t".to_owned())).expect("good");
    assert_eq!((c.verb, c.epoch, c.attempt), (Verb::SealUndo, 2, 3));
    assert_eq!(c.key(), Key { saga: SAGA.parse().expect("a uuid"), step: "reserve".to_owned(), epoch: 2 });
    assert_eq!(c.traceparent.as_deref(), Some("t"));
}

#[test]
fn a_message_of_a_later_protocol_is_a_command_too() {
    let mut m = message();
    m.protocol = 9;
    assert_eq!(Command::check(m, None).expect("it is answered, not buried").protocol, 9);
}

#[test]
fn everything_else_is_malformed_and_says_why() {
    let bad = |change: &dyn Fn(&mut wire::Command)| {
        let mut m = message();
        change(&mut m);
        Command::check(m, None).expect_err("malformed").to_string()
    };
    let upper = SAGA.to_uppercase();
    for (problem, text) in [
        (bad(&|m| m.saga_id.clear()), "saga_id"),
        (bad(&|m| m.saga_id = "0193d5a0-0000-4000-8000-000000000001".to_owned()), "saga_id"),
        (bad(&|m| m.saga_id.clone_from(&upper)), "saga_id"),
        (bad(&|m| m.saga_id = SAGA.replace('-', "")), "saga_id"),
        (bad(&|m| m.verb = 0), "verb"),
        (bad(&|m| m.verb = 77), "verb"),
        (bad(&|m| m.step.clear()), "step"),
        (bad(&|m| m.step = "Reserve!".to_owned()), "step"),
        (bad(&|m| m.step = "r".repeat(65)), "step"),
        (bad(&|m| m.epoch = 0), "epoch"),
        (bad(&|m| m.epoch = u32::MAX), "epoch"),
        (bad(&|m| m.attempt = 0), "attempt"),
    ] {
        assert!(problem.contains(text), "{problem}");
    }
    let decode = |bytes: &[u8], key: &[u8]| Command::decode(bytes, key, None).expect_err("malformed");
    assert!(matches!(decode(b"\xff\xff", SAGA.as_bytes()), Malformed::Undecodable(_)));
    assert!(matches!(decode(&message().encode_to_vec(), b"another"), Malformed::Key { .. }));
    assert!(matches!(decode(&message().encode_to_vec(), b""), Malformed::Key { .. }));
    // an empty message decodes, and is none
    assert!(matches!(decode(b"", b""), Malformed::SagaId(_)));
}
