//! The three classes of errors, decided from SQLSTATE alone
//! (https://www.postgresql.org/docs/current/errcodes-appendix.html).

use sqlx::Error;

/// What to do about a failed statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// One of the inputs is to blame and will be again: halve, then dead-letter the culprit.
    Poison,
    /// Someone else was first: decide again at once on what stands there now.
    Conflict,
    /// Try the whole batch again, with back-off, for ever.
    Transient {
        /// `false`: not one of the codes that an outage brings; raise an alarm.
        expected: bool,
    },
}

/// Classifies an error. `ours` are the names of our constraints of which a violation is an input's fault.
pub fn classify(error: &Error, ours: &[&str]) -> Class {
    match error {
        Error::Database(error) => {
            classify_code(error.code().as_deref().unwrap_or(""), error.constraint(), ours)
        }
        Error::ColumnDecode { .. } | Error::Decode(_) | Error::Encode(_) => Class::Poison,
        Error::Io(_) | Error::Tls(_) | Error::PoolTimedOut | Error::PoolClosed | Error::WorkerCrashed => {
            Class::Transient { expected: true }
        }
        _ => Class::Transient { expected: false },
    }
}

/// Classifies a SQLSTATE with the violated constraint's name, if the server told one.
pub fn classify_code(code: &str, constraint: Option<&str>, ours: &[&str]) -> Class {
    match (code.get(..2).unwrap_or(""), code) {
        ("22", _) => Class::Poison,
        ("23", _) if constraint.is_some_and(|name| !name.is_empty() && ours.contains(&name)) => Class::Poison,
        // unique_violation: a key was taken in between.
        ("23", "23505") => Class::Conflict,
        // check_violation of no constraint: a row that no partition takes, for the bounds moved.
        ("23", "23514") if constraint.is_none_or(str::is_empty) => Class::Conflict,
        // idle_in_transaction_session_timeout: this process stood still in the middle of a transaction.
        (_, "25P03") | ("08" | "40" | "53" | "55" | "57" | "58", _) => Class::Transient { expected: true },
        _ => Class::Transient { expected: false },
    }
}

#[cfg(test)]
mod tests {
    use super::Class::{Conflict, Poison, Transient};
    use super::*;

    #[test]
    fn each_code_has_its_class() {
        let ours = &["stock_available_check", "charge_amount_check"];
        let expected = Transient { expected: true };
        let unexpected = Transient { expected: false };
        for (code, constraint, class) in [
            ("22001", None, Poison),
            ("22P02", None, Poison),
            ("22021", Some("anything"), Poison),
            ("23514", Some("stock_available_check"), Poison),
            ("23505", Some("charge_amount_check"), Poison),
            ("23505", Some("submission_pkey"), Conflict),
            ("23505", None, Conflict),
            ("23514", None, Conflict),
            ("23514", Some(""), Conflict),
            ("23514", Some("somebody_elses_check"), unexpected),
            ("23502", None, unexpected),
            ("23503", Some("fk"), unexpected),
            ("08006", None, expected),
            ("40001", None, expected),
            ("40P01", None, expected),
            ("53300", None, expected),
            ("55P03", None, expected),
            ("57P01", None, expected),
            ("57014", None, expected),
            ("58030", None, expected),
            ("42P01", None, unexpected),
            ("25P02", None, unexpected),
            ("25P03", None, expected),
            ("XX000", None, unexpected),
            ("", None, unexpected),
        ] {
            assert_eq!(classify_code(code, constraint, ours), class, "{code} {constraint:?}");
        }
    }

    #[test]
    fn errors_of_the_client_have_theirs() {
        let broken = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        for (error, class) in [
            (Error::Io(broken), Transient { expected: true }),
            (Error::PoolTimedOut, Transient { expected: true }),
            (Error::Protocol("?".to_owned()), Transient { expected: false }),
            (Error::RowNotFound, Transient { expected: false }),
            (Error::Decode("bad bytes".into()), Poison),
            (Error::ColumnDecode { index: "0".to_owned(), source: "bad bytes".into() }, Poison),
        ] {
            assert_eq!(classify(&error, &[]), class, "{error}");
        }
    }
}
