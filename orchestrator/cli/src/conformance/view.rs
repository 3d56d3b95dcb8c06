//! Rules and findings for eyes.

use serde_json::{Value, json};
use skald_conformance::{Finding, Report, Result, rules};

use crate::output::{
    style::Tone,
    table::{Cell, Table},
};

/// One finding as a line of the report, printed as soon as it is known.
#[must_use]
pub fn line(finding: &Finding, colours: bool) -> String {
    let word = finding.result.word();
    let text = finding.line();
    let rest = text.strip_prefix(word).unwrap_or_default();
    format!("{}{rest}", tone(&finding.result).paint(word, colours))
}

fn tone(result: &Result) -> Tone {
    match result {
        Result::Pass => Tone::Good,
        Result::Fail(_) => Tone::Bad,
        Result::Skipped(_) => Tone::Dim,
    }
}

/// What every failure means, then the sum.
#[must_use]
pub fn end(report: &Report, colours: bool) -> String {
    let mut text = String::new();
    for finding in report.findings.iter().filter(|finding| matches!(finding.result, Result::Fail(_))) {
        text += &format!("\n{}\n", finding.meaning());
    }
    let tone = if report.failed() == 0 { Tone::Good } else { Tone::Bad };
    format!("{text}\n{}", tone.paint(&report.summary(), colours))
}

/// Every rule, for eyes.
#[must_use]
pub fn rules(colours: bool) -> String {
    let mut table = Table::new(&["RULE", "WHAT MUST HOLD"]);
    for rule in rules::all() {
        table.row([Cell::new(rule.name, Tone::Strong), Cell::from(rule.says)]);
    }
    table.render(colours)
}

/// Every rule, for programs.
#[must_use]
pub fn rules_json() -> Value {
    let rule = |rule: &rules::Rule| json!({ "rule": rule.name, "says": rule.says, "promise": rule.promise, "broken": rule.broken, "page": rule.page() });
    rules::all().map(rule).collect()
}
