//! A gRPC status as a person is told it: the sentence, each bad field, what to do, and the exit code.

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::exit::{Exit, Failure};

impl From<Status> for Failure {
    fn from(status: Status) -> Failure {
        failure(&status)
    }
}

/// What to tell about a status.
pub fn failure(status: &Status) -> Failure {
    let message = match status.message() {
        "" => format!("{:?}", status.code()),
        message => message.to_owned(),
    };
    let violations = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    let retry = status.get_details_retry_info().and_then(|info| info.retry_delay);
    let advice = match (status.code(), retry) {
        (_, Some(delay)) => format!("too much is under way: try again after {} ms", delay.as_millis()),
        (code, None) => advice(code).to_owned(),
    };
    Failure {
        exit: exit(status.code()),
        message,
        fields: violations.into_iter().map(|bad| (bad.field, bad.description)).collect(),
        advice,
    }
}

fn exit(code: Code) -> Exit {
    match code {
        Code::Ok => Exit::Ok,
        Code::InvalidArgument | Code::OutOfRange => Exit::Usage,
        Code::NotFound => Exit::NotFound,
        Code::FailedPrecondition | Code::AlreadyExists | Code::Aborted => Exit::Refused,
        Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded => Exit::Unavailable,
        Code::Cancelled
        | Code::Unknown
        | Code::PermissionDenied
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => Exit::Failed,
    }
}

fn advice(code: Code) -> &'static str {
    match code {
        Code::InvalidArgument | Code::OutOfRange => "correct that and try again",
        Code::NotFound => "`skald order list` and `skald stock list` show what there is",
        Code::FailedPrecondition => "`skald order get ID` and `skald saga get ID` show where it stands",
        Code::AlreadyExists => {
            "the same key must come with the same order; leave --key out to make a new one"
        }
        Code::Unavailable => "try again, with the same key when you gave one: it is carried out once",
        Code::DeadlineExceeded => "it may have been carried out; repeat it with the same key, or look",
        Code::ResourceExhausted => "too much is under way: try again in a moment",
        Code::Unimplemented => "the server does not know this call: is --server the right one?",
        _ => "",
    }
}
