//! The TOML file that people write, and how its defaults are resolved.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Deserializer};

use super::{Broken, Definition, Reason, Retry, Step, check};

/// Why a definition file was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not TOML, an unknown key, a wrong type.
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    /// A step names a step or stage that is not there.
    #[error("definition {definition}: step {step}: `{key}` names {name:?}, which {missing}")]
    Dangling {
        /// The definition's name.
        definition: String,
        /// The step's name.
        step: String,
        /// Where it stands.
        key: &'static str,
        /// What it names.
        name: String,
        /// What should be.
        missing: &'static str,
    },
    /// Rules are broken; each names its step.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Broken(Vec<Broken>),
}

/// Reads, resolves and checks a definition file.
pub fn parse(text: &str) -> Result<Definition, Error> {
    let file: File = toml::from_str(text)?;
    // Before anything is compared with anything: a file may have a million.
    let many = [(file.step.len(), check::STEPS), (file.stages.len(), check::STAGES)];
    if let Some((_, rule)) = many.into_iter().find(|(many, _)| *many > check::MOST) {
        return Err(Error::Broken(vec![Broken { definition: file.name, step: None, rule }]));
    }
    let mut steps: Vec<Step> = Vec::new();
    for step in &file.step {
        let resolved = resolve(&file, step, &steps)?;
        steps.push(resolved);
    }
    let mut definition = Definition {
        name: file.name,
        version: file.version,
        input: file.input,
        stages: file.stages,
        max_age_ms: ms(file.max_age),
        steps,
        reasons: Vec::new(),
    };
    // From a BTreeMap: sorted, so the encoding is canonical.
    for (code, reason) in file.reasons {
        definition.reasons.push(Reason { code, reason });
    }
    defaults(&mut definition, &file.step);
    let mut broken = definition.check();
    for step in file.step.iter().filter(|step| step.signal && !step.participant.is_empty()) {
        let (definition, step) = (definition.name.clone(), Some(step.name.clone()));
        broken.push(Broken { definition, step, rule: "a signal has no participant" });
    }
    if broken.is_empty() { Ok(definition) } else { Err(Error::Broken(broken)) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    version: u32,
    #[serde(default)]
    input: String,
    #[serde(default)]
    stages: Vec<String>,
    #[serde(deserialize_with = "duration")]
    max_age: Duration,
    #[serde(default)]
    retry: FileRetry,
    #[serde(default)]
    reasons: BTreeMap<String, String>,
    #[serde(default)]
    step: Vec<FileStep>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileStep {
    name: String,
    #[serde(default)]
    signal: bool,
    #[serde(default)]
    participant: String,
    #[serde(default)]
    action: String,
    #[serde(default)]
    undo: String,
    #[serde(default)]
    no_effect: bool,
    #[serde(default)]
    pivot: bool,
    after: Option<Vec<String>>,
    #[serde(default)]
    needs: Vec<String>,
    stage: Option<String>,
    #[serde(default, deserialize_with = "some_duration")]
    deadline: Option<Duration>,
    #[serde(default = "expired")]
    on_deadline: String,
    on_rejected: Option<OnRejected>,
    retry: Option<FileRetry>,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum OnRejected {
    Compensate,
    Park,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields, default)]
struct FileRetry {
    #[serde(deserialize_with = "duration")]
    first: Duration,
    factor: f64,
    #[serde(deserialize_with = "duration")]
    max: Duration,
    attempts: u32,
    #[serde(deserialize_with = "duration")]
    slow: Duration,
}

impl Default for FileRetry {
    fn default() -> Self {
        FileRetry {
            first: Duration::from_millis(500),
            factor: 2.0,
            max: Duration::from_secs(60),
            attempts: 10,
            slow: Duration::from_secs(600),
        }
    }
}

fn resolve(file: &File, step: &FileStep, above: &[Step]) -> Result<Step, Error> {
    let dangling = |key, name: &str, missing| Error::Dangling {
        definition: file.name.clone(),
        step: step.name.clone(),
        key,
        name: name.into(),
        missing,
    };
    let index = |key, name: &String| {
        let found = above.iter().position(|s| s.name == *name);
        found.map(|i| i as u32).ok_or_else(|| dangling(key, name, "is not a step above it"))
    };
    let indices = |key, names: &[String]| {
        let indices: Result<BTreeSet<u32>, Error> = names.iter().map(|name| index(key, name)).collect();
        indices.map(Vec::from_iter)
    };
    let after = match &step.after {
        Some(names) => indices("after", names)?,
        None => above.len().checked_sub(1).map(|i| vec![i as u32]).unwrap_or_default(),
    };
    let stage = match &step.stage {
        None => 0,
        Some(name) => match file.stages.iter().position(|s| s == name) {
            Some(i) => i as u32 + 1,
            None => return Err(dangling("stage", name, "is not in `stages`")),
        },
    };
    let retry = step.retry.as_ref().unwrap_or(&file.retry);
    Ok(Step {
        name: step.name.clone(),
        participant: if step.signal { String::new() } else { filled(&step.participant) },
        action: step.action.clone(),
        undo: step.undo.clone(),
        no_effect: step.no_effect,
        pivot: step.pivot,
        after,
        needs: indices("needs", &step.needs)?,
        stage,
        give_up_ms: step.deadline.map_or(0, ms),
        give_up_reason: step.on_deadline.clone(),
        park_on_reject: step.on_rejected == Some(OnRejected::Park),
        retry: Retry {
            first_ms: ms(retry.first),
            factor_percent: (retry.factor * 100.0).round().clamp(0.0, 100_000.0) as u32,
            max_ms: ms(retry.max),
            attempts: retry.attempts,
            slow_ms: ms(retry.slow),
        },
    })
}

/// An action step without a participant must not pass for a signal: "?" breaks the name's rule.
fn filled(participant: &str) -> String {
    if participant.is_empty() { "?".into() } else { participant.into() }
}

/// What hangs on the place in the graph. Participant steps up to and including the pivot give up after 30
/// minutes unless they say otherwise; a business no after it parks, for nothing can be undone.
fn defaults(definition: &mut Definition, written: &[FileStep]) {
    for (i, written) in written.iter().enumerate().filter(|(_, step)| !step.signal) {
        let after = definition.after_pivot(i);
        let step = &mut definition.steps[i];
        if !after && written.deadline.is_none() {
            step.give_up_ms = 30 * 60 * 1000;
        }
        if after && written.on_rejected.is_none() {
            step.park_on_reject = true;
        }
    }
}

fn expired() -> String {
    "EXPIRED".into()
}

fn ms(d: Duration) -> u64 {
    d.as_millis().min(u128::from(u64::MAX)) as u64
}

fn duration<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(d)?;
    humantime::parse_duration(&text)
        .map_err(|e| serde::de::Error::custom(format!("{text:?} is not a duration such as 30m: {e}")))
}

fn some_duration<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
    duration(d).map(Some)
}
