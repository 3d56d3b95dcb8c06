//! What a rule does and what it then sees: acts, rounds, answers. Pure.

use skald_proto::participant::v1::{Command, Outcome, Verb, outcome::Answer};

/// One act of a rule. The next begins when it has ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Sends these together, in this order, and waits until each is answered. Silence is asked again, and a failure that can be
    /// tried again gets a further attempt, as the orchestrator does.
    Ask(Vec<Command>),
    /// The same, but a failure is an answer.
    Once(Vec<Command>),
    /// Sends each list on a stream (gRPC) or into a partition (Kafka) of its own, all at the same time; then like [`Act::Ask`].
    Race(Vec<Vec<Command>>),
    /// Sends bytes that are no command, under this key.
    Garbage(String, Vec<u8>),
    /// Asks who the participant is, where there is a way to (gRPC).
    Describe,
    /// Sends the first list, and when one of it is answered the second one, little by little, while the participant is killed;
    /// starts it again. Then waits for an answer to everything that was sent; `silent`: without asking again.
    Crash {
        /// Some of these will have been answered.
        first: Vec<Command>,
        /// Some of these are caught in the middle, some may never be sent.
        then: Vec<Command>,
        /// Nothing is sent after the kill.
        silent: bool,
    },
}

/// A command that was sent, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// What.
    pub command: Command,
    /// The partition and its offset there; Kafka alone.
    pub place: Option<(i32, i64)>,
}

/// An outcome as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrival {
    /// What was said.
    pub outcome: Outcome,
    /// The message's key and partition; Kafka alone.
    pub place: Option<(Vec<u8>, i32)>,
}

/// A dead letter as it arrived; Kafka alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its key.
    pub key: Vec<u8>,
    /// Its bytes.
    pub payload: Vec<u8>,
    /// The header `skald-reason`.
    pub reason: String,
}

/// What an act came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Round {
    /// All that was sent, repeats included.
    pub sent: Vec<Sent>,
    /// All that was answered meanwhile, late answers of earlier acts included.
    pub arrivals: Vec<Arrival>,
    /// Dead letters that came meanwhile.
    pub letters: Vec<DeadLetter>,
    /// What the transport said last when it did not work.
    pub trouble: Option<String>,
    /// Who answered to [`Act::Describe`].
    pub described: Option<skald_proto::participant::v1::DescribeResponse>,
    /// After [`Act::Crash`]: commands that had been sent and not answered when the participant was gone.
    pub caught: Option<usize>,
    /// A hook did not do what it should.
    pub hook_failed: Option<String>,
    /// The group's committed offsets after the kill, by partition, when they can be read; Kafka alone.
    pub committed: Vec<(i32, i64)>,
}

/// All that a rule saw.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// One per act.
    pub rounds: Vec<Round>,
    /// The participant's name.
    pub participant: String,
}

impl Round {
    /// The answer that this command got in this round; with its attempt, if there was one.
    ///
    /// # Errors
    /// There was none.
    pub fn answer(&self, command: &Command) -> Result<&Answer, String> {
        let attempt = self.attempt_of(command);
        let mine = || self.arrivals.iter().rev().filter(|a| answers(&a.outcome, command));
        let exact = mine().find(|a| a.outcome.attempt == attempt);
        let found = exact.or_else(|| mine().next()).and_then(|a| a.outcome.answer.as_ref());
        found.ok_or_else(|| {
            let why = self.trouble.as_ref().map(|t| format!("; the transport said: {t}")).unwrap_or_default();
            format!("{} got no answer{why}", name(command))
        })
    }

    /// The attempt that was asked last.
    pub(crate) fn attempt_of(&self, command: &Command) -> u32 {
        let same = self.sent.iter().rev().find(|s| same(&s.command, command));
        same.map_or(command.attempt, |s| s.command.attempt)
    }

    /// Every answer that this command got.
    pub fn all<'a>(&'a self, command: &'a Command) -> impl Iterator<Item = &'a Answer> {
        let mine = self.arrivals.iter().filter(|a| answers(&a.outcome, command));
        mine.filter_map(|a| a.outcome.answer.as_ref())
    }
}

impl Seen {
    /// The answer that a command got in a round.
    ///
    /// # Errors
    /// There was none.
    pub fn answer(&self, round: usize, command: &Command) -> Result<&Answer, String> {
        let round = self.rounds.get(round).ok_or("the rule ended early")?;
        round.answer(command)
    }

    /// Every outcome of every round.
    pub fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.rounds.iter().flat_map(|r| &r.arrivals).map(|a| &a.outcome)
    }
}

/// Whether an outcome belongs to a command, whatever the attempt.
pub(crate) fn answers(outcome: &Outcome, command: &Command) -> bool {
    outcome.saga_id == command.saga_id
        && outcome.step == command.step
        && outcome.verb == command.verb
        && outcome.epoch == command.epoch
}

/// The same command, whatever the attempt.
pub(crate) fn same(a: &Command, b: &Command) -> bool {
    a.saga_id == b.saga_id && a.step == b.step && a.verb == b.verb && a.epoch == b.epoch
}

/// A command for people: `RUN reserve`, with its epoch when that is not 1.
pub(crate) fn name(command: &Command) -> String {
    let epoch = if command.epoch == 1 { String::new() } else { format!(" of epoch {}", command.epoch) };
    format!("{} {}{epoch}", verb(command.verb()), command.action)
}

fn verb(verb: Verb) -> &'static str {
    verb.as_str_name().trim_start_matches("VERB_")
}

/// An answer for people.
#[must_use]
pub fn tell(answer: &Answer) -> String {
    match answer {
        Answer::Succeeded(_) => "succeeded".to_owned(),
        Answer::Rejected(r) => format!("rejected {}", r.code),
        Answer::Sealed(_) => "sealed".to_owned(),
        Answer::Undone(_) => "undone".to_owned(),
        Answer::NothingToUndo(_) => "nothing to undo".to_owned(),
        Answer::Fenced(_) => "fenced".to_owned(),
        Answer::Failed(f) => {
            let kind = if f.retryable { "retryable" } else { "final" };
            format!("failed {} ({kind}): {}", f.code, f.message)
        }
    }
}
