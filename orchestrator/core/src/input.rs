//! What changes a saga: every input, and its stored encoding. There is no second path.

use prost::{Enumeration, Message, Oneof};

/// Opaque bytes with the URL of their type; core never looks inside.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Payload {
    /// Such as `type.googleapis.com/skald.order.v1.OrderInput`.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The encoded message.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// What a command asks of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum Verb {
    /// Run the action.
    Run = 1,
    /// Make sure that the action never runs later, and undo it if it ran.
    Undo = 2,
    /// Make sure that RUN never takes effect from now on, or tell that it did.
    SealRun = 3,
    /// Make sure that UNDO never takes effect from now on, or tell that it did.
    SealUndo = 4,
}

impl Verb {
    /// As it stands in command ids.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Run => "RUN",
            Verb::Undo => "UNDO",
            Verb::SealRun => "SEAL_RUN",
            Verb::SealUndo => "SEAL_UNDO",
        }
    }
}

/// One input of a saga.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum Input {
    /// The saga begins.
    #[prost(message, tag = "1")]
    Started(Started),
    /// A participant answered.
    #[prost(message, tag = "2")]
    Outcome(Outcome),
    /// Time passed: everything that is due at `now` happens.
    #[prost(message, tag = "3")]
    DeadlineFired(DeadlineFired),
    /// The customer wants out.
    #[prost(message, tag = "4")]
    CancelRequested(CancelRequested),
    /// What a signal step waits for, early or in time.
    #[prost(message, tag = "5")]
    Signal(Signal),
    /// A deadline was due while its participant was frozen.
    #[prost(message, tag = "6")]
    Postponed(Postponed),
    /// A named person acts.
    #[prost(message, tag = "7")]
    Operator(Operator),
}

impl Input {
    /// The number that history keeps; never reused.
    pub fn kind(&self) -> u32 {
        match self {
            Input::Started(_) => 1,
            Input::Outcome(_) => 2,
            Input::DeadlineFired(_) => 3,
            Input::CancelRequested(_) => 4,
            Input::Signal(_) => 5,
            Input::Postponed(_) => 6,
            Input::Operator(_) => 7,
        }
    }

    /// The kind's name, for people.
    pub fn kind_name(kind: u32) -> &'static str {
        match kind {
            1 => "STARTED",
            2 => "OUTCOME",
            3 => "DEADLINE_FIRED",
            4 => "CANCEL_REQUESTED",
            5 => "SIGNAL",
            6 => "POSTPONED",
            7 => "OPERATOR",
            _ => "UNKNOWN",
        }
    }
}

/// The saga begins.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Started {
    /// SHA-256 of the stored [`Request`]; the request itself stands beside the saga.
    #[prost(bytes = "vec", tag = "1")]
    pub request_hash: Vec<u8>,
    /// Signals that came along; not in the history row, for the request has them.
    #[prost(message, repeated, tag = "2")]
    pub signals: Vec<Signal>,
}

/// What was submitted; stored once beside the saga, never rewritten.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Request {
    /// Goes with every command.
    #[prost(message, optional, tag = "1")]
    pub input: Option<Payload>,
    /// Signals that came along.
    #[prost(message, repeated, tag = "2")]
    pub signals: Vec<Signal>,
}

/// Nothing but that time passed.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct DeadlineFired {}

/// The customer wants out.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CancelRequested {
    /// In the customer's words.
    #[prost(string, tag = "1")]
    pub note: String,
}

/// What a signal step waits for.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Signal {
    /// The signal step's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Repeats of one id are one signal.
    #[prost(string, tag = "2")]
    pub signal_id: String,
    /// Becomes the step's result.
    #[prost(message, optional, tag = "3")]
    pub payload: Option<Payload>,
}

/// The deadlines of the steps at a frozen participant count anew instead of firing.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Postponed {
    /// Who is frozen.
    #[prost(string, tag = "1")]
    pub participant: String,
}

/// A named person acts; the name stands in the history row.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Operator {
    /// Repeats of one id are one action.
    #[prost(string, tag = "1")]
    pub request_id: String,
    /// The version that the person saw; it does exactly what a dry run of that version showed, or nothing.
    #[prost(uint32, tag = "2")]
    pub expected_version: u32,
    /// In the person's words.
    #[prost(string, tag = "3")]
    pub reason: String,
    /// What is done; none is malformed.
    #[prost(oneof = "Act", tags = "4, 5, 6, 7, 8, 9, 10, 11")]
    pub act: Option<Act>,
}

/// What an operator does.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum Act {
    /// Try again now; after a business no in the next epoch.
    #[prost(message, tag = "4")]
    Retry(Retry),
    /// Take a step's action as done: SEAL it first, for if it did happen, the participant's word counts.
    #[prost(message, tag = "5")]
    Skip(Skip),
    /// Take a step's undo as done by hand, SEAL it first; or, without a step, a contradiction as looked into.
    #[prost(message, tag = "6")]
    Resolve(Resolve),
    /// Undo what was done, as long as the pivot did not succeed.
    #[prost(message, tag = "7")]
    Compensate(Unit),
    /// As the customer would.
    #[prost(message, tag = "8")]
    Cancel(Unit),
    /// Send nothing, let no deadline fire.
    #[prost(message, tag = "9")]
    Pause(Unit),
    /// Go on; open deadlines are shifted by the pause.
    #[prost(message, tag = "10")]
    Resume(Unit),
    /// Follow another version of the definition from here on.
    #[prost(message, tag = "11")]
    Migrate(Migrate),
}

impl Act {
    /// As it stands in tables and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Act::Retry(_) => "RETRY",
            Act::Skip(_) => "SKIP",
            Act::Resolve(_) => "RESOLVE",
            Act::Compensate(_) => "COMPENSATE",
            Act::Cancel(_) => "CANCEL",
            Act::Pause(_) => "PAUSE",
            Act::Resume(_) => "RESUME",
            Act::Migrate(_) => "MIGRATE",
        }
    }
}

/// Try again now.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Retry {
    /// The step's name; empty = every step that can be tried again.
    #[prost(string, tag = "1")]
    pub step: String,
}

/// A step's action counts as done.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Skip {
    /// The step's name.
    #[prost(string, tag = "1")]
    pub step: String,
    /// What makes the person sure.
    #[prost(string, tag = "2")]
    pub evidence: String,
    /// Ask nobody: the participant is dead for good.
    #[prost(bool, tag = "3")]
    pub unfenced: bool,
    /// What later steps need of it.
    #[prost(message, optional, tag = "4")]
    pub result: Option<Payload>,
}

/// A step's undo counts as done by hand.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Resolve {
    /// The step's name; empty = what the saga itself is parked for.
    #[prost(string, tag = "1")]
    pub step: String,
    /// What makes the person sure.
    #[prost(string, tag = "2")]
    pub evidence: String,
    /// Ask nobody: the participant is dead for good.
    #[prost(bool, tag = "3")]
    pub unfenced: bool,
}

/// A saga follows another version of its definition from here on. Both are named by their hashes, so that a history says
/// by itself which definition decided which of its rows.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Migrate {
    /// [`crate::Definition::hash`] of what it follows.
    #[prost(bytes = "vec", tag = "1")]
    pub from: Vec<u8>,
    /// Of what it is to follow.
    #[prost(bytes = "vec", tag = "2")]
    pub to: Vec<u8>,
}

/// A participant's answer.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Outcome {
    /// The step's name.
    #[prost(string, tag = "1")]
    pub step: String,
    /// What had been asked.
    #[prost(enumeration = "Verb", tag = "2")]
    pub verb: i32,
    /// Of the command.
    #[prost(uint32, tag = "3")]
    pub epoch: u32,
    /// Of the command.
    #[prost(uint32, tag = "4")]
    pub attempt: u32,
    /// What was answered; none is malformed.
    #[prost(oneof = "Answer", tags = "5, 6, 7, 8, 9, 10, 11")]
    pub answer: Option<Answer>,
}

/// What was answered. All but `Failed` are verdicts.
#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum Answer {
    /// RUN: it took effect.
    #[prost(message, tag = "5")]
    Succeeded(Done),
    /// RUN: a business no.
    #[prost(message, tag = "6")]
    Rejected(No),
    /// RUN: never ran, never will.
    #[prost(message, tag = "7")]
    Sealed(Unit),
    /// UNDO: it had run and was undone.
    #[prost(message, tag = "8")]
    Undone(Done),
    /// UNDO: the action was sealed or rejected.
    #[prost(message, tag = "9")]
    NothingToUndo(Unit),
    /// UNDO: fenced, it never ran and never will.
    #[prost(message, tag = "10")]
    Fenced(Unit),
    /// No verdict: not this time.
    #[prost(message, tag = "11")]
    Failed(Failure),
}

impl Answer {
    /// For people.
    pub fn name(&self) -> &'static str {
        match self {
            Answer::Succeeded(_) => "succeeded",
            Answer::Rejected(_) => "rejected",
            Answer::Sealed(_) => "sealed",
            Answer::Undone(_) => "undone",
            Answer::NothingToUndo(_) => "nothing to undo",
            Answer::Fenced(_) => "fenced",
            Answer::Failed(_) => "failed",
        }
    }
}

/// It happened.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Done {
    /// What later steps may need.
    #[prost(message, optional, tag = "1")]
    pub result: Option<Payload>,
}

/// A business no.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct No {
    /// The definition maps it to a reason.
    #[prost(string, tag = "1")]
    pub code: String,
    /// For a person.
    #[prost(string, tag = "2")]
    pub message: String,
    /// A typed explanation.
    #[prost(message, optional, tag = "3")]
    pub detail: Option<Payload>,
}

/// Nothing more to say.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Unit {}

/// Not this time.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Failure {
    /// Such as UNAVAILABLE.
    #[prost(string, tag = "1")]
    pub code: String,
    /// For a person.
    #[prost(string, tag = "2")]
    pub message: String,
    /// false: final, the step parks.
    #[prost(bool, tag = "3")]
    pub retryable: bool,
    /// Not before this many milliseconds.
    #[prost(uint64, tag = "4")]
    pub retry_after_ms: u64,
}

/// How an input stands in a history row.
#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(oneof = "Input", tags = "1, 2, 3, 4, 5, 6, 7")]
    input: Option<Input>,
}

/// An input's stored bytes could not be read.
#[derive(Debug, thiserror::Error)]
#[error("not an input: {0}")]
pub struct Unreadable(String);

/// The bytes of an input for its history row: canonical, and for [`Input::Started`] without what the
/// stored request has.
pub fn encode(input: &Input) -> Vec<u8> {
    let input = match input {
        Input::Started(s) => {
            Input::Started(Started { request_hash: s.request_hash.clone(), signals: Vec::new() })
        }
        other => other.clone(),
    };
    Record { input: Some(input) }.encode_to_vec()
}

/// The move to another definition that a history row's bytes hold, if that is what they hold.
pub(crate) fn migrate(bytes: &[u8]) -> Option<Migrate> {
    // Most rows are something else, and are not read twice: the first byte is the kind's field.
    let operator = bytes.first() == Some(&(7 << 3 | 2));
    match operator.then(|| decode(bytes).ok()).flatten()? {
        Input::Operator(Operator { act: Some(Act::Migrate(migrate)), .. }) => Some(migrate),
        _ => None,
    }
}

/// The input of a history row; of [`Input::Started`] without its signals (see [`crate::history`]).
pub fn decode(bytes: &[u8]) -> Result<Input, Unreadable> {
    Record::decode(bytes)
        .map_err(|e| Unreadable(e.to_string()))?
        .input
        .ok_or_else(|| Unreadable("a kind of input that this binary does not know".into()))
}
