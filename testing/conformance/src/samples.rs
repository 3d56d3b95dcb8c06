//! The file of samples: which actions the participant has, and what to send so that each succeeds or is rejected. TOML or JSON.

use std::{collections::BTreeMap, fs, path::Path};

use base64::Engine as _;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};
use prost_types::Any;
use serde::Deserialize;
use serde_json::Value;

use crate::case::MARK;

/// Longest name of an action: with our mark it must be a step's name.
const NAME_LEN: usize = 64 - MARK.len();

/// What to send.
#[derive(Clone, Debug)]
pub struct Samples {
    /// As in topics and outcomes.
    pub participant: String,
    /// In the file's order.
    pub actions: Vec<Action>,
}

/// One action.
#[derive(Clone, Debug)]
pub struct Action {
    /// What RUN names.
    pub name: String,
    /// What UNDO names.
    pub undo: Option<String>,
    pub(crate) succeeds: Sample,
    pub(crate) rejected: Option<Sample>,
}

/// What an action is asked with.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) input: Option<Any>,
    pub(crate) needs: Vec<(String, Source)>,
}

/// Where the result of an earlier step comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// It stands in the file.
    Given(Any),
    /// This action is run first, in the same saga.
    ResultOf(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    participant: String,
    /// A `google.protobuf.FileDescriptorSet` for types that Skald's contracts do not have, beside this file.
    descriptors: Option<String>,
    action: Vec<FileAction>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileAction {
    name: String,
    undo: Option<String>,
    succeeds: FileSample,
    rejected: Option<FileSample>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSample {
    input: Option<Value>,
    #[serde(default)]
    needs: BTreeMap<String, Value>,
}

impl Samples {
    /// Reads a file; what ends in `.json` is JSON, all else TOML.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn read(path: &Path) -> Result<Self, String> {
        let at = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = fs::read_to_string(path).map_err(|e| at(&e))?;
        let json = path.extension().is_some_and(|e| e == "json");
        let file: File = match json {
            true => serde_json::from_str(&text).map_err(|e| at(&e))?,
            false => toml::from_str(&text).map_err(|e| at(&e))?,
        };
        let own = match &file.descriptors {
            Some(name) => {
                let set = path.parent().unwrap_or(Path::new("")).join(name);
                let read = fs::read(&set).map_err(|e| format!("{}: {e}", set.display()))?;
                Some(DescriptorPool::decode(read.as_slice()).map_err(|e| format!("{}: {e}", set.display()))?)
            }
            None => None,
        };
        file.checked(&Types::new(own)).map_err(|e| at(&e))
    }

    /// Reads TOML whose types are Skald's or given as base64.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|e| e.to_string())?;
        file.checked(&Types::new(None))
    }
}

impl File {
    fn checked(self, types: &Types) -> Result<Samples, String> {
        let mut actions: Vec<Action> = Vec::new();
        for action in self.action {
            let place = format!("action {:?}", action.name);
            if !is_name(&action.name) {
                return Err(format!("{place}: a name is 1 to {NAME_LEN} characters of [a-z0-9_-]"));
            }
            let known = |name: &str| actions.iter().any(|a| a.name == name);
            let sample = |s: FileSample| s.checked(types, &known).map_err(|e| format!("{place}: {e}"));
            let (succeeds, rejected) = (sample(action.succeeds)?, action.rejected.map(sample).transpose()?);
            actions.push(Action { name: action.name, undo: action.undo, succeeds, rejected });
        }
        if actions.is_empty() {
            return Err("there is no [[action]]".to_owned());
        }
        Ok(Samples { participant: self.participant, actions })
    }
}

impl FileSample {
    fn checked(self, types: &Types, known: &dyn Fn(&str) -> bool) -> Result<Sample, String> {
        let input = self.input.map(|v| types.any(v).map_err(|e| format!("input: {e}"))).transpose()?;
        let mut needs = Vec::new();
        for (step, value) in self.needs {
            let source = match value.get("result_of").and_then(Value::as_str) {
                Some(action) if known(action) => Source::ResultOf(action.to_owned()),
                Some(action) => {
                    return Err(format!("needs.{step}: no action {action:?} stands above this one"));
                }
                None => Source::Given(types.any(value).map_err(|e| format!("needs.{step}: {e}"))?),
            };
            needs.push((step, source));
        }
        Ok(Sample { input, needs })
    }
}

fn is_name(text: &str) -> bool {
    let fits = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_' || c == b'-';
    (1..=NAME_LEN).contains(&text.len()) && text.bytes().all(fits)
}

/// The message types that samples may name.
struct Types(Vec<DescriptorPool>);

impl Types {
    fn new(own: Option<DescriptorPool>) -> Self {
        let ours = DescriptorPool::decode(skald_proto::DESCRIPTORS)
            .expect("the build wrote a complete descriptor set");
        Self(own.into_iter().chain([ours]).collect())
    }

    /// An `Any`: the message's fields beside its `@type`, or `type_url` and `base64`.
    fn any(&self, value: Value) -> Result<Any, String> {
        let Value::Object(mut fields) = value else {
            return Err("must be a table with an @type, or with type_url and base64".to_owned());
        };
        let mut text = |name: &str| fields.remove(name).and_then(|v| v.as_str().map(str::to_owned));
        if let Some(type_url) = text("type_url") {
            let encoded = text("base64").ok_or("type_url needs base64 beside it")?;
            let engine = base64::engine::general_purpose::STANDARD;
            let value = engine.decode(encoded).map_err(|e| format!("base64: {e}"))?;
            return Ok(Any { type_url, value });
        }
        let named = text("@type").ok_or("must have an @type, or type_url and base64")?;
        let name = named.rsplit('/').next().unwrap_or_default();
        let found = self.0.iter().find_map(|pool| pool.get_message_by_name(name));
        let descriptor = found.ok_or_else(|| {
            format!(
                "the type {name} is not known; name its descriptor set with `descriptors`, or give base64"
            )
        })?;
        let message = DynamicMessage::deserialize(descriptor, Value::Object(fields))
            .map_err(|e| format!("{name}: {e}"))?;
        Ok(Any { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use skald_proto::order::v1::PaymentMethod;

    use super::*;

    #[test]
    fn types_of_the_contracts_base64_and_results_of_other_actions() {
        let samples = Samples::parse(
            r#"
            participant = "p"
            [[action]]
            name = "a"
            succeeds.input = { "@type" = "skald.order.v1.PaymentMethod", token = "t" }
            [[action]]
            name = "b"
            undo = "c"
            succeeds.needs.a = { result_of = "a" }
            rejected.input = { type_url = "x/y.Z", base64 = "AQI=" }
            "#,
        )
        .expect("samples");
        let method: PaymentMethod =
            samples.actions[0].succeeds.input.as_ref().expect("input").to_msg().expect("its type");
        assert_eq!(method.token, "t");
        let b = &samples.actions[1];
        assert_eq!(b.undo.as_deref(), Some("c"));
        assert!(matches!(&b.succeeds.needs[0], (step, Source::ResultOf(of)) if step == "a" && of == "a"));
        let raw = b.rejected.as_ref().and_then(|r| r.input.clone()).expect("input");
        assert_eq!((raw.type_url.as_str(), raw.value.as_slice()), ("x/y.Z", &[1, 2][..]));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, says) in [
            ("participant = 'p'\naction = []", "no [[action]]"),
            ("participant = 'p'\n[[action]]\nname = 'A'\nsucceeds = {}", "characters"),
            (
                "participant = 'p'\n[[action]]\nname = 'a'\nsucceeds.input = { '@type' = 'x.Y' }",
                "x.Y is not known",
            ),
            (
                "participant = 'p'\n[[action]]\nname = 'a'\nsucceeds.needs.b = { result_of = 'b' }",
                "stands above",
            ),
            (
                "participant = 'p'\n[[action]]\nname = 'a'\nsucceeds.input = { type_url = 'x', base64 = '!' }",
                "base64",
            ),
            ("participant = 'p'\n[[action]]\nname = 'a'", "succeeds"),
        ] {
            let error = Samples::parse(text).expect_err(text);
            assert!(error.contains(says), "{says:?} in {error:?}");
        }
    }
}
