//! Errors as callers of a participant's API see them: each bad field named, a state that does not allow it, an absent database
//! told from a broken one.

use prost_types::Timestamp;
use skald_kit::pg::{Class, classify};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, StatusExt};

/// Fields that are named at most: what is told goes into a header, and clients take headers of 16 KiB.
const MOST: usize = 25;

/// Collects what is wrong with a request, so that one answer shows all of it, or the first 25.
#[derive(Debug, Default)]
pub struct Fields(Vec<FieldViolation>);

impl Fields {
    /// Reports `field` unless `ok`.
    pub fn check(&mut self, ok: bool, field: &str, description: &str) {
        if !ok && self.0.len() < MOST {
            self.0.push(FieldViolation::new(field, description));
        }
    }

    /// 1 to `most` characters, no NUL (PostgreSQL has no place for one).
    pub fn text(&mut self, text: &str, field: &str, most: usize) {
        let length = text.chars().count();
        self.check(
            (1..=most).contains(&length) && !text.contains('\0'),
            field,
            &format!("must have 1 to {most} characters and no NUL"),
        );
    }

    /// What every call that acts carries: which request it is, who asks, and why.
    pub fn act(&mut self, request_id: &str, actor: &str, reason: &str) {
        self.text(request_id, "request_id", 128);
        self.text(actor, "actor", 128);
        self.text(reason, "reason", 512);
    }

    /// The longest age that is asked for, in seconds; 0 when there is none.
    pub fn age(&mut self, older_than: Option<prost_types::Duration>, field: &str) -> f64 {
        let seconds = older_than.map_or(0.0, |d| d.seconds as f64 + f64::from(d.nanos) / 1e9);
        // as google.protobuf.Duration says, which is less than what an interval holds
        self.check((0.0..=315_576_000_000.0).contains(&seconds), field, "must be 0 to 10,000 years");
        // nothing here is a thousand years old, and before 4714 BC PostgreSQL has no time
        seconds.min(31_557_600_000.0)
    }

    /// Nothing was wrong, or INVALID_ARGUMENT with google.rpc.BadRequest.
    ///
    /// # Errors
    /// Exactly that.
    pub fn done(self) -> Result<(), Status> {
        if self.0.is_empty() {
            return Ok(());
        }
        let named: Vec<&str> = self.0.iter().map(|violation| violation.field.as_str()).collect();
        let message = format!("bad fields: {}", named.join(", "));
        Err(Status::with_error_details(
            Code::InvalidArgument,
            message,
            ErrorDetails::with_bad_request(self.0),
        ))
    }
}

/// FAILED_PRECONDITION with google.rpc.PreconditionFailure, whose one violation has `id` as its subject and where it stands as
/// its description.
#[must_use]
pub fn not_allowed(id: &str, why: &str, stands: &str) -> Status {
    let violation = PreconditionViolation::new("STATE", id, stands);
    let details = ErrorDetails::with_precondition_failure([violation]);
    let message = format!("{id}: {why}; it is {stands}; nothing was changed");
    Status::with_error_details(Code::FailedPrecondition, message, details)
}

/// ALREADY_EXISTS: the id of another request.
#[must_use]
pub fn request_taken(request_id: &str) -> Status {
    Status::already_exists(format!(
        "request_id {request_id:?} was used for another request; nothing was changed: use a new one for a new request"
    ))
}

/// UNAVAILABLE when trying again can help, INTERNAL when a person has to look.
#[must_use]
pub fn of_database(error: sqlx::Error) -> Status {
    match classify(&error, &[]) {
        Class::Transient { expected: true } | Class::Conflict => {
            tracing::debug!(%error, "the database is away");
            Status::unavailable("the database is away, try again")
        }
        Class::Transient { expected: false } | Class::Poison => {
            tracing::error!(%error, "a request failed at the database");
            Status::internal("the request failed at the database; the log says how")
        }
    }
}

/// From microseconds since 1970.
#[must_use]
pub fn timestamp(micros: i64) -> Timestamp {
    Timestamp {
        seconds: micros.div_euclid(1_000_000),
        // less than 10^9
        nanos: (micros.rem_euclid(1_000_000) * 1_000) as i32,
    }
}
