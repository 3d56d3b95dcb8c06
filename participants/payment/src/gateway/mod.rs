//! The gateway port: what payment needs of the company that moves the money, whoever that is.
//!
//! Rules for whoever stands behind it. A charge or refund that comes again with the same key within
//! [`Gateway::key_lifetime`] moves no money again and gets the first answer. `find` knows every movement by our reference,
//! however old. Right before anything is sent, the call's deadline is asked once more.

pub mod guarded;
pub mod simulated;

use std::{future::Future, time::Duration};

use skald_participant::Deadline;

/// A charge that is asked for.
#[derive(Clone, Debug)]
pub struct Charge {
    /// The idempotency key.
    pub key: String,
    /// Our reference: saga id / step / epoch.
    pub our_ref: String,
    /// In minor units of the currency, above 0.
    pub amount_minor: i64,
    /// ISO 4217.
    pub currency: String,
    /// The customer's payment method, as the gateway knows it.
    pub token: String,
    /// Until when it may be sent with this key.
    pub deadline: Deadline,
}

/// A refund that is asked for: always the whole charge.
#[derive(Clone, Debug)]
pub struct Refund {
    /// The idempotency key.
    pub key: String,
    /// Our reference: the same as the charge's.
    pub our_ref: String,
    /// The gateway's reference of the charge.
    pub charge_ref: String,
    /// In minor units of the currency, above 0.
    pub amount_minor: i64,
    /// ISO 4217.
    pub currency: String,
    /// Until when it may be sent with this key.
    pub deadline: Deadline,
}

/// What kind of movement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Money to us.
    Charge,
    /// Money back.
    Refund,
}

impl Kind {
    /// As in the gateway's books.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Charge => "charge",
            Self::Refund => "refund",
        }
    }
}

/// A movement of money as the gateway recorded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When, by the gateway's clock: microseconds since 1970.
    pub at: i64,
    /// The gateway's reference.
    pub reference: String,
    /// Which way.
    pub kind: Kind,
    /// Our reference, as it was sent.
    pub our_ref: String,
    /// In minor units of the currency.
    pub amount_minor: i64,
    /// ISO 4217.
    pub currency: String,
}

/// What the gateway said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The money moved.
    Moved {
        /// The gateway's reference of the movement.
        reference: String,
    },
    /// It did not and will not under this key.
    Declined {
        /// The gateway's code, such as `insufficient_funds`.
        code: String,
    },
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It surely was not sent: the breaker is open.
    #[error("the circuit breaker is open")]
    Open {
        /// Asking earlier is in vain.
        retry_after: Duration,
    },
    /// It surely was not sent: the deadline had passed.
    #[error("the key is too old to be used")]
    TooLate,
    /// It surely moved nothing: no connection, or a clear "not now" before any work.
    #[error("the gateway is not available")]
    Unavailable,
    /// Nobody knows: sent, and no answer came.
    #[error("the answer was lost")]
    Lost,
}

/// The port.
pub trait Gateway: Send + Sync + 'static {
    /// Takes money.
    fn charge(&self, charge: &Charge) -> impl Future<Output = Result<Answer, Fault>> + Send;

    /// Gives it back.
    fn refund(&self, refund: &Refund) -> impl Future<Output = Result<Answer, Fault>> + Send;

    /// Searches by our reference, and for what this key was answered. `None`: nothing of the kind has moved, and the key
    /// has no answer (any more).
    fn find(
        &self,
        kind: Kind,
        our_ref: &str,
        key: &str,
    ) -> impl Future<Output = Result<Option<Answer>, Fault>> + Send;

    /// At most `limit` movements after (time, reference) and before the time `until`, in that order; times are microseconds
    /// since 1970.
    fn records(
        &self,
        after: (i64, &str),
        until: i64,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<Record>, Fault>> + Send;

    /// For how long a key is remembered.
    fn key_lifetime(&self) -> Duration;
}
