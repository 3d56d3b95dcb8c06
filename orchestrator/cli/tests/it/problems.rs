//! What a person and a program are told when a call fails.

use std::time::Duration;

use skald_cli::{
    client::problem::failure,
    exit::{Exit, Failure},
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

fn bad_fields() -> Status {
    let mut details = ErrorDetails::new();
    details.add_bad_request_violation("order.currency", "must be an ISO 4217 code");
    details.add_bad_request_violation("order.lines[1].sku", "stands in a line before");
    Status::with_error_details(Code::InvalidArgument, "nothing was stored", details)
}

#[test]
fn each_bad_field_is_named() {
    let failure = failure(&bad_fields());
    assert_eq!(failure.exit, Exit::Usage);
    assert_eq!(
        failure.text(false),
        "\
error: nothing was stored
  order.currency: must be an ISO 4217 code
  order.lines[1].sku: stands in a line before
  → correct that and try again"
    );
    assert_eq!(
        failure.json().to_string(),
        r#"{"error":{"advice":"correct that and try again","exit_code":2,"fields":[{"description":"must be an ISO 4217 code","field":"order.currency"},{"description":"stands in a line before","field":"order.lines[1].sku"}],"message":"nothing was stored"}}"#
    );
}

#[test]
fn overload_says_when_to_come_back() {
    let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(500)));
    let status = Status::with_error_details(Code::ResourceExhausted, "full", details);
    let failure = failure(&status);
    assert_eq!(failure.exit, Exit::Unavailable);
    assert_eq!(failure.text(false), "error: full\n  → too much is under way: try again after 500 ms");
}

#[test]
fn every_code_has_its_exit() {
    for (code, exit) in [
        (Code::InvalidArgument, Exit::Usage),
        (Code::NotFound, Exit::NotFound),
        (Code::FailedPrecondition, Exit::Refused),
        (Code::AlreadyExists, Exit::Refused),
        (Code::Unavailable, Exit::Unavailable),
        (Code::DeadlineExceeded, Exit::Unavailable),
        (Code::ResourceExhausted, Exit::Unavailable),
        (Code::Internal, Exit::Failed),
        (Code::Unimplemented, Exit::Failed),
    ] {
        assert_eq!(failure(&Status::new(code, "no")).exit, exit, "{code:?}");
    }
    assert_eq!(failure(&Status::new(Code::Internal, "")).message, "Internal", "never an empty line");
}

#[test]
fn colours_only_when_asked_for() {
    let failure = Failure::new(Exit::Failed, "no").advice("try");
    assert_eq!(failure.text(false), "error: no\n  → try");
    assert_eq!(failure.text(true), "\u{1b}[31merror:\u{1b}[0m no\n  → try");
}

#[test]
fn numbers_of_exit_codes_stay() {
    let codes = [
        Exit::Ok,
        Exit::Failed,
        Exit::Usage,
        Exit::NotFound,
        Exit::Refused,
        Exit::Unavailable,
        Exit::Cancelled,
        Exit::Interrupted,
    ];
    assert_eq!(codes.map(|exit| exit as u8), [0, 1, 2, 3, 4, 5, 6, 130]);
}

#[test]
fn causes_are_told_once() {
    let error =
        anyhow::anyhow!("no such database").context("migrations: no such database").context("inventory");
    assert_eq!(Failure::from(error).message, "inventory: migrations: no such database");
}
