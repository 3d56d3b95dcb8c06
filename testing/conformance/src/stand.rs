//! Where rules are carried out: fresh sagas are made, acts are done, answers are waited for. Judges nothing itself.

mod acts;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use skald_kit::ids;
use skald_proto::participant::v1::{Command, StepResult, outcome::Answer};

use crate::{
    case::{Case, MARK, Payload},
    hooks::Hooks,
    report::{Finding, Report, Result as Judged},
    rules::{self, Need, Rule, Scope},
    samples::{Action, Sample, Samples, Source},
    script::{Act, Round, Seen, tell},
    transport::Transport,
};

/// How patient, and with what.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long an answer may take, asking again included.
    pub patience: Duration,
    /// The same after a kill, when a consumer group has to notice.
    pub after_crash: Duration,
    /// The first gap before silence is asked again; it doubles with each time, to sixteenfold.
    pub resend: Duration,
    /// These rules alone; empty: all.
    pub only: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            patience: seconds(30),
            after_crash: seconds(90),
            resend: Duration::from_millis(250),
            only: Vec::new(),
        }
    }
}

/// A participant that is being judged.
#[derive(Debug)]
pub struct Stand {
    transport: Transport,
    samples: Samples,
    options: Options,
    hooks: Hooks,
}

impl Stand {
    /// Nothing is sent yet.
    #[must_use]
    pub fn new(transport: Transport, samples: Samples, options: Options, hooks: Hooks) -> Self {
        Self { transport, samples, options, hooks }
    }

    /// Judges every rule that was asked for, and tells each finding as it comes.
    ///
    /// # Errors
    /// Nobody answers at all, or a rule that was asked for does not exist.
    pub async fn judge_all(&mut self, mut tell: impl FnMut(&Finding)) -> Result<Report, String> {
        let only = self.options.only.clone();
        if let Some(unknown) = only.iter().find(|name| !rules::all().any(|r| r.name == **name)) {
            return Err(format!("there is no rule {unknown:?}"));
        }
        self.is_there().await?;
        let mut findings = Vec::new();
        for rule in rules::all().filter(|r| only.is_empty() || only.iter().any(|name| name == r.name)) {
            let actions: Vec<Option<Action>> = match rule.scope {
                Scope::Action => self.samples.actions.iter().cloned().map(Some).collect(),
                Scope::Participant => vec![None],
            };
            for action in actions {
                let finding = self.judge(rule, action.as_ref()).await;
                tell(&finding);
                findings.push(finding);
            }
        }
        let participant = self.samples.participant.clone();
        Ok(Report { participant, transport: self.transport.name(), findings })
    }

    /// One command that changes nothing but the barrier.
    async fn is_there(&mut self) -> Result<(), String> {
        let action = self.samples.actions[0].clone();
        let cases = self.open(&[&action]).await?;
        let round = self.act(&Act::Once(vec![cases[0].seal_run()])).await;
        round.answer(&cases[0].seal_run()).map(|_| ()).map_err(|error| {
            format!("{} does not answer over {}: {error}", self.samples.participant, self.transport.name())
        })
    }

    async fn judge(&mut self, rule: &'static Rule, action: Option<&Action>) -> Finding {
        let name = action.map(|a| a.name.clone());
        if let Some(why) = self.skipped(rule, action) {
            return Finding { rule, action: name, result: Judged::Skipped(why), sagas: Vec::new() };
        }
        // what is late now belongs to another rule's sagas
        self.transport.inbox().take();
        let all = self.samples.actions.clone();
        let of = match action {
            Some(action) => vec![action; rule.sagas],
            None => all.iter().cycle().take(rule.sagas.max(all.len())).collect(),
        };
        let cases = match self.open(&of).await {
            Ok(cases) => cases,
            Err(why) => return Finding { rule, action: name, result: Judged::Fail(why), sagas: Vec::new() },
        };
        let mut seen = Seen { rounds: Vec::new(), participant: self.samples.participant.clone() };
        for act in (rule.script)(&cases) {
            seen.rounds.push(self.act(&act).await);
        }
        // a kill that hit nothing proves nothing
        let missed = seen.rounds.iter().any(|round| round.caught == Some(0));
        let result = match (rule.judge)(&cases, &seen) {
            Err(why) => Judged::Fail(why),
            Ok(()) if missed => Judged::Skipped("every command was answered before it was killed".to_owned()),
            Ok(()) => Judged::Pass,
        };
        Finding { rule, action: name, result, sagas: cases.iter().map(|c| c.saga).collect() }
    }

    fn skipped(&self, rule: &Rule, action: Option<&Action>) -> Option<String> {
        let of = |what: &str| action.map(|a| format!("{} has no {what}", a.name));
        rule.needs.iter().find_map(|need| match need {
            Need::Undo if action.is_some_and(|a| a.undo.is_none()) => of("undo"),
            Need::Rejected if action.is_some_and(|a| a.rejected.is_none()) => of("sample that is rejected"),
            Need::Kafka if !self.transport.is(Need::Kafka) => Some("over Kafka alone".to_owned()),
            Need::Grpc if !self.transport.is(Need::Grpc) => Some("over gRPC alone".to_owned()),
            Need::Hooks if !self.hooks.are_there() => Some("no hooks that kill and restart it".to_owned()),
            _ => None,
        })
    }

    /// Fresh sagas at these actions. What an action needs of others is done first, all of it together.
    async fn open(&mut self, actions: &[&Action]) -> Result<Vec<Case>, String> {
        let mut cases: Vec<Case> = actions.iter().map(|action| fresh(action)).collect();
        let mut before: Vec<(usize, String, Command)> = Vec::new();
        for (index, action) in actions.iter().enumerate() {
            for (step, of) in results(&action.succeeds) {
                before.push((index, step.to_owned(), self.prelude(&cases[index], of)?.run()));
            }
        }
        if before.is_empty() {
            return Ok(cases);
        }
        let round = self.act(&Act::Ask(before.iter().map(|(.., run)| run.clone()).collect())).await;
        for (index, step, run) in before {
            let result = match round.answer(&run)? {
                Answer::Succeeded(succeeded) => succeeded.result.clone(),
                other => return Err(format!("{} comes first, and was {}", run.action, tell(other))),
            };
            let need = || StepResult { step: step.clone(), result: result.clone() };
            cases[index].succeeds.needs.push(need());
        }
        Ok(cases)
    }

    /// The case, in the same saga, of an action whose result is needed.
    fn prelude(&self, case: &Case, of: &str) -> Result<Case, String> {
        let action = self.samples.actions.iter().find(|a| a.name == of);
        let action = action.ok_or_else(|| format!("there is no action {of}"))?;
        if results(&action.succeeds).next().is_some() {
            return Err(format!(
                "{of} needs a result itself; only results of actions that need none can be had"
            ));
        }
        Ok(Case { saga: case.saga, ..fresh(action) })
    }

    async fn act(&mut self, act: &Act) -> Round {
        acts::act(self, act).await
    }
}

fn results(sample: &Sample) -> impl Iterator<Item = (&str, &str)> {
    sample.needs.iter().filter_map(|(step, source)| match source {
        Source::ResultOf(of) => Some((step.as_str(), of.as_str())),
        Source::Given(_) => None,
    })
}

fn fresh(action: &Action) -> Case {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Case {
        saga: ids::mint(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
        step: format!("{MARK}{}", action.name),
        action: action.name.clone(),
        undo: action.undo.clone(),
        succeeds: payload(&action.succeeds),
        rejected: action.rejected.as_ref().map(payload),
    }
}

fn payload(sample: &Sample) -> Payload {
    let given = |(step, source): &(String, Source)| match source {
        Source::Given(any) => Some(StepResult { step: step.clone(), result: Some(any.clone()) }),
        Source::ResultOf(_) => None,
    };
    Payload { input: sample.input.clone(), needs: sample.needs.iter().filter_map(given).collect() }
}
