//! What would have become of a saga under another definition: its recorded inputs are folded by both, side by side.
//!
//! Nothing is invented. An input that the other definition refuses is dropped; what follows the last row is not guessed,
//! so a saga that would have asked something that nobody asked then is shown waiting for the answer. A deadline that
//! both have fires when it fired; one that the other definition alone has fires when it is due.

use std::fmt;

use crate::{
    archive::Recorded,
    definition::Definition,
    effects::Effects,
    fields::{command_words, event_words},
    flight,
    history::{self, Lineage},
    input::{self, DeadlineFired, Input},
    machine::{Context, advance},
    state::{State, Status},
};

/// Deadlines that fire between two rows: far more than a sound definition has.
const MOST: usize = 1_000;

/// How a saga stands after its last row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// As people filter by it.
    pub status: Status,
    /// Why it turned round; empty = it did not.
    pub reason: String,
    /// Commands that wait for an answer.
    pub waits: Vec<String>,
}

impl End {
    fn of(state: &State) -> End {
        let waits = flight::commands(state).iter().map(command_words).collect();
        End { status: state.shown(), reason: state.reason.clone(), waits }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{:?}", self.status).to_uppercase())?;
        if !self.reason.is_empty() {
            write!(f, " {}", self.reason)?;
        }
        if !self.waits.is_empty() {
            write!(f, ", waits for {}", self.waits.join(", "))?;
        }
        Ok(())
    }
}

/// A saga under two definitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rerun {
    /// As it ended.
    pub was: End,
    /// As it would have.
    pub would: End,
    /// The first row at which they part, and how; None: they never do.
    pub parts: Option<(u32, String)>,
}

/// Folds what was recorded under `old` by `new` too, from its first row on: a move from one definition to another that was
/// recorded is none for the one that follows `new` all along.
///
/// # Errors
/// The history can't be folded by its own definition: `verify` says more.
pub fn rerun<'a>(
    old: impl Into<Lineage<'a>>,
    new: &Definition,
    saga: &Recorded,
) -> Result<Rerun, history::Mismatch> {
    let old = old.into().at_first(&saga.rows)?;
    let was = State::new(old.definition);
    let mut both = Both { old, new, saga, was, would: State::new(new), parts: None };
    for row in &saga.rows {
        both.time(row);
        both.row(row)?;
    }
    Ok(Rerun { was: End::of(&both.was), would: End::of(&both.would), parts: both.parts })
}

struct Both<'a, 'b> {
    old: Lineage<'a>,
    new: &'b Definition,
    saga: &'b Recorded,
    was: State,
    would: State,
    parts: Option<(u32, String)>,
}

impl Both<'_, '_> {
    /// Fires what is due before a row under the new definition alone.
    fn time(&mut self, row: &history::Row) {
        if self.would.version == 0 {
            return;
        }
        let known: Vec<i64> =
            flight::deadlines(self.old.definition, &self.was).into_iter().map(|(at, _)| at).collect();
        for _ in 0..MOST {
            let open = flight::deadlines(self.new, &self.would);
            let mut due = open.into_iter().map(|(at, _)| at).filter(|at| *at < row.at);
            let Some(at) = due.find(|at| !known.contains(at)) else { return };
            let cx = Context { saga: self.saga.id, definition: self.new, now: at };
            let fired = Input::DeadlineFired(DeadlineFired {});
            let Ok(effects) = advance(cx, &mut self.would, &fired) else { return };
            self.part(row.seq, || format!("a deadline fires before it: {}", consequence(&effects)));
        }
    }

    fn row(&mut self, row: &history::Row) -> Result<(), history::Mismatch> {
        let Both { old, new, saga, .. } = *self;
        let then = history::fold(old, saga.id, &saga.request, &mut self.was, row)?;
        self.old = old.after(row.seq, &then)?;
        if !then.definition.is_empty() {
            return Ok(());
        }
        let unreadable = |why| history::Mismatch::Unreadable { seq: row.seq, why };
        let mut input = input::decode(&row.input).map_err(unreadable)?;
        match &mut input {
            Input::Started(first) => {
                *first = history::started(&saga.request).map_err(|_| history::Mismatch::Request)?;
            }
            // What the person saw then is not what he would have seen.
            Input::Operator(operator) => operator.expected_version = self.would.version,
            _ => {}
        }
        let cx = Context { saga: saga.id, definition: new, now: row.at };
        match advance(cx, &mut self.would, &input) {
            Err(refused) => self.part(row.seq, || format!("{} refused: {refused}", name(row))),
            Ok(now) => {
                let (then, now) = (consequence(&then), consequence(&now));
                let end = |state: &State| End { waits: Vec::new(), ..End::of(state) };
                if then != now || end(&self.was) != end(&self.would) {
                    let stands = end(&self.would);
                    self.part(row.seq, || format!("{}: {stands}, {now}; then: {then}", name(row)));
                }
            }
        }
        Ok(())
    }

    /// Remembers where they part, the first time.
    fn part(&mut self, seq: u32, why: impl FnOnce() -> String) {
        self.parts.get_or_insert_with(|| (seq, why()));
    }
}

fn name(row: &history::Row) -> &'static str {
    Input::kind_name(row.kind)
}

/// Commands and events, in words.
fn consequence(effects: &Effects) -> String {
    let commands = effects.commands.iter().map(|command| format!("send {}", command_words(command)));
    let events = effects.events.iter().filter_map(|record| record.event.as_ref());
    let all: Vec<_> = commands.chain(events.map(|event| format!("event {}", event_words(event)))).collect();
    if all.is_empty() { "nothing follows".into() } else { all.join(", ") }
}
