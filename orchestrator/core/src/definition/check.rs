//! The rules that a definition must keep; each names the step that breaks it.

use super::{Definition, MAX_AGE_DAYS};

/// A rule that a definition breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("definition {definition}: {}{rule}", step.as_ref().map(|s| format!("step {s}: ")).unwrap_or_default())]
pub struct Broken {
    /// The definition's name.
    pub definition: String,
    /// The step's name, when the rule is about one.
    pub step: Option<String>,
    /// The rule, in words.
    pub rule: &'static str,
}

/// Every rule that the definition breaks.
pub(super) fn check(definition: &Definition) -> Vec<Broken> {
    let mut broken = Vec::new();
    let mut say = |step: Option<&str>, rule| {
        broken.push(Broken { definition: definition.name.clone(), step: step.map(str::to_owned), rule });
    };
    if !is_name(&definition.name) {
        say(None, "the name must be 1 to 64 characters of [a-z0-9_-]");
    }
    if definition.steps.is_empty() || definition.steps.len() > 64 {
        say(None, "there must be 1 to 64 steps");
        return broken;
    }
    if definition.max_age_ms == 0 || definition.max_age_ms > MAX_AGE_DAYS * 86_400_000 {
        say(
            None,
            "max_age must be above zero and at most 38 days, a week below the horizon of the participants' memory",
        );
    }
    if definition.steps.iter().filter(|s| s.pivot).count() > 1 {
        say(None, "at most one step may be the pivot");
    }
    for (i, step) in definition.steps.iter().enumerate() {
        for rule in step_rules(definition, i) {
            say(Some(&step.name), rule);
        }
    }
    broken
}

fn step_rules(definition: &Definition, i: usize) -> Vec<&'static str> {
    let step = &definition.steps[i];
    let pivot = definition.pivot();
    let before_pivot = pivot.is_none_or(|p| definition.is_ancestor(i, p));
    let after_pivot = definition.after_pivot(i);
    let rules = [
        (!is_name(&step.name), "the name must be 1 to 64 characters of [a-z0-9_-]"),
        (definition.index(&step.name) != Some(i), "another step has this name"),
        (
            !step.is_signal() && (!is_name(&step.participant) || !is_name(&step.action)),
            "participant and action must be 1 to 64 characters of [a-z0-9_-]",
        ),
        (step.is_signal() && step.has_undo(), "a signal has no undo"),
        (
            step.is_signal() && step.pivot,
            "a signal can't be the pivot: nobody could be asked whether it happened",
        ),
        (step.is_signal() && step.give_up_ms == 0, "a signal needs a deadline"),
        (step.has_undo() && step.no_effect, "a step with an undo can't say no_effect"),
        (
            pivot != Some(i) && !before_pivot && !after_pivot,
            "it must come before or after the pivot, not beside it",
        ),
        (
            pivot != Some(i) && before_pivot && !step.is_signal() && !step.has_undo() && !step.no_effect,
            "it comes before the pivot, so it needs an undo or no_effect = true",
        ),
        (
            (step.pivot || after_pivot) && step.has_undo(),
            "nothing is undone from the pivot on, so it can't have an undo",
        ),
        (
            step.retry.first_ms == 0 || step.retry.first_ms > step.retry.max_ms,
            "retry.first must be above zero and at most retry.max",
        ),
        (step.retry.factor_percent < 100 || step.retry.factor_percent > 1000, "retry.factor must be 1 to 10"),
        (step.retry.attempts == 0, "retry.attempts must be at least 1"),
        (step.retry.slow_ms < 1000, "retry.slow must be at least 1s"),
        (step.give_up_ms > definition.max_age_ms, "its deadline must not be beyond max_age"),
        (
            step.needs.iter().any(|&n| !definition.is_ancestor(n as usize, i)),
            "it needs the result of a step that is not sure to be done before it",
        ),
    ];
    rules.into_iter().filter(|(broken, _)| *broken).map(|(_, rule)| rule).collect()
}

fn is_name(s: &str) -> bool {
    (1..=64).contains(&s.len())
        && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}
