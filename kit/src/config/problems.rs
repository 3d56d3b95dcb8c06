//! Collects everything that is wrong with the settings, so that one start shows all of it.

use std::fmt;

/// What is wrong, one line each: `section.field: what is wrong, what is allowed`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Problems {
    section: Vec<String>,
    lines: Vec<String>,
}

/// Settings that can tell what is wrong with them.
pub trait Validate {
    /// Adds every problem, not only the first.
    fn validate(&self, problems: &mut Problems);
}

impl Problems {
    /// Runs `check` with `name` put before each field that it reports.
    pub fn section(&mut self, name: &str, check: impl FnOnce(&mut Self)) {
        self.section.push(name.to_owned());
        check(self);
        self.section.pop();
    }

    /// Validates a part under its name.
    pub fn part(&mut self, name: &str, part: &impl Validate) {
        self.section(name, |problems| part.validate(problems));
    }

    /// Reports `field` of the present section: what is wrong, and what is allowed.
    pub fn add(&mut self, field: &str, wrong: impl fmt::Display) {
        let mut key = self.section.join(".");
        if !key.is_empty() {
            key.push('.');
        }
        self.lines.push(format!("{key}{field}: {wrong}"));
    }

    /// Reports `field` unless `ok`.
    pub fn check(&mut self, ok: bool, field: &str, wrong: impl fmt::Display) {
        if !ok {
            self.add(field, wrong);
        }
    }

    /// Nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The lines that were reported, in order.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}
