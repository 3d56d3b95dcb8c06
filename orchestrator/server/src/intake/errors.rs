//! What callers are told when it does not work: a code, a sentence, and google.rpc's details.

use std::time::Duration;

use skald_core::machine::Refused;
use skald_kit::pg::{Class, classify};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, StatusExt};

use crate::{job::Reply, store::definition::Freeze};

/// When to come back after RESOURCE_EXHAUSTED.
pub const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Bad fields that are named at most: what is told goes into a header, and clients take headers of 16 KiB.
const MOST: usize = 25;
/// Characters of a field's name, and of what is wrong with it: both may quote the request.
const LONGEST: usize = 128;

/// Bad fields: all of them, or the first 25.
#[derive(Debug, Default)]
pub struct BadFields(Vec<FieldViolation>);

impl BadFields {
    /// Notes a bad field.
    pub fn add(&mut self, field: impl Into<String>, wrong: impl Into<String>) {
        if self.0.len() < MOST {
            self.0.push(FieldViolation::new(shortened(&field.into()), shortened(&wrong.into())));
        }
    }

    /// Notes a bad field unless `ok`.
    pub fn check(&mut self, ok: bool, field: impl Into<String>, wrong: impl Into<String>) {
        if !ok {
            self.add(field, wrong);
        }
    }

    /// INVALID_ARGUMENT with google.rpc.BadRequest, when there is a bad field.
    ///
    /// # Errors
    /// Exactly that.
    pub fn into_result(self) -> Result<(), Status> {
        if self.0.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = self.0.iter().map(|v| v.field.as_str()).collect();
        let message = format!("nothing was stored; wrong: {}", names.join(", "));
        Err(Status::with_error_details(
            Code::InvalidArgument,
            message,
            ErrorDetails::with_bad_request(self.0),
        ))
    }
}

/// The beginning of a text that somebody made up; one that was cut ends with an ellipsis.
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// Too much is under way.
pub fn overloaded(what: &str) -> Status {
    let details = ErrorDetails::with_retry_info(Some(RETRY_AFTER));
    let message = format!("nothing was stored: {what}; come back in {} ms", RETRY_AFTER.as_millis());
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// A read, or a change of little, that failed: the database is away, somebody else was first, or it can't be asked that, for a
/// text has a NUL.
pub fn unreadable(error: &sqlx::Error) -> Status {
    let code = error.as_database_error().and_then(|error| error.code());
    if code.is_some_and(|code| code.starts_with("22")) {
        tracing::debug!(%error, "a read with a value that PostgreSQL does not take");
        return Status::invalid_argument(
            "a value can't be looked for: it has a NUL, or is beyond its bounds",
        );
    }
    if classify(error, &[]) == Class::Conflict {
        tracing::debug!(%error, "two at once");
        return Status::aborted(
            "somebody else did the same at the same time; nothing was changed, look again",
        );
    }
    tracing::warn!(%error, "a read failed");
    Status::unavailable("the database does not answer; try again")
}

/// The database is away: writes that were not stored.
pub fn unavailable() -> Status {
    Status::unavailable("the database does not answer; nothing was stored, try again")
}

/// There is no such saga or order.
pub fn not_found(what: &str, id: &str) -> Status {
    Status::not_found(format!("there is no {what} {}", shortened(id)))
}

/// Its state does not allow it: FAILED_PRECONDITION with google.rpc.PreconditionFailure, whose one violation has the
/// id as its subject and the state's name as its description.
pub fn not_allowed(what: &str, id: &str, why: &str, stands: Option<&str>) -> Status {
    let Some(stands) = stands else {
        return Status::failed_precondition(format!("{what} {id}: {why}"));
    };
    let violation = PreconditionViolation::new("STATE", id, stands);
    let details = ErrorDetails::with_precondition_failure([violation]);
    let message = format!("{what} {id}: {why}; it is {stands}");
    Status::with_error_details(Code::FailedPrecondition, message, details)
}

/// No new saga of a definition is taken: FAILED_PRECONDITION with google.rpc.PreconditionFailure, whose one violation has
/// the definition's name as its subject and the reason as its description.
pub fn frozen(freeze: &Freeze) -> Status {
    let Freeze { name, at, by, reason } = freeze;
    let since = std::time::UNIX_EPOCH + Duration::from_millis(at.unsigned_abs());
    let since = humantime::format_rfc3339_seconds(since);
    let violation = PreconditionViolation::new("FROZEN", name, reason);
    let details = ErrorDetails::with_precondition_failure([violation]);
    let message = format!(
        "nothing was stored: no new saga of {name} is taken, {by} froze it at {since} ({reason}). Those under way go on; \
         repeat with the same key once it is thawed (skald definition thaw {name})"
    );
    Status::with_error_details(Code::FailedPrecondition, message, details)
}

/// A reply that is no success.
pub fn refused(reply: Reply, what: &str, id: &str) -> Status {
    match reply {
        Reply::Unknown => not_found(what, id),
        Reply::Quarantined => Status::failed_precondition(format!(
            "{what} {id} is quarantined: an input of it could not be handled, an operator must look"
        )),
        Reply::Frozen(freeze) => frozen(&freeze),
        Reply::Refused(Refused::NotAllowed(why)) => not_allowed(what, id, &why, None),
        Reply::Refused(Refused::Malformed(why)) => Status::invalid_argument(format!("{what} {id}: {why}")),
        Reply::Refused(other) => Status::failed_precondition(format!("{what} {id}: {other}")),
        Reply::KeyTaken => Status::already_exists(
            "this idempotency key was used with another payload; nothing was stored: use a new key for a new order",
        ),
        Reply::RequestTaken => Status::already_exists(
            "this request_id was used for another action; nothing was changed: use a new one for a new action",
        ),
        Reply::Unavailable => unavailable(),
        Reply::MaybeStored => Status::unavailable(
            "the connection to the database broke during the commit: it may have been accepted; repeat with the same key",
        ),
        Reply::Poison(why) => Status::internal(format!("it can't be handled and nothing was stored: {why}")),
        Reply::Accepted | Reply::Known(_) | Reply::Answered(_) => Status::internal("a success is no error"),
    }
}
