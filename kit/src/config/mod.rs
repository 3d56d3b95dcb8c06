//! Settings from a TOML file and the environment: read, checked and printed here; what a setting *means* is
//! its section's business.

mod grpc;
mod problems;
mod secret;
mod sections;
#[cfg(test)]
mod tests;
mod tls;

use std::path::{Path, PathBuf};

use figment::error::{Actual, Kind};
use figment::providers::{Env, Format};
use figment::{Figment, Profile};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use grpc::Grpc;
pub use problems::{Problems, Validate};
pub use secret::Secret;
pub use sections::{Kafka, Listen, Log, LogFormat, Otlp, Postgres, Shutdown};
pub use tls::{ClientTls, ServerTls};

/// Why the settings cannot be used. Each variant's text names the file, variable or setting.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file that was named is not there or cannot be read.
    #[error("configuration file {path}: {source}")]
    File {
        /// As it was given.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is no TOML, or a setting is unknown or of the wrong type.
    #[error("{0}")]
    Read(String),
    /// All settings could be read, but some have values that cannot be used: all of them, one per line.
    #[error("{0}")]
    Invalid(Problems),
}

/// Reads `T` from its defaults, then `file`, then the environment, and validates it.
///
/// A variable is `<env_prefix><SECTION>__<FIELD>`, for example `SKALD_POSTGRES__URL` with the prefix
/// `SKALD_`. Variables with the prefix but without a double underscore are no settings and are left alone
/// (`SKALD_BUDGET` belongs to the tests).
///
/// # Errors
/// [`Error`]; unknown keys are refused, all values out of range are reported at once.
pub fn load<T: DeserializeOwned + Default + Validate>(
    file: Option<&Path>,
    env_prefix: &str,
) -> Result<T, Error> {
    let mut figment = Figment::new();
    if let Some(path) = file {
        // Opened first, because the provider takes a missing file for an empty one.
        std::fs::File::open(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
        figment = figment.merge(TomlFile::file_exact(path));
    }
    let env = Env::prefixed(env_prefix).filter(|key| key.as_str().contains("__")).split("__");
    let prefix = env_prefix.to_owned();
    let settings: T = figment.merge(env).extract().map_err(|error| Error::Read(explain(error, &prefix)))?;
    let mut problems = Problems::default();
    settings.validate(&mut problems);
    if problems.is_empty() { Ok(settings) } else { Err(Error::Invalid(problems)) }
}

/// The effective settings as TOML, with secrets hidden.
pub fn effective_toml<T: Serialize>(settings: &T) -> String {
    toml::to_string_pretty(settings).unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
}

/// figment's own `Toml` brings a second, older TOML parser; this one uses ours.
struct TomlFile;

impl Format for TomlFile {
    type Error = toml::de::Error;
    const NAME: &'static str = "TOML";

    /// The parser's own text quotes the line, and a password may stand there: the place says enough.
    fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, Self::Error> {
        toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            serde::de::Error::custom(format!("line {line}, column {column}: {}", error.message()))
        })
    }
}

/// What was found, without the text of a string: it may be a secret in the wrong place.
fn shape(found: &Actual) -> String {
    match found {
        Actual::Str(_) => "a string".to_owned(),
        Actual::Char(_) => "a character".to_owned(),
        Actual::Bytes(_) => "bytes".to_owned(),
        Actual::Other(_) => "something else".to_owned(),
        plain => plain.to_string(),
    }
}

/// One line per error: where it stands, which key, what is wrong.
fn explain(error: figment::Error, env_prefix: &str) -> String {
    let lines: Vec<String> = error.into_iter().map(|error| explain_one(&error, env_prefix)).collect();
    lines.join("\n")
}

fn explain_one(error: &figment::Error, env_prefix: &str) -> String {
    let mut path = error.path.clone();
    let what = match &error.kind {
        Kind::UnknownField(field, known) => {
            if path.last() != Some(field) {
                path.push(field.clone());
            }
            format!("unknown setting; known are: {}", known.join(", "))
        }
        Kind::InvalidType(found, expected) => {
            format!("invalid type: found {}, expected {expected}", shape(found))
        }
        Kind::InvalidValue(found, expected) => {
            format!("invalid value: found {}, expected {expected}", shape(found))
        }
        kind => kind.to_string(),
    };
    let key = path.join(".");
    let place =
        error.metadata.as_ref().map(|metadata| match metadata.source.as_ref().and_then(|s| s.file_path()) {
            Some(file) => format!("file {}", file.display()),
            None if path.is_empty() => metadata.interpolate(&Profile::Default, &path),
            None => format!("variable {env_prefix}{}", path.join("__").to_uppercase()),
        });
    match (place, key.is_empty()) {
        (Some(place), true) => format!("{place}: {what}"),
        (Some(place), false) => format!("{key} ({place}): {what}"),
        (None, true) => what,
        (None, false) => format!("{key}: {what}"),
    }
}
