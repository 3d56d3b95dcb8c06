//! Each method of both services, and each error that it can have.

mod errors;
mod keys;
mod lists;
mod pressure;
mod server;
mod streams;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The bad fields that a refusal names, in order.
pub(crate) fn bad_fields(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let bad = status.get_details_bad_request().expect("google.rpc.BadRequest");
    bad.field_violations.into_iter().map(|v| v.field).collect()
}

/// What an answer was refused with.
pub(crate) fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code) -> Status {
    let status = answer.expect_err("it is refused");
    assert_eq!(status.code(), code, "{status:?}");
    status
}
