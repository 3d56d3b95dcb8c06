//! COMMIT has three ends: done, refused, or nobody knows. Only tells which; what follows is the caller's
//! business.

use sqlx::postgres::{PgDatabaseError, PgSeverity};
use sqlx::{Error, Postgres, Transaction};

/// How a COMMIT ended.
#[derive(Debug)]
pub enum Outcome {
    /// As durable as PostgreSQL was configured to be.
    Committed,
    /// The server said no and rolled back.
    NotCommitted(Error),
    /// The connection broke while COMMIT was under way. Drop the connection, forget sends and replies, decide
    /// again on a new one.
    Unknown(Error),
}

/// Commits. Each statement before it must have succeeded: PostgreSQL answers the COMMIT of a failed
/// transaction with a rollback that is no error.
pub async fn commit(transaction: Transaction<'_, Postgres>) -> Outcome {
    match transaction.commit().await {
        Ok(()) => Outcome::Committed,
        Err(error) if refused(&error) => Outcome::NotCommitted(error),
        Err(error) => Outcome::Unknown(error),
    }
}

/// An error of severity ERROR is a rollback; FATAL and PANIC end the session, perhaps after the commit record
/// was written.
fn refused(error: &Error) -> bool {
    let database = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    database.is_some_and(|error| error.severity() == PgSeverity::Error)
}
