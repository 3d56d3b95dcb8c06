//! What was found, for people and for programs. Pure.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{case::MARK, rules::Rule};

/// What a rule came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Result {
    /// It holds.
    Pass,
    /// It does not, and how that showed.
    Fail(String),
    /// It was not judged, and why.
    Skipped(String),
}

/// One rule at one action.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Which rule.
    pub rule: &'static Rule,
    /// At which action; `None`: the participant as a whole.
    pub action: Option<String>,
    /// What it came to.
    pub result: Result,
    /// The sagas that were used; they stay behind.
    pub sagas: Vec<Uuid>,
}

/// Everything that was found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Who was judged.
    pub participant: String,
    /// Over what.
    pub transport: &'static str,
    /// In the order in which they were judged.
    pub findings: Vec<Finding>,
}

impl Result {
    /// PASS, FAIL or SKIPPED.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail(_) => "FAIL",
            Self::Skipped(_) => "SKIPPED",
        }
    }

    /// How, or why.
    #[must_use]
    pub fn why(&self) -> &str {
        match self {
            Self::Pass => "",
            Self::Fail(why) | Self::Skipped(why) => why,
        }
    }
}

impl Finding {
    /// In one line.
    #[must_use]
    pub fn line(&self) -> String {
        let action = self.action.as_deref().unwrap_or("-");
        let line =
            format!("{:7}  {:16}  {action}  {}", self.result.word(), self.rule.name, self.result.why());
        line.trim_end().to_owned()
    }

    /// What its failure means, for people; empty when it did not fail.
    #[must_use]
    pub fn meaning(&self) -> String {
        let Result::Fail(why) = &self.result else { return String::new() };
        let Rule { name, says, promise, broken, .. } = self.rule;
        let action = self.action.as_ref().map(|a| format!(" at {a}")).unwrap_or_default();
        let sagas: Vec<String> = self.sagas.iter().take(3).map(ToString::to_string).collect();
        format!(
            "{name}{action}\n  must hold  {says}\n  was seen   {why}\n  breaks     \"{promise}\": {broken}\n  read       {}\n  sagas      {}",
            self.rule.page(),
            sagas.join(" "),
        )
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "rule": self.rule.name,
            "action": self.action,
            "result": self.result.word(),
            "why": self.result.why(),
            "says": self.rule.says,
            "promise": self.rule.promise,
            "broken": self.rule.broken,
            "page": self.rule.page(),
            "sagas": self.sagas.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    }
}

impl Report {
    /// How many rules failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.count("FAIL")
    }

    /// How many hold.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.count("PASS")
    }

    /// How many were not judged.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.count("SKIPPED")
    }

    fn count(&self, word: &str) -> usize {
        self.findings.iter().filter(|f| f.result.word() == word).count()
    }

    /// The last line for people.
    #[must_use]
    pub fn summary(&self) -> String {
        let Self { participant, transport, .. } = self;
        let (passed, failed, skipped) = (self.passed(), self.failed(), self.skipped());
        format!("{participant} over {transport}: {passed} passed, {failed} failed, {skipped} skipped")
    }

    /// The last line for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let sagas: usize = self.findings.iter().map(|f| f.sagas.len()).sum();
        json!({
            "participant": self.participant,
            "transport": self.transport,
            "passed": self.passed(),
            "failed": self.failed(),
            "skipped": self.skipped(),
            "left_behind": { "sagas": sagas, "steps_begin_with": MARK },
        })
    }
}
