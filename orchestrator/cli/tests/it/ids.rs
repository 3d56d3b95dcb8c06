//! What is told about a shortened id.

use prost_types::Timestamp;
use skald_cli::{client::ids::meant, exit::Exit};
use skald_proto::{
    admin::v1::ResolveIdResponse,
    saga::v1::{Saga, SagaStatus},
};

const NOW: i64 = 1_700_000_000;

fn saga(id: &str) -> Saga {
    Saga {
        saga_id: id.into(),
        definition: "order".into(),
        status: SagaStatus::Parked.into(),
        customer_id: "ada".into(),
        created_at: Some(Timestamp { seconds: NOW - 300, nanos: 0 }),
        ..Saga::default()
    }
}

fn found(ids: &[&str], more: bool) -> ResolveIdResponse {
    ResolveIdResponse { sagas: ids.iter().map(|id| saga(id)).collect(), more, searched: "the cellar".into() }
}

#[test]
fn one_is_meant() {
    assert_eq!(meant("0b", found(&["a0b"], false), NOW), Ok("a0b".to_owned()));
}

#[test]
fn several_are_named_and_nothing_is_done() {
    let failure = meant("0b", found(&["a0b", "c0b"], false), NOW).unwrap_err();
    assert_eq!(failure.exit, Exit::Usage);
    assert_eq!(
        failure.text(false),
        "\
error: 0b can mean 2; nothing was done
  a0b: order PARKED, customer ada, began 5 min ago
  c0b: order PARKED, customer ada, began 5 min ago
  → give more digits"
    );
    let failure = meant("0b", found(&["a0b", "c0b"], true), NOW).unwrap_err();
    assert!(failure.message.contains("more than 2"), "{}", failure.message);
    assert!(meant("0b", found(&["a0b"], true), NOW).is_err(), "one of many is not the one");
}

#[test]
fn none_is_told_with_where_it_was_looked_for() {
    let failure = meant("0b", found(&[], false), NOW).unwrap_err();
    assert_eq!(failure.exit, Exit::NotFound);
    assert_eq!(
        failure.text(false),
        "error: there is no order or saga 0b\n  → looked for in the cellar; a whole id is always found"
    );
}
