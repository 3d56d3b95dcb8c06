//! What a worker is given: one input for one saga, and whom to tell when it is settled.

use std::sync::Arc;

use skald_core::{Definition, Input, input::Operator, machine::Refused};
use skald_kit::kafka::Message;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::store::{
    action::{Action, Answered},
    definition::Freeze,
};

/// One input for one saga.
#[derive(Debug)]
pub struct Job {
    /// Which saga.
    pub saga: Uuid,
    /// Who caused it, for the history.
    pub actor: String,
    /// What is asked.
    pub ask: Ask,
    /// Whom to tell.
    pub origin: Origin,
}

/// What is asked of a saga.
#[derive(Debug)]
pub enum Ask {
    /// Begin.
    Submit(Box<Submission>),
    /// Fold this in.
    Input(Input),
    /// An operator acts.
    Operate(Box<Operation>),
    /// Look whether something is due.
    Wake(Wake),
}

/// Why a saga is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// This worker's own timer: a deadline, or a gap since the last sending is over.
    Timer,
    /// This worker's commands did not reach the broker.
    Undelivered,
    /// `wake_at` has passed, and this instance wrote it last: the net below its timers.
    Net,
    /// This instance, which wrote it last, is gone.
    Orphan(Uuid),
}

impl Wake {
    /// Why a command is sent again, in metrics: only silence costs of the budget.
    pub fn name(self) -> &'static str {
        match self {
            Wake::Timer | Wake::Net => "silence",
            Wake::Undelivered => "undelivered",
            Wake::Orphan(_) => "orphan",
        }
    }
}

/// A saga that is to begin.
#[derive(Debug)]
pub struct Submission {
    /// The principal: idempotency keys are its own.
    pub client: String,
    /// Its key.
    pub key: String,
    /// SHA-256 of the request as we encode it.
    pub digest: Vec<u8>,
    /// What it follows.
    pub definition_id: i32,
    /// What it follows.
    pub definition: Arc<Definition>,
    /// The encoded request.
    pub request: Vec<u8>,
    /// The first input.
    pub started: Input,
    /// Whose it is.
    pub customer_id: String,
    /// W3C trace context.
    pub traceparent: String,
}

/// What an operator does, and what is kept of it when it is accepted.
#[derive(Debug)]
pub struct Operation {
    /// The input.
    pub operator: Operator,
    /// With the answer that the caller gets then.
    pub record: Action,
    /// The definition that the saga is to follow, of a move, with its id.
    pub to: Option<(i32, Arc<Definition>)>,
}

/// Where a job came from, and so who is told.
#[derive(Debug)]
pub enum Origin {
    /// A message: its offset is finished when it is settled.
    Message(Box<Message>),
    /// A participant's stream: there is nothing to finish.
    Stream {
        /// W3C trace context of the outcome.
        traceparent: Option<String>,
    },
    /// A caller who waits.
    Caller(oneshot::Sender<Reply>),
    /// Ourselves.
    Nobody,
}

impl Origin {
    /// Answers the caller, if there is one; one who went away is no error.
    pub fn reply(self, reply: Reply) {
        if let Origin::Caller(caller) = self {
            let _ = caller.send(reply);
        }
    }
}

/// What a caller is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Folded in and durable.
    Accepted,
    /// The key was used before, with the same request: this saga.
    Known(Uuid),
    /// The key was used before, with another request.
    KeyTaken,
    /// The request id was used before, perhaps for something else.
    Answered(Box<Answered>),
    /// The request id was used before, for something else.
    RequestTaken,
    /// No new saga of its definition is taken.
    Frozen(Freeze),
    /// Not accepted, nothing changed.
    Refused(Refused),
    /// There is no such saga.
    Unknown,
    /// The saga takes nothing until an operator looked.
    Quarantined,
    /// The database is away: nothing was stored.
    Unavailable,
    /// The commit's fate is unknown: it may have been stored.
    MaybeStored,
    /// It can't be handled.
    Poison(String),
}
