//! The rules that a definition must keep; each names the step that breaks it.

use super::{Definition, MAX_AGE_DAYS, Step};

/// Steps of a definition, and stages: each is compared with each.
pub(super) const MOST: usize = 64;
/// Broken by more steps, or none.
pub(super) const STEPS: &str = "there must be 1 to 64 steps";
/// Broken by more stages.
pub(super) const STAGES: &str = "there must be at most 64 stages";
const DAY_MS: u64 = 86_400_000;

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
    if definition.steps.is_empty() || definition.steps.len() > MOST {
        say(None, STEPS);
        return broken;
    }
    if definition.stages.len() > MOST {
        say(None, STAGES);
        return broken;
    }
    if dangles(definition) {
        say(None, "steps may only name stages that are there, and steps above them");
        return broken;
    }
    if (1..definition.stages.len()).any(|i| definition.stages[..i].contains(&definition.stages[i])) {
        say(None, "a stage stands twice in `stages`");
    }
    if definition.max_age_ms == 0 || definition.max_age_ms > MAX_AGE_DAYS * DAY_MS {
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

/// A file can't say it, stored bytes could: indices that point nowhere, or make a circle.
fn dangles(definition: &Definition) -> bool {
    let mut steps = definition.steps.iter().zip(0u32..);
    steps.any(|(step, i)| {
        step.after.iter().chain(&step.needs).any(|&above| above >= i)
            || step.stage as usize > definition.stages.len()
    })
}

fn step_rules(definition: &Definition, i: usize) -> Vec<&'static str> {
    let rules =
        [own(definition, i), signal(&definition.steps[i]), place(definition, i), retry(definition, i)];
    let broken = rules.into_iter().flatten().filter(|(broken, _)| *broken);
    broken.map(|(_, rule)| rule).collect()
}

/// Whether a rule is broken, and the rule.
type Rule = (bool, &'static str);

fn own(definition: &Definition, i: usize) -> Vec<Rule> {
    let step = &definition.steps[i];
    vec![
        (!is_name(&step.name), "the name must be 1 to 64 characters of [a-z0-9_-]"),
        (definition.index(&step.name) != Some(i), "another step has this name"),
        (
            !step.is_signal() && (!is_name(&step.participant) || !is_name(&step.action)),
            "participant and action must be 1 to 64 characters of [a-z0-9_-]",
        ),
        (step.has_undo() && !is_name(&step.undo), "its undo must be 1 to 64 characters of [a-z0-9_-]"),
        (step.has_undo() && step.no_effect, "a step with an undo can't say no_effect"),
        (step.give_up_ms > definition.max_age_ms, "its deadline must not be beyond max_age"),
        (
            step.needs.iter().any(|&n| !definition.is_ancestor(n as usize, i)),
            "it needs the result of a step that is not sure to be done before it",
        ),
    ]
}

fn signal(step: &Step) -> Vec<Rule> {
    let rules = [
        (!step.action.is_empty(), "a signal has no action"),
        (step.has_undo(), "a signal has no undo"),
        (step.pivot, "a signal can't be the pivot: nobody could be asked whether it happened"),
        (step.give_up_ms == 0, "a signal needs a deadline"),
    ];
    rules.into_iter().filter(|_| step.is_signal()).collect()
}

/// What hangs on where it stands to the pivot.
fn place(definition: &Definition, i: usize) -> Vec<Rule> {
    let step = &definition.steps[i];
    let pivot = definition.pivot();
    let before = pivot.is_none_or(|p| definition.is_ancestor(i, p));
    let after = definition.after_pivot(i);
    let commands = !step.is_signal();
    vec![
        (pivot != Some(i) && !before && !after, "it must come before or after the pivot, not beside it"),
        (
            pivot != Some(i) && before && commands && !step.has_undo() && !step.no_effect,
            "the saga can still turn round after it, so it needs an undo or no_effect = true",
        ),
        (
            (step.pivot || after) && step.has_undo(),
            "nothing is undone from the pivot on, so it can't have an undo",
        ),
        (
            after && commands && !step.park_on_reject,
            "nothing is undone after the pivot, so on_rejected must be park",
        ),
        (
            after && commands && step.give_up_ms != 0,
            "a step after the pivot never gives up, so it can't have a deadline",
        ),
        (!after && commands && step.give_up_ms == 0, "its deadline must be above zero"),
    ]
}

fn retry(definition: &Definition, i: usize) -> Vec<Rule> {
    let retry = &definition.steps[i].retry;
    vec![
        (
            retry.first_ms == 0 || retry.first_ms > retry.max_ms,
            "retry.first must be above zero and at most retry.max",
        ),
        (retry.factor_percent < 100 || retry.factor_percent > 1000, "retry.factor must be 1 to 10"),
        (retry.attempts == 0, "retry.attempts must be at least 1"),
        (retry.slow_ms < 1000, "retry.slow must be at least 1s"),
        (
            retry.max_ms.max(retry.slow_ms) > MAX_AGE_DAYS * DAY_MS,
            "retry.max and retry.slow must be at most 38 days",
        ),
    ]
}

fn is_name(s: &str) -> bool {
    (1..=64).contains(&s.len())
        && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}
