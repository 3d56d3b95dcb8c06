//! How the command ends: the exit codes that scripts rely on, and what is told when it did not work.

use std::process::ExitCode;

use serde_json::json;

use crate::output::style::Tone;

/// The exit codes. Their numbers stand in `--help` and are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It worked.
    Ok = 0,
    /// It did not, for a reason that has no code of its own.
    Failed = 1,
    /// Arguments, settings or fields are wrong.
    Usage = 2,
    /// There is no such order, saga or SKU.
    NotFound = 3,
    /// The state of the thing does not allow it.
    Refused = 4,
    /// The server, its database or its broker is away or overloaded: try again.
    Unavailable = 5,
    /// The order that was watched was cancelled.
    Cancelled = 6,
    /// Ended by Ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// What went wrong, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// One sentence.
    pub message: String,
    /// Bad fields, each with what is wrong with it.
    pub fields: Vec<(String, String)>,
    /// What to do about it; may be empty.
    pub advice: String,
}

impl Failure {
    /// With a sentence alone.
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into(), fields: Vec::new(), advice: String::new() }
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn advice(mut self, advice: impl Into<String>) -> Failure {
        self.advice = advice.into();
        self
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        // Many errors tell their cause themselves.
        let mut message = String::new();
        for cause in error.chain().map(ToString::to_string) {
            if message.is_empty() {
                message = cause;
            } else if !message.contains(&cause) {
                message = format!("{message}: {cause}");
            }
        }
        Failure::new(Exit::Failed, message)
    }
}

impl Failure {
    /// For eyes: the sentence, the fields, what to do.
    pub fn text(&self, colours: bool) -> String {
        let mut text = format!("{} {}", Tone::Bad.paint("error:", colours), self.message.trim_end());
        for (field, wrong) in &self.fields {
            text.push_str(&format!("\n  {}: {wrong}", Tone::Strong.paint(field, colours)));
        }
        if !self.advice.is_empty() {
            text.push_str(&format!("\n  → {}", self.advice));
        }
        text
    }

    /// For programs, in one line.
    pub fn json(&self) -> serde_json::Value {
        let field =
            |(field, description): &(String, String)| json!({ "field": field, "description": description });
        json!({ "error": {
            "exit_code": self.exit as u8,
            "message": self.message,
            "fields": self.fields.iter().map(field).collect::<Vec<_>>(),
            "advice": self.advice,
        }})
    }
}
