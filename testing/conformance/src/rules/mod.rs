//! The rules: what each asks, what it expects, and what a participant's users lose when it is broken. Pure: a script of acts
//! over fresh sagas, and a judgement over what was seen.

mod bounds;
mod crash;
mod disorder;
mod identity;
mod repeats;
mod seal;
mod undo;

use skald_proto::participant::v1::{Command, outcome::Answer};

use crate::{
    case::Case,
    script::{Act, Seen, name, tell},
};

/// What a rule can't do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// An action with an undo.
    Undo,
    /// A sample that is rejected.
    Rejected,
    /// Kafka.
    Kafka,
    /// gRPC.
    Grpc,
    /// Hooks that kill and restart the participant.
    Hooks,
}

/// What is judged at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Each action for itself; its sagas are all of that action.
    Action,
    /// The participant; its sagas are of all actions in turn.
    Participant,
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// On the command line, in reports, and as a heading of `docs/participants.md`.
    pub name: &'static str,
    /// What must hold.
    pub says: &'static str,
    /// The promise of the README that breaks with it.
    pub promise: &'static str,
    /// How it breaks.
    pub broken: &'static str,
    /// What it can't do without.
    pub needs: &'static [Need],
    /// What is judged at once.
    pub scope: Scope,
    /// Fresh sagas that it wants.
    pub sagas: usize,
    /// What to do with them.
    pub script: fn(&[Case]) -> Vec<Act>,
    /// Whether what was seen is right; the error is for people.
    pub judge: fn(&[Case], &Seen) -> Result<(), String>,
}

impl Rule {
    /// Where its heading is.
    #[must_use]
    pub fn page(&self) -> String {
        format!("docs/participants.md#{}", self.name)
    }
}

/// Every rule, in the order in which they are judged: simple ones first, those that kill last.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    [identity::RULES, repeats::RULES, undo::RULES, seal::RULES, disorder::RULES, bounds::RULES, crash::RULES]
        .into_iter()
        .flatten()
}

const ONCE: &str = "Effectively once";
const EXACT: &str = "Undo is exact";
const KEPT: &str = "Nothing acknowledged is lost";

fn ask(commands: impl Into<Vec<Command>>) -> Act {
    Act::Ask(commands.into())
}

/// The command's answer in that round must be of this kind.
fn expect(
    seen: &Seen,
    round: usize,
    command: &Command,
    kind: fn(&Answer) -> bool,
    what: &str,
) -> Result<(), String> {
    let answer = seen.answer(round, command)?;
    if kind(answer) {
        return Ok(());
    }
    Err(format!("{} must be answered {what}; it was {}{}", name(command), tell(answer), after(round)))
}

fn after(round: usize) -> String {
    if round == 0 { String::new() } else { format!(" (act {} of the rule)", round + 1) }
}

fn succeeded(answer: &Answer) -> bool {
    matches!(answer, Answer::Succeeded(_))
}

fn rejected(answer: &Answer) -> bool {
    matches!(answer, Answer::Rejected(_))
}

fn sealed(answer: &Answer) -> bool {
    matches!(answer, Answer::Sealed(_))
}

fn undone(answer: &Answer) -> bool {
    matches!(answer, Answer::Undone(_))
}

fn nothing(answer: &Answer) -> bool {
    matches!(answer, Answer::NothingToUndo(_))
}

fn fenced(answer: &Answer) -> bool {
    matches!(answer, Answer::Fenced(_))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_each_rule_has_its_heading() {
        let mut names = BTreeSet::new();
        let page = include_str!("../../../../docs/participants.md");
        for rule in all() {
            assert!(names.insert(rule.name), "{} stands twice", rule.name);
            assert!(page.contains(&format!("\n#### {}\n", rule.name)), "{} has no heading", rule.name);
            assert!(rule.sagas > 0, "{}", rule.name);
        }
        for heading in page.lines().filter_map(|line| line.strip_prefix("#### ")) {
            assert!(names.contains(heading), "{heading} is no rule");
        }
    }
}
