//! Decides a wave: commands, what the barrier remembers of them, and the domain give a plan. Pure; the plan is executed elsewhere.

use skald_proto::participant::v1::{
    Fenced, NothingToUndo, Rejected, Sealed, Succeeded, Undone, outcome::Answer,
};
use uuid::Uuid;

use crate::{
    barrier::{Row, Slot, Stored, Verdict},
    command::{Command, Failed, PROTOCOL, Verb},
    planted,
    service::{Action, Domain, RunAnswer, UndoAnswer},
};

/// Answered while a call's result is not known and it is too old to be repeated.
pub const UNRESOLVED: &str = "UNRESOLVED";

/// What the barrier can remember: sagas from `oldest` on, before `newest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The lower bound of the oldest partition.
    pub oldest: Uuid,
    /// The upper bound of the newest partition.
    pub newest: Uuid,
}

/// What is to be done about a wave. Indexes are those of the wave's commands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Barrier rows, sorted by key. All must be inserted, or nothing is done.
    pub inserts: Vec<Row>,
    /// Open intents that must still be there: their attempt numbers, and those asleep are woken.
    pub touches: Vec<Touch>,
    /// Intents that are opened; their barrier rows are among the inserts.
    pub opened: Vec<Open>,
    /// Per command. `None`: no answer now; the intent's settling answers.
    pub answers: Vec<Option<Answer>>,
    /// What a person should hear of.
    pub alarms: Vec<Alarm>,
    /// The domain failed a command. No row guards that answer: look up again, under the domain's locks, whether it was asked
    /// about what is still so.
    pub failed_by_domain: bool,
}

/// A command meets an open intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// Which command.
    pub command: usize,
    /// Which intent of its key.
    pub slot: Slot,
    /// The intent's answer will count for this command's attempt; else it is only woken.
    pub attempt: bool,
}

/// A command opens an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// Which command.
    pub command: usize,
    /// Whether to run or to undo.
    pub slot: Slot,
    /// `false`: the action's own intent is still open and settles first.
    pub ready: bool,
}

/// What a person should hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// A saga id newer than any partition: a clock is wrong, or housekeeping does not run.
    FromTheFuture {
        /// Which command.
        command: usize,
    },
}

/// What a command comes to before the domain is asked.
#[derive(Clone, Debug, PartialEq)]
enum Next {
    /// It is answered, nothing is written.
    Answer(Answer),
    /// Like [`Next::Answer`], and a person should hear of it.
    Future(Answer),
    /// Intents are touched; some commands are answered all the same.
    Touch(Vec<(Slot, bool)>, Option<Answer>),
    /// A row for UNDO with this verdict; nothing is asked of the domain.
    CloseUndo(Verdict),
    /// UNDO stores its intent behind the open one of RUN.
    QueueUndo,
    /// The domain runs the action.
    Run,
    /// The domain undoes the action.
    Undo,
    /// The action is sealed; with UNDO's verdict, when it gets one.
    Seal(Option<Verdict>),
}

/// A wave looked up in the barrier, before the domain was loaded.
#[derive(Debug)]
pub struct Triage<'a> {
    wave: Vec<(&'a Command, Next)>,
}

impl<'a> Triage<'a> {
    /// Compares each command with what the barrier remembers of it. `stored` may be stale: inserting decides.
    pub fn new(wave: &[&'a Command], stored: &Stored, bounds: Bounds, actions: &[Action]) -> Self {
        let next = |c: &&'a Command| (*c, next(c, stored, bounds, actions));
        Self { wave: wave.iter().map(next).collect() }
    }

    /// Everything is answered by what is remembered: nothing will be written and nobody asked.
    pub fn is_answered(&self) -> bool {
        self.wave.iter().all(|(_, next)| matches!(next, Next::Answer(_) | Next::Future(_)))
    }

    /// The commands that the domain will be asked about.
    pub fn work(&self) -> Vec<&'a Command> {
        let asks = |next: &Next| matches!(next, Next::Run | Next::Undo | Next::Seal(_));
        self.wave.iter().filter(|(_, next)| asks(next)).map(|(command, _)| *command).collect()
    }

    /// Makes the plan, asking `domain` in arrival order. `None` is enough when there is no [`work`](Self::work).
    ///
    /// # Panics
    /// When there is work and no domain.
    pub fn decide(self, mut domain: Option<&mut impl Domain>) -> Plan {
        let mut plan = Plan::default();
        for (index, (command, next)) in self.wave.into_iter().enumerate() {
            let answer = match next {
                Next::Answer(answer) => Some(answer),
                Next::Future(answer) => {
                    plan.alarms.push(Alarm::FromTheFuture { command: index });
                    Some(answer)
                }
                Next::Touch(slots, answer) => {
                    let touch = |(slot, attempt)| Touch { command: index, slot, attempt };
                    plan.touches.extend(slots.into_iter().map(touch));
                    answer
                }
                Next::CloseUndo(verdict) => {
                    plan.inserts.push(Row::bare(command, Slot::Undo, verdict));
                    Some(closed(verdict))
                }
                Next::QueueUndo => {
                    plan.touches.push(Touch { command: index, slot: Slot::Run, attempt: false });
                    plan.open(command, index, Slot::Undo, false)
                }
                asks => {
                    let domain = domain.as_deref_mut().expect("work was announced, so the domain was loaded");
                    plan.ask(command, index, &asks, domain)
                }
            };
            plan.answers.push(answer);
        }
        plan.inserts.sort_by(|a, b| (&a.key, a.slot).cmp(&(&b.key, b.slot)));
        plan
    }
}

impl Plan {
    /// Nothing is to be written.
    pub fn is_read_only(&self) -> bool {
        self.inserts.is_empty() && self.touches.is_empty()
    }

    fn ask(&mut self, c: &Command, index: usize, next: &Next, domain: &mut impl Domain) -> Option<Answer> {
        match next {
            Next::Run => match domain.run(c) {
                RunAnswer::Intent => self.open(c, index, Slot::Run, true),
                RunAnswer::Failed(failed) => self.fail(failed),
                RunAnswer::Succeeded(result) => {
                    self.store(c, Slot::Run, Verdict::Done, Answer::Succeeded(Succeeded { result }))
                }
                RunAnswer::Rejected(rejection) => {
                    self.store(c, Slot::Run, Verdict::Rejected, Answer::Rejected(rejection.into()))
                }
            },
            Next::Undo => match domain.undo(c) {
                UndoAnswer::Intent => self.open(c, index, Slot::Undo, true),
                UndoAnswer::Failed(failed) => self.fail(failed),
                UndoAnswer::Undone(result) => {
                    self.store(c, Slot::Undo, Verdict::Done, Answer::Undone(Undone { result }))
                }
            },
            Next::Seal(undo) => {
                domain.seal(c);
                self.inserts.push(Row::bare(c, Slot::Run, Verdict::Sealed));
                match undo {
                    None => Some(Answer::Sealed(Sealed {})),
                    Some(verdict) => {
                        self.inserts.push(Row::bare(c, Slot::Undo, *verdict));
                        Some(closed(*verdict))
                    }
                }
            }
            _ => None,
        }
    }

    fn store(&mut self, c: &Command, slot: Slot, verdict: Verdict, answer: Answer) -> Option<Answer> {
        if verdict == Verdict::Rejected && planted::is("a_no_is_not_stored") {
            return Some(answer);
        }
        self.inserts.push(Row::answered(c, slot, verdict, &answer));
        Some(answer)
    }

    fn fail(&mut self, failed: Failed) -> Option<Answer> {
        self.failed_by_domain = true;
        Some(failed.into())
    }

    fn open(&mut self, c: &Command, index: usize, slot: Slot, ready: bool) -> Option<Answer> {
        self.inserts.push(Row::bare(c, slot, Verdict::Intent));
        self.opened.push(Open { command: index, slot, ready });
        None
    }
}

fn next(c: &Command, stored: &Stored, bounds: Bounds, actions: &[Action]) -> Next {
    if c.protocol > PROTOCOL {
        let text = format!("protocol {} is not understood here; {PROTOCOL} is", c.protocol);
        return Next::Answer(Failed::retryable("UNIMPLEMENTED", text).into());
    }
    if c.saga < bounds.oldest && !planted::is("too_old_is_run") {
        return Next::Answer(Failed::last("TOO_OLD", "the saga is older than what is remembered").into());
    }
    if c.saga >= bounds.newest {
        let text = "the saga's id is from the future";
        return Next::Future(Failed::retryable("FROM_THE_FUTURE", text).into());
    }
    let key = c.key();
    let run = stored.get(&key, Slot::Run);
    let undo = stored.get(&key, Slot::Undo);
    let next = match c.verb {
        Verb::Run => next_run(run),
        Verb::SealRun => next_seal_run(run, stored.unresolved(&key, Slot::Run)),
        Verb::Undo => next_undo(run, undo),
        Verb::SealUndo => {
            let unresolved = stored.unresolved(&key, Slot::Run) || stored.unresolved(&key, Slot::Undo);
            next_seal_undo(run, undo, unresolved)
        }
    };
    // what is remembered is repeated even by a version that no longer knows the action
    let remembered = matches!(next, Next::Answer(_) | Next::Touch(..));
    if planted::is("unknown_action_is_a_no") && !remembered && !knows(actions, c) && c.verb == Verb::Run {
        return Next::Answer(Answer::Rejected(Rejected::default()));
    }
    if remembered || knows(actions, c) { next } else { Next::Answer(unknown(c)) }
}

fn next_run(run: Option<&Row>) -> Next {
    match run {
        None => Next::Run,
        Some(row) if row.verdict == Verdict::Intent => Next::Touch(vec![(Slot::Run, true)], None),
        Some(row) if row.verdict == Verdict::Sealed && planted::is("run_ignores_the_seal") => Next::Run,
        Some(row) => Next::Answer(row.run_answer()),
    }
}

fn next_seal_run(run: Option<&Row>, unresolved: bool) -> Next {
    match run {
        None if planted::is("seal_seals_nothing") => Next::Answer(Answer::Sealed(Sealed {})),
        None => Next::Seal(None),
        Some(row) if row.verdict == Verdict::Intent => {
            Next::Touch(vec![(Slot::Run, false)], unresolved.then(unresolved_answer))
        }
        Some(row) => Next::Answer(row.run_answer()),
    }
}

fn next_undo(run: Option<&Row>, undo: Option<&Row>) -> Next {
    let open = |row: &Row| row.verdict == Verdict::Intent;
    match (run, undo) {
        (run, Some(row)) if open(row) => {
            // what it waits for may be asleep
            let mut slots = vec![(Slot::Undo, true)];
            slots.extend(run.is_some_and(open).then_some((Slot::Run, false)));
            Next::Touch(slots, None)
        }
        (Some(run), Some(row))
            if (run.verdict, row.verdict) == (Verdict::Done, Verdict::Fenced)
                && planted::is("undo_ignores_the_fence") =>
        {
            Next::Undo
        }
        (_, Some(row)) => Next::Answer(row.undo_answer()),
        (None, None) if planted::is("undo_seals_nothing") => Next::CloseUndo(Verdict::Nothing),
        (None, None) => Next::Seal(Some(Verdict::Nothing)),
        (Some(row), None) => match row.verdict {
            Verdict::Done => Next::Undo,
            Verdict::Intent => Next::QueueUndo,
            _ => Next::CloseUndo(Verdict::Nothing),
        },
    }
}

fn next_seal_undo(run: Option<&Row>, undo: Option<&Row>, unresolved: bool) -> Next {
    let is_open = |row: Option<&Row>| row.is_some_and(|row| row.verdict == Verdict::Intent);
    let open = [(Slot::Run, run), (Slot::Undo, undo)].into_iter().filter(|(_, row)| is_open(*row));
    let open: Vec<_> = open.map(|(slot, _)| (slot, false)).collect();
    if !open.is_empty() {
        return Next::Touch(open, unresolved.then(unresolved_answer));
    }
    match (run, undo) {
        (_, Some(row)) => Next::Answer(row.undo_answer()),
        (None, None) => Next::Seal(Some(Verdict::Fenced)),
        (Some(_), None) => Next::CloseUndo(Verdict::Fenced),
    }
}

fn knows(actions: &[Action], c: &Command) -> bool {
    actions.iter().any(|action| match c.verb {
        Verb::Run | Verb::SealRun => action.name == c.action,
        Verb::Undo | Verb::SealUndo => action.undo == Some(c.action.as_str()),
    })
}

fn unknown(c: &Command) -> Answer {
    let text = format!("{} can't be asked of this version with {}", c.action, c.verb.label());
    Failed::retryable("UNIMPLEMENTED", text).into()
}

fn closed(verdict: Verdict) -> Answer {
    match verdict {
        Verdict::Fenced => Answer::Fenced(Fenced {}),
        _ => Answer::NothingToUndo(NothingToUndo {}),
    }
}

/// The answer to whoever waits for a call that nobody can settle but a person.
pub(crate) fn unresolved_answer() -> Answer {
    Failed::last(UNRESOLVED, "whether the call took effect is not known; a person must find out").into()
}

impl From<crate::service::Rejection> for Rejected {
    fn from(r: crate::service::Rejection) -> Self {
        Self { code: r.code, message: r.message, detail: r.detail }
    }
}

#[cfg(test)]
mod tests;
