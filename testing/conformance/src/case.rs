//! One saga at one action, and every command that can be asked of it. Pure.

use prost_types::Any;
use skald_proto::participant::v1::{Command, StepResult, Verb};
use uuid::Uuid;

/// Every step of the kit begins with this, so that what it leaves behind can be found and removed.
pub const MARK: &str = "conformance-";

/// The protocol version that the kit speaks.
pub(crate) const PROTOCOL: u32 = 1;

/// What an action is asked with.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Payload {
    pub(crate) input: Option<Any>,
    pub(crate) needs: Vec<StepResult>,
}

/// One saga at one action.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// The saga.
    pub saga: Uuid,
    pub(crate) step: String,
    pub(crate) action: String,
    pub(crate) undo: Option<String>,
    pub(crate) succeeds: Payload,
    pub(crate) rejected: Option<Payload>,
}

impl Case {
    /// RUN with the sample that succeeds.
    #[must_use]
    pub fn run(&self) -> Command {
        self.command(Verb::Run, &self.action, &self.succeeds)
    }

    /// RUN with the sample that is rejected; without one, the one that succeeds.
    #[must_use]
    pub fn run_rejected(&self) -> Command {
        self.command(Verb::Run, &self.action, self.rejected.as_ref().unwrap_or(&self.succeeds))
    }

    /// UNDO.
    #[must_use]
    pub fn undo(&self) -> Command {
        self.command(Verb::Undo, self.undo_name(), &self.of_undo())
    }

    /// SEAL_RUN.
    #[must_use]
    pub fn seal_run(&self) -> Command {
        self.command(Verb::SealRun, &self.action, &self.succeeds)
    }

    /// SEAL_UNDO.
    #[must_use]
    pub fn seal_undo(&self) -> Command {
        self.command(Verb::SealUndo, self.undo_name(), &self.of_undo())
    }

    /// Whether the action can be undone.
    #[must_use]
    pub fn has_undo(&self) -> bool {
        self.undo.is_some()
    }

    /// Whether there is a sample that is rejected.
    #[must_use]
    pub fn has_rejected(&self) -> bool {
        self.rejected.is_some()
    }

    fn undo_name(&self) -> &str {
        self.undo.as_deref().unwrap_or_default()
    }

    /// An undo carries no results of other steps: a participant undoes from what it stored itself.
    fn of_undo(&self) -> Payload {
        Payload { input: self.succeeds.input.clone(), needs: Vec::new() }
    }

    fn command(&self, verb: Verb, action: &str, payload: &Payload) -> Command {
        let command = Command {
            protocol: PROTOCOL,
            saga_id: self.saga.to_string(),
            step: self.step.clone(),
            verb: verb.into(),
            epoch: 1,
            attempt: 1,
            action: action.to_owned(),
            input: payload.input.clone(),
            needs: payload.needs.clone(),
            command_id: String::new(),
        };
        command.at_epoch(1)
    }
}

/// Changes of a command that keep it a valid one.
pub trait Ways {
    /// The same in another epoch: another command.
    #[must_use]
    fn at_epoch(self, epoch: u32) -> Self;
    /// The same command, another attempt.
    #[must_use]
    fn at_attempt(self, attempt: u32) -> Self;
    /// The same with this action's name.
    #[must_use]
    fn named(self, action: &str) -> Self;
    /// The same in this version of the protocol.
    #[must_use]
    fn in_protocol(self, protocol: u32) -> Self;
}

impl Ways for Command {
    fn at_epoch(self, epoch: u32) -> Self {
        let saga = Uuid::try_parse(&self.saga_id).unwrap_or_default();
        let command_id = command_id(saga, &self.step, self.verb(), epoch).to_string();
        Command { epoch, command_id, ..self }
    }

    fn at_attempt(self, attempt: u32) -> Self {
        Command { attempt, ..self }
    }

    fn named(self, action: &str) -> Self {
        Command { action: action.to_owned(), ..self }
    }

    fn in_protocol(self, protocol: u32) -> Self {
        Command { protocol, ..self }
    }
}

/// The id that commands carry: UUIDv5 with the saga id as namespace and the name `step/VERB/epoch`.
#[must_use]
pub fn command_id(saga: Uuid, step: &str, verb: Verb, epoch: u32) -> Uuid {
    let verb = verb.as_str_name().trim_start_matches("VERB_");
    Uuid::new_v5(&saga, format!("{step}/{verb}/{epoch}").as_bytes())
}
