//! Errors as clients see them: each bad field named, an absent database told from a broken one.

use skald_kit::pg::{Class, classify};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

/// Collects what is wrong with a request, so that one answer shows all of it.
#[derive(Default)]
pub(super) struct Fields(Vec<FieldViolation>);

impl Fields {
    /// Reports `field` unless `ok`.
    pub(super) fn check(&mut self, ok: bool, field: &str, description: &str) {
        if !ok {
            self.0.push(FieldViolation::new(field, description));
        }
    }

    /// Nothing was wrong, or INVALID_ARGUMENT with google.rpc.BadRequest.
    pub(super) fn done(self) -> Result<(), Status> {
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

/// UNAVAILABLE when trying again can help, INTERNAL when a person has to look.
pub(super) fn of_database(error: sqlx::Error) -> Status {
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
