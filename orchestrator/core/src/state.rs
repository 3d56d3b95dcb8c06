//! What is stored of a saga: messages owned by core, encoded canonically (protobuf, no maps).
//! Numbers are fixed here and never reused.

use prost::{Enumeration, Message};

use crate::{
    definition::Definition,
    input::{Payload, Signal},
};

/// Where a saga is going.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum Phase {
    /// Towards completion.
    Forward = 1,
    /// Undoing what was done.
    Compensating = 2,
    /// Each step took effect exactly once.
    Completed = 3,
    /// Each effect was undone exactly once.
    Compensated = 4,
}

/// What people filter by: the phase, unless a flag stands beside it. The column `saga.status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum Status {
    /// Forward.
    Running = 1,
    /// Backward.
    Compensating = 2,
    /// Final.
    Completed = 3,
    /// Final.
    Compensated = 4,
    /// Needs a person.
    Parked = 5,
    /// An operator paused it.
    Paused = 6,
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum StepStatus {
    /// The steps before it are not done.
    Waiting = 1,
    /// RUN was decided and not answered.
    Running = 2,
    /// A signal step that waits.
    AwaitingSignal = 3,
    /// SEAL of RUN was decided and not answered.
    Sealing = 4,
    /// Done.
    Succeeded = 5,
    /// A business no.
    Rejected = 6,
    /// Never ran, never will.
    Sealed = 7,
    /// UNDO was decided and not answered.
    Undoing = 8,
    /// Undone.
    Undone = 9,
    /// There was nothing to undo.
    NothingToUndo = 10,
    /// The saga turned round before this step mattered.
    Dropped = 11,
    /// SEAL of UNDO was decided and not answered.
    Fencing = 12,
}

/// What a SEAL of RUN is for: what follows when the action never happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum Seal {
    /// The pivot gave up: turn round.
    GiveUp = 0,
    /// An operator skips it: vouch for it.
    Skip = 1,
    /// An operator wants the saga undone: turn round.
    Compensate = 2,
}

/// What the current verb of a step waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum Pending {
    /// Nothing: no verb is under way, or the step waits for a person.
    Nothing = 0,
    /// The command is in flight: the driver sends it until it is answered.
    Answer = 1,
    /// The back-off's end at `retry_at`.
    Retry = 2,
}

/// The first verdict for a command, kept to tell repeats from contradictions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum Verdict {
    /// None yet.
    Unknown = 0,
    /// RUN took effect.
    Succeeded = 1,
    /// RUN had a business no.
    Rejected = 2,
    /// RUN never happens.
    Sealed = 3,
    /// UNDO undid.
    Undone = 4,
    /// UNDO found nothing.
    NothingToUndo = 5,
    /// UNDO never happens.
    Fenced = 6,
}

/// One step of a saga.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Step {
    /// As in the definition; state is per step, by name, so that a definition can grow.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Where it stands.
    #[prost(enumeration = "StepStatus", tag = "2")]
    pub status: i32,
    /// From 1; 0 while waiting.
    #[prost(uint32, tag = "3")]
    pub epoch: u32,
    /// Of the present verb, from 1; 0 when there is none.
    #[prost(uint32, tag = "4")]
    pub attempt: u32,
    /// What the present verb waits for.
    #[prost(enumeration = "Pending", tag = "5")]
    pub pending: i32,
    /// End of the back-off, ms; 0 when there is none.
    #[prost(int64, tag = "6")]
    pub retry_at: i64,
    /// When it was entered, ms.
    #[prost(int64, tag = "7")]
    pub entered_at: i64,
    /// When it gives up, ms; 0 = never.
    #[prost(int64, tag = "8")]
    pub give_up_at: i64,
    /// First verdict for RUN in this epoch.
    #[prost(enumeration = "Verdict", tag = "9")]
    pub run: i32,
    /// First verdict for UNDO in this epoch.
    #[prost(enumeration = "Verdict", tag = "10")]
    pub undo: i32,
    /// Verdicts that contradicted the first, one bit each; kept so that their repeats are repeats.
    #[prost(uint32, tag = "11")]
    pub contradicted: u32,
    /// Why it needs a person; empty = it does not.
    #[prost(string, tag = "12")]
    pub parked: String,
    /// The last failure of the present verb.
    #[prost(message, optional, tag = "13")]
    pub last_error: Option<StepError>,
    /// Kept only while a later step needs it.
    #[prost(message, optional, tag = "14")]
    pub result: Option<Payload>,
    /// Of the signal that was taken.
    #[prost(string, tag = "15")]
    pub signal_id: String,
    /// A person, not the participant, said what happened here.
    #[prost(bool, tag = "16")]
    pub vouched: bool,
    /// While RUN is being sealed: what for.
    #[prost(enumeration = "Seal", tag = "17")]
    pub seal: i32,
}

/// What went wrong last.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct StepError {
    /// Such as UNAVAILABLE.
    #[prost(string, tag = "1")]
    pub code: String,
    /// For a person.
    #[prost(string, tag = "2")]
    pub message: String,
    /// ms
    #[prost(int64, tag = "3")]
    pub at: i64,
}

/// One saga.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct State {
    /// Where it is going.
    #[prost(enumeration = "Phase", tag = "1")]
    pub phase: i32,
    /// Inputs accepted so far; the number of the last history row.
    #[prost(uint32, tag = "2")]
    pub version: u32,
    /// The last input's time, ms; `now` is never below it.
    #[prost(int64, tag = "3")]
    pub now: i64,
    /// ms
    #[prost(int64, tag = "4")]
    pub created_at: i64,
    /// Index into the definition's stages, from 1; 0 before the first.
    #[prost(uint32, tag = "5")]
    pub stage: u32,
    /// In the definition's order.
    #[prost(message, repeated, tag = "6")]
    pub steps: Vec<Step>,
    /// Signals that came before their step was entered.
    #[prost(message, repeated, tag = "7")]
    pub early: Vec<Signal>,
    /// Why it turned round; empty = it did not.
    #[prost(string, tag = "8")]
    pub reason: String,
    /// Explains the reason.
    #[prost(message, optional, tag = "9")]
    pub reason_detail: Option<Payload>,
    /// Why the saga itself needs a person; empty = it does not.
    #[prost(string, tag = "10")]
    pub parked: String,
    /// When it was paused, ms; 0 = it is not.
    #[prost(int64, tag = "11")]
    pub paused_at: i64,
}

impl State {
    /// A saga that nothing has happened to: every step waits.
    pub fn new(definition: &Definition) -> State {
        let mut state = State { phase: Phase::Forward as i32, ..State::default() };
        for step in &definition.steps {
            state.steps.push(Step::waiting(&step.name));
        }
        state
    }

    /// Nothing more happens by itself, unless a flag says otherwise.
    pub fn is_final(&self) -> bool {
        matches!(self.phase(), Phase::Completed | Phase::Compensated)
    }

    /// The saga or one of its steps needs a person.
    pub fn is_parked(&self) -> bool {
        !self.parked.is_empty() || self.steps.iter().any(|s| !s.parked.is_empty())
    }

    /// What people filter by.
    pub fn shown(&self) -> Status {
        if self.is_parked() {
            return Status::Parked;
        }
        if self.paused_at != 0 {
            return Status::Paused;
        }
        match self.phase() {
            Phase::Forward => Status::Running,
            Phase::Compensating => Status::Compensating,
            Phase::Completed => Status::Completed,
            Phase::Compensated => Status::Compensated,
        }
    }

    /// Whether it has the definition's steps, in their order.
    pub(crate) fn is_aligned(&self, definition: &Definition) -> bool {
        let steps = self.steps.iter().map(|step| &step.name);
        steps.eq(definition.steps.iter().map(|step| &step.name))
    }

    /// Puts the steps into the definition's order and adds those that the definition grew since.
    /// None, and nothing changed, when the state has a step that the definition has not.
    pub fn aligned(&mut self, definition: &Definition) -> Option<()> {
        if self.is_aligned(definition) {
            return Some(());
        }
        if self.steps.iter().any(|step| definition.index(&step.name).is_none()) {
            return None;
        }
        let mut old = std::mem::take(&mut self.steps);
        for step in &definition.steps {
            let known = old.iter().position(|s| s.name == step.name).map(|i| old.remove(i));
            self.steps.push(known.unwrap_or_else(|| Step::waiting(&step.name)));
        }
        Some(())
    }
}

impl Step {
    fn waiting(name: &str) -> Step {
        Step { name: name.into(), status: StepStatus::Waiting as i32, ..Step::default() }
    }

    /// Begins a verb: first attempt, nothing known against it.
    pub(crate) fn begin(&mut self, status: StepStatus) {
        self.end(status);
        self.set_pending(Pending::Answer);
        self.attempt = 1;
    }

    /// Begins the next attempt of the present verb.
    pub(crate) fn again(&mut self) {
        self.set_pending(Pending::Answer);
        self.attempt += 1;
        self.retry_at = 0;
    }

    /// Ends a verb: nothing is pending, nobody is needed.
    pub(crate) fn end(&mut self, status: StepStatus) {
        self.set_status(status);
        self.set_seal(Seal::GiveUp);
        self.set_pending(Pending::Nothing);
        self.attempt = 0;
        self.retry_at = 0;
        self.give_up_at = 0;
        self.parked.clear();
        self.last_error = None;
    }

    /// Leaves it to a person: no command, no deadline, until somebody acts or a verdict comes.
    pub(crate) fn park(&mut self, why: impl Into<String>) {
        self.set_pending(Pending::Nothing);
        self.retry_at = 0;
        self.parked = why.into();
    }
}

/// A stored state could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Written by a newer binary.
    #[error("the state has format {found}, this binary reads up to {max}: finish the rollout or go back to the newer binary", max = crate::FORMAT)]
    Newer {
        /// What it has.
        found: u32,
    },
    /// Not a state.
    #[error("the state's bytes are broken: {0}")]
    Broken(#[from] prost::DecodeError),
    /// Counts or times that no saga comes to.
    #[error("the state's bytes are broken: {0} is beyond what a saga comes to")]
    Beyond(&'static str),
}

/// The state's bytes.
pub fn encode(state: &State) -> Vec<u8> {
    state.encode_to_vec()
}

/// Reads a state that was stored with `format`.
pub fn decode(format: u32, bytes: &[u8]) -> Result<State, Unreadable> {
    if format > crate::FORMAT {
        return Err(Unreadable::Newer { found: format });
    }
    let state = State::decode(bytes)?;
    match beyond(&state) {
        Some(field) => Err(Unreadable::Beyond(field)),
        None => Ok(state),
    }
}

/// Counts end where the columns beside the state do, and where participants' do. A transition adds one to them.
const MOST: u32 = i32::MAX as u32;
/// Times end in the year 287396, ms. A transition adds 38 days to them.
const LAST: i64 = 1 << 53;
/// No input is taken at a later time, ms: what follows from it stays readable.
pub(crate) const LAST_INPUT: i64 = LAST / 2;

/// A field that has what no saga of ours comes to.
fn beyond(state: &State) -> Option<&'static str> {
    let time = |at: i64| (-LAST..=LAST).contains(&at);
    let step = |step: &Step| {
        let counts = step.epoch <= MOST && step.attempt <= MOST;
        let times = time(step.retry_at) && time(step.entered_at) && time(step.give_up_at);
        let error = step.last_error.as_ref().is_none_or(|error| time(error.at));
        (!counts).then_some("a step's count").or((!(times && error)).then_some("a step's time"))
    };
    let times = time(state.now) && time(state.created_at) && time(state.paused_at);
    let own = (state.version > MOST).then_some("the version").or((!times).then_some("a time"));
    own.or_else(|| state.steps.iter().find_map(step))
}
