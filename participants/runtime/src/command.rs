//! A command as the runtime and the services see it: decoded, checked, with ids as ids. No I/O.

use prost::{Message, Name};
use prost_types::Any;
use skald_proto::participant::v1 as wire;
use uuid::Uuid;

/// The protocol version that this runtime speaks.
pub const PROTOCOL: u32 = 1;

/// Longest step or action name.
const NAME_LEN: usize = 64;
/// Longest text of a failure, in characters: it may quote the command, and the answer must fit into a record.
const MESSAGE_LEN: usize = 1000;

/// What is asked of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// Run the action.
    Run,
    /// Make sure that the action never runs later, and undo it if it ran.
    Undo,
    /// Make sure that RUN never takes effect from now on, or tell that it did.
    SealRun,
    /// Make sure that UNDO never takes effect from now on, or tell that it did.
    SealUndo,
}

impl Verb {
    /// The label in metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Undo => "undo",
            Self::SealRun => "seal_run",
            Self::SealUndo => "seal_undo",
        }
    }

    /// As on the wire.
    #[must_use]
    pub const fn wire(self) -> wire::Verb {
        match self {
            Self::Run => wire::Verb::Run,
            Self::Undo => wire::Verb::Undo,
            Self::SealRun => wire::Verb::SealRun,
            Self::SealUndo => wire::Verb::SealUndo,
        }
    }
}

/// One command, decoded and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// The protocol version that the sender speaks; above [`PROTOCOL`] nothing else here can be trusted
    /// but the ids.
    pub protocol: u32,
    /// The saga, a UUIDv7.
    pub saga: Uuid,
    /// The step's name in the saga's definition.
    pub step: String,
    /// What is asked.
    pub verb: Verb,
    /// Numbers the tries that an operator allowed; from 1.
    pub epoch: i32,
    /// Echoed in the outcome; from 1.
    pub attempt: i32,
    /// The action's name for RUN and SEAL_RUN, the undo's for UNDO and SEAL_UNDO.
    pub action: String,
    /// The saga's input as submitted.
    pub input: Option<Any>,
    /// Results of the steps that the definition lists in `needs`.
    pub needs: Vec<wire::StepResult>,
    /// W3C trace context of the message that brought it.
    pub traceparent: Option<String>,
}

/// Names what the barrier remembers, without the verb.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The saga.
    pub saga: Uuid,
    /// The step's name.
    pub step: String,
    /// The epoch.
    pub epoch: i32,
}

/// Why bytes are no command. Such a message becomes a dead letter.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum Malformed {
    /// Not a protobuf message of this type.
    #[error("undecodable: {0}")]
    Undecodable(String),
    /// `saga_id` is no UUIDv7.
    #[error("saga_id is no UUIDv7: {0:?}")]
    SagaId(String),
    /// The message's key is not the saga id.
    #[error("the key {key:?} is not the saga id {saga}")]
    Key {
        /// What the message had.
        key: String,
        /// What it should have been.
        saga: Uuid,
    },
    /// A field outside its limits.
    #[error("{field}: {problem}")]
    Field {
        /// Its name in the .proto.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl Command {
    /// Decodes a message's value and checks it against the message's key.
    ///
    /// # Errors
    /// [`Malformed`]: the message is a dead letter.
    pub fn decode(value: &[u8], key: &[u8], traceparent: Option<String>) -> Result<Self, Malformed> {
        let message = wire::Command::decode(value).map_err(|e| Malformed::Undecodable(e.to_string()))?;
        let text = message.saga_id.clone();
        let command = Self::check(message, traceparent)?;
        if key != text.as_bytes() {
            let key = String::from_utf8_lossy(key).into_owned();
            let saga = command.saga;
            return Err(Malformed::Key { key, saga });
        }
        Ok(command)
    }

    /// Checks a decoded message.
    ///
    /// # Errors
    /// [`Malformed`]: the message is a dead letter.
    pub fn check(m: wire::Command, traceparent: Option<String>) -> Result<Self, Malformed> {
        let saga = saga_id(&m.saga_id)?;
        let verb = match wire::Verb::try_from(m.verb) {
            Ok(wire::Verb::Run) => Verb::Run,
            Ok(wire::Verb::Undo) => Verb::Undo,
            Ok(wire::Verb::SealRun) => Verb::SealRun,
            Ok(wire::Verb::SealUndo) => Verb::SealUndo,
            Ok(wire::Verb::Unspecified) | Err(_) => return Err(field("verb", "is not known")),
        };
        if !is_name(&m.step) {
            return Err(field("step", "must be 1 to 64 characters of [a-z0-9_-]"));
        }
        Ok(Self {
            protocol: m.protocol,
            saga,
            step: m.step,
            verb,
            epoch: count(m.epoch).ok_or(field("epoch", "must be 1 to 2147483647"))?,
            attempt: count(m.attempt).ok_or(field("attempt", "must be 1 to 2147483647"))?,
            action: m.action,
            input: m.input,
            needs: m.needs,
            traceparent,
        })
    }

    /// What the barrier remembers it by.
    #[must_use]
    pub fn key(&self) -> Key {
        Key { saga: self.saga, step: self.step.clone(), epoch: self.epoch }
    }

    /// The input as the message that it should be.
    ///
    /// # Errors
    /// [`Failed::last`] BAD_INPUT, ready to be answered.
    pub fn input<M: Message + Name + Default>(&self) -> Result<M, Failed> {
        match &self.input {
            Some(any) => open(any, "the input"),
            None => Err(Failed::last("BAD_INPUT", "the command has no input")),
        }
    }

    /// The result of an earlier step, which the definition must list in `needs`.
    ///
    /// # Errors
    /// [`Failed::last`] BAD_INPUT, ready to be answered.
    pub fn need<M: Message + Name + Default>(&self, step: &str) -> Result<M, Failed> {
        let found = self.needs.iter().find(|n| n.step == step);
        match found.and_then(|n| n.result.as_ref()) {
            Some(any) => open(any, step),
            None => Err(Failed::last("BAD_INPUT", format!("the result of step {step} is missing"))),
        }
    }
}

/// The participant could not do it this time. No verdict, never stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Upper-case code, such as UNAVAILABLE.
    pub code: String,
    /// One sentence for a person.
    pub message: String,
    /// `false`: final, the step parks and waits for a person.
    pub retryable: bool,
    /// Not before this many milliseconds; 0 leaves it to the definition's back-off.
    pub retry_after_ms: u64,
}

impl Failed {
    /// Worth another attempt.
    pub fn retryable(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), retryable: true, retry_after_ms: 0 }
    }

    /// Final: another attempt gets the same answer until a person changed something.
    pub fn last(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { retryable: false, ..Self::retryable(code, message) }
    }
}

fn saga_id(text: &str) -> Result<Uuid, Malformed> {
    let bad = || Malformed::SagaId(text.chars().take(64).collect());
    let id = Uuid::try_parse(text).map_err(|_| bad())?;
    // canonical text only: the key, the partition and the id in the outcome derive from it
    let canonical = id.hyphenated().to_string() == text;
    if id.get_version_num() == 7 && canonical { Ok(id) } else { Err(bad()) }
}

fn is_name(text: &str) -> bool {
    let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_' || c == b'-';
    (1..=NAME_LEN).contains(&text.len()) && text.bytes().all(fits)
}

fn count(n: u32) -> Option<i32> {
    i32::try_from(n).ok().filter(|n| *n > 0)
}

fn field(field: &'static str, problem: &'static str) -> Malformed {
    Malformed::Field { field, problem }
}

fn open<M: Message + Name + Default>(any: &Any, what: &str) -> Result<M, Failed> {
    any.to_msg().map_err(|e| Failed::last("BAD_INPUT", format!("{what}: {e}")))
}

impl From<Failed> for wire::outcome::Answer {
    fn from(f: Failed) -> Self {
        Self::Failed(wire::Failed {
            code: f.code,
            message: f.message.chars().take(MESSAGE_LEN).collect(),
            retryable: f.retryable,
            retry_after_ms: f.retry_after_ms,
        })
    }
}

#[cfg(test)]
mod tests;
