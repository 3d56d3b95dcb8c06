//! Golden: one dead letter, whole.

use prost::{Message as _, Name as _};
use prost_types::{Any, Timestamp};
use skald_cli::operator::{letter, view};
use skald_proto::{
    admin::v1::{DeadLetter, DeadLetterState, GetDeadLetterResponse, Header},
    order::v1::PaymentMethod,
    participant::v1::{Command, StepResult, Verb},
    saga::v1::{Saga, SagaStatus},
};

const NOW: i64 = 1_700_000_000;

fn command() -> Command {
    let pay = PaymentMethod { token: "tok_ok".into() };
    let pay = Any { type_url: PaymentMethod::type_url(), value: pay.encode_to_vec() };
    let ticket = Any { type_url: "type.googleapis.com/acme.v1.Ticket".into(), value: vec![1, 2] };
    Command {
        protocol: 1,
        saga_id: "s".into(),
        step: "charge".into(),
        verb: Verb::Run.into(),
        epoch: 1,
        attempt: 3,
        action: "charge".into(),
        input: Some(ticket),
        needs: vec![StepResult { step: "pay".into(), result: Some(pay) }],
        command_id: "c".into(),
    }
}

fn whole(topic: &str, payload: Vec<u8>, text: &str) -> GetDeadLetterResponse {
    let letter = DeadLetter {
        id: 7,
        state: DeadLetterState::Open.into(),
        origin_topic: topic.into(),
        origin_partition: 3,
        origin_offset: 42,
        reason: "POISON: it panicked".into(),
        saga_id: "s".into(),
        at: Some(Timestamp { seconds: NOW - 60, nanos: 0 }),
        payload_bytes: payload.len() as i32,
        request_id: String::new(),
    };
    GetDeadLetterResponse {
        letter: Some(letter),
        headers: vec![Header { name: "traceparent".into(), value: "00-\u{1b}[31m".into() }],
        key: b"s".to_vec(),
        payload,
        text: text.into(),
        saga: Some(Saga { status: SagaStatus::Running.into(), ..Saga::default() }),
    }
}

#[test]
fn a_command_is_told_with_what_is_in_it() {
    let whole = whole("p.skald.payment.commands", command().encode_to_vec(), "as the server says");
    assert_eq!(
        letter::text(&whole, NOW, false),
        r#"dead letter  7
state        OPEN
reason       POISON: it panicked
meant for    p.skald.payment.commands/3 at 42
since        2023-11-14 22:12:20 (60 s ago)
saga         s
which is     RUNNING

traceparent: 00-�[31m

{
  "action": "charge",
  "attempt": 3,
  "command_id": "c",
  "epoch": 1,
  "input": {
    "@type": "type.googleapis.com/acme.v1.Ticket",
    "bytes": 2,
    "hex": "0102"
  },
  "needs": [
    {
      "result": {
        "@type": "type.googleapis.com/skald.order.v1.PaymentMethod",
        "token": "tok_ok"
      },
      "step": "pay"
    }
  ],
  "protocol": 1,
  "saga_id": "s",
  "step": "charge",
  "verb": "VERB_RUN"
}"#
    );
    let shown = letter::json(&whole);
    assert_eq!(shown["decoded"]["needs"][0]["result"]["token"], "tok_ok");
    assert_eq!(shown["letter"]["reason"], "POISON: it panicked");
}

#[test]
fn what_cannot_be_read_is_told_by_its_bytes() {
    let broken = whole("skald.payment.outcomes", vec![0xff; 3], "");
    let told = letter::text(&broken, NOW, false);
    assert!(told.ends_with("\n\n3 bytes that can't be read here: ffffff"), "{told}");
    assert!(letter::json(&broken)["decoded"].is_null());
    let event = whole("orders.events", command().encode_to_vec(), "in the server's words");
    assert!(letter::text(&event, NOW, false).ends_with("\n\nin the server's words"));
}

#[test]
fn a_list_says_that_there_are_more() {
    let letter = whole("t", vec![], "").letter.unwrap();
    assert_eq!(
        view::letters(&[letter], true, NOW, false),
        "\
ID  STATE  TOPIC  SAGA  SINCE     BYTES  REASON
 7  OPEN   t      s     60 s ago      0  POISON: it panicked
… and more: --limit N shows them"
    );
}
