//! Whether a saga could go on under another definition. What it has entered is a fact and must be in the new one as it
//! was: same participant, action and undo, same place among what was entered. What it has not entered may change.

use std::collections::BTreeSet;

use crate::{
    definition::{Definition, Step},
    invariants,
    state::{self, Phase, State, StepStatus},
};

/// One way in which two definitions differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The step's name; empty: the definition as a whole.
    pub step: String,
    /// In words.
    pub what: String,
    /// A saga that entered the step can't follow.
    pub binds: bool,
}

/// Everything in which two definitions differ, as far as a saga notices.
pub fn changes(old: &Definition, new: &Definition) -> Vec<Change> {
    let mut changes = of_the_whole(old, new);
    let mut say = |step: &Step, what: String, binds| {
        changes.push(Change { step: step.name.clone(), what, binds });
    };
    for (i, step) in old.steps.iter().enumerate() {
        let Some(j) = new.index(&step.name) else {
            say(step, "removed".into(), true);
            continue;
        };
        for what in rewritten(step, &new.steps[j]) {
            say(step, what, true);
        }
        let (before, after) = (ancestors(old, i), ancestors(new, j));
        if before != after {
            say(step, format!("comes after {}, not after {}", list(&after), list(&before)), true);
        }
        for what in retuned(old, i, new, j) {
            say(step, what, false);
        }
    }
    for step in new.steps.iter().filter(|step| old.index(&step.name).is_none()) {
        say(step, "added".into(), false);
    }
    changes
}

fn of_the_whole(old: &Definition, new: &Definition) -> Vec<Change> {
    let whole = |what: String, binds| Change { step: String::new(), what, binds };
    let mut changes = Vec::new();
    for (field, was, is) in [("name", &old.name, &new.name), ("input", &old.input, &new.input)] {
        if was != is {
            changes.push(whole(format!("{field}: {was:?} becomes {is:?}"), true));
        }
    }
    if old.stages != new.stages {
        changes
            .push(whole(format!("stages: {} become {}", old.stages.join(" "), new.stages.join(" ")), true));
    }
    if old.max_age_ms != new.max_age_ms {
        changes.push(whole(
            format!("max_age: {} becomes {}", time(old.max_age_ms), time(new.max_age_ms)),
            false,
        ));
    }
    if old.reasons != new.reasons {
        changes.push(whole("reasons change".into(), false));
    }
    changes
}

/// Why a saga that follows `old` can't go on under `new`; empty: it can.
pub fn obstacles(saga: &State, old: &Definition, new: &Definition) -> Vec<String> {
    let mut found: Vec<String> = of_the_whole(old, new)
        .into_iter()
        .filter(|c| c.binds && !c.what.starts_with("stages"))
        .map(|c| c.what)
        .collect();
    let reached = saga.stage as usize;
    if old.stages.get(..reached) != new.stages.get(..reached) {
        found
            .push(format!("it reached stage {}, and the stages up to there change", old.stages[reached - 1]));
    }
    let entered: BTreeSet<&str> = entered(saga);
    for name in &entered {
        let Some(i) = old.index(name) else { continue };
        match new.index(name) {
            None => found.push(format!("{name} was entered and is removed")),
            Some(j) => {
                let say = |what| format!("{name} was entered: {what}");
                found.extend(rewritten(&old.steps[i], &new.steps[j]).into_iter().map(say));
                found.extend(misplaced(old, i, new, j, &entered).into_iter().map(say));
                found.extend(resent(saga, old, i, new, j));
            }
        }
    }
    found.extend(missing(saga, old, new));
    if found.is_empty()
        && let Err(violation) = invariants::check(new, &moved(saga, new))
    {
        found.push(violation.to_string());
    }
    found
}

/// The state as it would be under the new definition: in its order, without steps that are gone, with new ones waiting.
pub(crate) fn moved(saga: &State, new: &Definition) -> State {
    let mut moved = saga.clone();
    moved.steps.retain(|step| new.index(&step.name).is_some());
    moved.aligned(new).expect("what it has not was taken out");
    moved
}

fn entered(saga: &State) -> BTreeSet<&str> {
    saga.steps.iter().filter(|step| step.epoch != 0).map(|step| step.name.as_str()).collect()
}

/// What a saga that was told to do one thing can't be told to have done otherwise.
fn rewritten(old: &Step, new: &Step) -> Vec<String> {
    let text = [
        ("participant", &old.participant, &new.participant),
        ("action", &old.action, &new.action),
        ("undo", &old.undo, &new.undo),
    ];
    let differ = text.into_iter().filter(|(_, was, is)| was != is);
    let mut all: Vec<String> =
        differ.map(|(field, was, is)| format!("{field}: {} becomes {}", quoted(was), quoted(is))).collect();
    for (field, was, is) in [("pivot", old.pivot, new.pivot), ("no_effect", old.no_effect, new.no_effect)] {
        if was != is {
            all.push(format!("{field}: {was} becomes {is}"));
        }
    }
    all
}

/// A command that is in flight is sent again as it was.
fn resent(saga: &State, old: &Definition, i: usize, new: &Definition, j: usize) -> Option<String> {
    let name = &old.steps[i].name;
    let in_flight = |step: &state::Step| step.name == *name && step.status() == StepStatus::Running;
    let (was, is) = (needs(old, i), needs(new, j));
    let differs = saga.steps.iter().any(in_flight) && was != is;
    differs.then(|| format!("{name} is in flight: needs: {} becomes {}", list(&was), list(&is)))
}

/// The steps whose results it carries.
fn needs(definition: &Definition, i: usize) -> BTreeSet<String> {
    definition.steps[i].needs.iter().map(|&n| definition.steps[n as usize].name.clone()).collect()
}

/// What only steps notice that were not entered yet.
fn retuned(old: &Definition, i: usize, new: &Definition, j: usize) -> Vec<String> {
    let (was, is) = (&old.steps[i], &new.steps[j]);
    let stage = |d: &Definition, s: &Step| match s.stage {
        0 => "none".to_owned(),
        n => d.stages[n as usize - 1].clone(),
    };
    let on_rejected = |s: &Step| if s.park_on_reject { "park" } else { "compensate" }.to_owned();
    let fields = [
        ("needs", list(&needs(old, i)), list(&needs(new, j))),
        ("stage", stage(old, was), stage(new, is)),
        ("deadline", time(was.give_up_ms), time(is.give_up_ms)),
        ("on_deadline", was.give_up_reason.clone(), is.give_up_reason.clone()),
        ("on_rejected", on_rejected(was), on_rejected(is)),
    ];
    let differ = fields.into_iter().filter(|(_, was, is)| was != is);
    let mut all: Vec<String> =
        differ.map(|(field, was, is)| format!("{field}: {was} becomes {is}")).collect();
    if was.retry != is.retry {
        all.push("retry changes".into());
    }
    all
}

/// Its place among what was entered.
fn misplaced(
    old: &Definition,
    i: usize,
    new: &Definition,
    j: usize,
    entered: &BTreeSet<&str>,
) -> Vec<String> {
    let (before, after) = (ancestors(old, i), ancestors(new, j));
    let kept = |name: &&String| entered.contains(name.as_str()) && new.index(name).is_some();
    let lost = before.iter().filter(|name| kept(name) && !after.contains(*name));
    let gained = after.iter().filter(|name| !before.contains(*name));
    let lost = lost.map(|name| format!("it came after {name} and no longer does"));
    lost.chain(gained.map(|name| format!("it would come after {name} and did not"))).collect()
}

/// What the saga would need and has not kept, or keeps and nobody would want.
fn missing(saga: &State, old: &Definition, new: &Definition) -> Vec<String> {
    let mut found = Vec::new();
    let of = |name: &str| saga.steps.iter().find(|step| step.name == name);
    let done = |name: &str| of(name).is_some_and(|step| step.status() == StepStatus::Succeeded);
    for step in new.steps.iter().filter(|step| saga.phase() == Phase::Forward && !done(&step.name)) {
        for needed in step.needs.iter().map(|&n| new.steps[n as usize].name.as_str()) {
            let kept = of(needed).is_some_and(|step| step.result.is_some()) || was_needed(saga, old, needed);
            if done(needed) && !kept {
                found.push(format!("{} needs the result of {needed}, which was not kept", step.name));
            }
        }
    }
    for early in &saga.early {
        if !new.index(&early.name).is_some_and(|i| new.steps[i].is_signal()) {
            found.push(format!("it keeps the signal {}, for which no step waits", early.name));
        }
    }
    found
}

/// A step that is not done needs it in the old definition too: it was kept, if there was one.
fn was_needed(saga: &State, old: &Definition, needed: &str) -> bool {
    let open = |(step, graph): (&state::Step, &Step)| {
        step.status() != StepStatus::Succeeded
            && graph.needs.iter().any(|&n| old.steps[n as usize].name == needed)
    };
    saga.steps.iter().zip(&old.steps).any(open)
}

fn ancestors(definition: &Definition, i: usize) -> BTreeSet<String> {
    (0..i).filter(|&of| definition.is_ancestor(of, i)).map(|of| definition.steps[of].name.clone()).collect()
}

fn list(names: &BTreeSet<String>) -> String {
    if names.is_empty() { "nothing".into() } else { names.iter().cloned().collect::<Vec<_>>().join(", ") }
}

fn quoted(text: &str) -> String {
    if text.is_empty() { "nothing".into() } else { format!("{text:?}") }
}

/// A definition, for people: `order 2`.
pub(crate) fn name(definition: &Definition) -> String {
    format!("{} {}", definition.name, definition.version)
}

pub(crate) fn time(ms: u64) -> String {
    if ms == 0 {
        return "none".into();
    }
    humantime::format_duration(std::time::Duration::from_millis(ms)).to_string()
}
