//! The trait that a service implements: load rows under lock, decide in memory, write once. It knows no
//! barrier, no Kafka and no transaction boundary; those are the runtime's.

use std::{
    future::Future,
    time::{Duration, SystemTime},
};

use prost_types::Any;
use skald_kit::outbox;
use skald_proto::participant::v1::BreakerState;
use sqlx::PgConnection;

use crate::{
    command::{Command, Failed},
    intent::{Deadline, Intent},
};

/// An action and what undoes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// What RUN and SEAL_RUN name: "reserve".
    pub name: &'static str,
    /// What UNDO and SEAL_UNDO name: "release"; `None` when the action can't be undone.
    pub undo: Option<&'static str>,
}

/// A participant's business, batch-first.
///
/// Per wave the runtime calls, in one transaction: [`load`](Service::load) with the commands that have no
/// stored verdict, [`Domain::run`], [`Domain::undo`] or [`Domain::seal`] once per command in arrival order,
/// then, after the barrier rows were inserted, [`write`](Service::write). When someone else was first the
/// transaction is rolled back, the domain is thrown away, and all of it happens again: so nothing here may
/// have an effect outside of `conn` and the domain, except [`call`](Service::call).
pub trait Service: Send + Sync + 'static {
    /// As in topics and outcomes: "inventory".
    const NAME: &'static str;

    /// The rows that a wave locked and read; decisions change it in memory.
    type Domain: Domain;

    /// What this service can do.
    fn actions(&self) -> &'static [Action];

    /// Names of constraints whose violation is an input's fault: the command becomes a dead letter. Any other violation is
    /// tried again for ever, for it is a bug or somebody's manual change.
    fn constraints(&self) -> &'static [&'static str] {
        &[]
    }

    /// Locks and reads the rows that `wave` touches, each table sorted by key, tables always in the same order
    /// (reservation → stock). At most one command per saga. Must accept every input: what can't be decoded is
    /// answered *failed* by [`Domain::run`].
    fn load(
        &self,
        conn: &mut PgConnection,
        wave: &[&Command],
    ) -> impl Future<Output = Result<Self::Domain, sqlx::Error>> + Send;

    /// Writes what the decisions changed, few statements with array parameters. Returns the events to
    /// publish; the runtime puts them into the outbox of the same transaction.
    fn write(
        &self,
        conn: &mut PgConnection,
        domain: &mut Self::Domain,
    ) -> impl Future<Output = Result<Vec<outbox::Row>, sqlx::Error>> + Send;

    /// Like [`load`](Service::load), for open intents: by the sweeper before their calls, outside any
    /// transaction, and before their results are applied, inside the one that settles them. Only services that answer [`RunAnswer::Intent`] need it.
    fn load_intents(
        &self,
        conn: &mut PgConnection,
        _intents: &[Intent],
    ) -> impl Future<Output = Result<Self::Domain, sqlx::Error>> + Send {
        self.load(conn, &[])
    }

    /// The call to the outside world, outside any transaction. Runs concurrently, bounded in number and time.
    ///
    /// `intent.calls > 1` says that an earlier call may have arrived: search for it (`find`) before repeating
    /// it with the same key. Check `deadline` right before sending, once more after each wait: past it nothing
    /// may be sent with this key, only searched.
    fn call(
        &self,
        _intent: &Intent,
        _call: &<Self::Domain as Domain>::Call,
        _deadline: Deadline,
    ) -> impl Future<Output = CallResult> + Send {
        async { CallResult::NotSent { retry_after: None } }
    }

    /// For how long the gateway remembers an idempotency key; the deadlines of calls derive from it.
    fn key_lifetime(&self) -> Duration {
        Duration::from_secs(24 * 3600)
    }

    /// Where the circuit breaker before the outside world stands. `None`: this service has none.
    fn breaker(&self) -> Option<Breaker> {
        None
    }
}

/// Where a circuit breaker stands, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// Its state.
    pub state: BreakerState,
    /// Since when.
    pub since: SystemTime,
}

/// Rows in memory and the rules over them. Pure: no I/O, no clock, no randomness. An answer *failed* must
/// leave the domain as it was.
pub trait Domain: Send + 'static {
    /// What a call to the outside world needs to know; [`NoCall`] for services without.
    type Call: Send + Sync + 'static;

    /// Runs the action. The barrier has no row: it never ran and was never sealed.
    fn run(&mut self, command: &Command) -> RunAnswer;

    /// Undoes the action, which succeeded.
    fn undo(&mut self, command: &Command) -> UndoAnswer;

    /// The action was sealed before it ran and never will.
    fn seal(&mut self, _command: &Command) {}

    /// The call that an open intent needs. `None`: the domain has no such row, which is an alarm.
    fn call(&self, _intent: &Intent) -> Option<Self::Call> {
        None
    }

    /// An intent's result, applied to the domain. Called at most once for a verdict; *unresolved* may come
    /// before it, and more than once.
    fn settle(&mut self, _intent: &Intent, _settlement: &Settlement) {}
}

/// For services that call nobody.
#[derive(Clone, Copy, Debug)]
pub enum NoCall {}

/// What [`Domain::run`] decided.
#[derive(Clone, Debug, PartialEq)]
pub enum RunAnswer {
    /// It took effect; with what later steps may need.
    Succeeded(Option<Any>),
    /// A business no; stored and repeated for ever.
    Rejected(Rejection),
    /// Not this time; not stored.
    Failed(Failed),
    /// An outside call is needed: the intent is committed first.
    Intent,
}

/// What [`Domain::undo`] decided. An undo is never rejected: a business no is [`Failed::last`].
#[derive(Clone, Debug, PartialEq)]
pub enum UndoAnswer {
    /// It is undone; with what a person may want to know.
    Undone(Option<Any>),
    /// Not this time; not stored.
    Failed(Failed),
    /// An outside call is needed: the intent is committed first.
    Intent,
}

/// A business no.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejection {
    /// Upper-case code, such as OUT_OF_STOCK.
    pub code: String,
    /// One sentence for a person.
    pub message: String,
    /// A typed explanation.
    pub detail: Option<Any>,
}

/// What is applied to the domain rows of an intent.
#[derive(Clone, Debug, PartialEq)]
pub enum Settlement {
    /// RUN took effect.
    Succeeded(Option<Any>),
    /// RUN got a business no.
    Rejected(Rejection),
    /// UNDO took effect.
    Undone(Option<Any>),
    /// Nobody knows, and repeating it is no longer safe: a person must look.
    Unresolved,
    /// It was unresolved, and a person found that it had no effect: it is called again with a new key.
    Again,
}

/// What a call to the outside world came to.
#[derive(Clone, Debug, PartialEq)]
pub enum CallResult {
    /// RUN took effect.
    Succeeded(Option<Any>),
    /// RUN got a business no. For UNDO this is taken as [`CallResult::Refused`], final.
    Rejected(Rejection),
    /// UNDO took effect.
    Undone(Option<Any>),
    /// It may have arrived. Called again later: `find`, then the same key.
    Unknown {
        /// Not before; `None` leaves it to the runtime's back-off.
        retry_after: Option<Duration>,
    },
    /// It surely was not sent: breaker open, deadline passed before sending.
    NotSent {
        /// Not before; `None` leaves it to the runtime's back-off.
        retry_after: Option<Duration>,
    },
    /// A definite no that is no verdict: nothing happened under this key and never will. Answered *failed*;
    /// the next attempt's call has a new key.
    Refused(Failed),
    /// Searched, not found, and too old to repeat with the same key. Answered *failed final* UNRESOLVED.
    Unresolved,
}
