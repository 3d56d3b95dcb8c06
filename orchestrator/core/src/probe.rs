//! One step ahead: every input that a saga could meet next, and whether this binary stands each of them. What is refused
//! is fine; a panic, a broken invariant or a state that can't be read back is not.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use uuid::Uuid;

use crate::{
    definition::Definition,
    effects::CommandRef,
    fields::command_words,
    flight,
    input::{
        Act, Answer, CancelRequested, DeadlineFired, Done, Failure, Input, No, Operator, Outcome, Payload,
        Postponed, Resolve, Retry, Signal, Skip, Unit, Verb,
    },
    invariants,
    machine::{Context, advance},
    state::{self, State},
};

/// An input that could come next.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// For people: `charge RUN/1 attempt 1 rejected`.
    pub name: String,
    /// When it comes, ms.
    pub now: i64,
    /// What comes.
    pub input: Input,
}

/// Every possible input: an outcome of each kind for each command in flight, every signal, the next deadline, its
/// postponement at each participant, cancel, and each operator verb for each step.
pub fn inputs(definition: &Definition, saga: &State) -> Vec<Probe> {
    let mut probes = Vec::new();
    let mut say = |name: String, now: i64, input: Input| probes.push(Probe { name, now, input });
    // A pause sends nothing, but what was sent before it is answered all the same.
    for command in flight::commands(&State { paused_at: 0, ..saga.clone() }) {
        for (name, answer) in answers(definition, command.verb()) {
            say(format!("{} {name}", command_words(&command)), saga.now, outcome(&command, answer));
        }
    }
    for step in definition.steps.iter().filter(|step| step.is_signal()) {
        let signal = Signal { name: step.name.clone(), signal_id: PROBE.into(), payload: Some(payload()) };
        say(format!("signal {}", step.name), saga.now, Input::Signal(signal));
    }
    if let Some(due) = flight::next_deadline(definition, saga) {
        let now = due.max(saga.now);
        say("deadline fired".into(), now, Input::DeadlineFired(DeadlineFired {}));
        let mut participants: Vec<&str> = definition.steps.iter().map(|s| s.participant.as_str()).collect();
        participants.sort_unstable();
        participants.dedup();
        for participant in participants.into_iter().filter(|name| !name.is_empty()) {
            let postponed = Postponed { participant: participant.into() };
            say(format!("postponed by {participant}"), now, Input::Postponed(postponed));
        }
    }
    say("cancel".into(), saga.now, Input::CancelRequested(CancelRequested { note: PROBE.into() }));
    for (name, act) in acts(definition) {
        let (request_id, reason) = (PROBE.to_owned(), PROBE.to_owned());
        let operator = Operator { request_id, expected_version: saga.version, reason, act: Some(act) };
        say(format!("operator {name}"), saga.now, Input::Operator(operator));
    }
    probes
}

/// What this binary does not stand, each with the probe's name; empty when it stands all.
pub fn probe(definition: &Definition, id: Uuid, saga: &State) -> Vec<(String, String)> {
    let survives = |probe: Probe| {
        let cx = Context { saga: id, definition, now: probe.now };
        let what = match catch_unwind(AssertUnwindSafe(|| stands(cx, saga, &probe.input))) {
            Ok(Ok(())) => return None,
            Ok(Err(what)) => what,
            Err(panic) => format!("it panics: {}", message(&*panic)),
        };
        Some((probe.name, what))
    };
    match catch_unwind(AssertUnwindSafe(|| stand(definition, saga).map(|()| inputs(definition, saga)))) {
        Ok(Ok(probes)) => probes.into_iter().filter_map(survives).collect(),
        Ok(Err(what)) => vec![(AS_IT_STANDS.into(), what)],
        Err(panic) => vec![(AS_IT_STANDS.into(), format!("it panics: {}", message(&*panic)))],
    }
}

/// A state that is broken already would spoil every probe.
fn stand(definition: &Definition, saga: &State) -> Result<(), String> {
    let mut aligned = saga.clone();
    aligned.aligned(definition).ok_or("it has a step that its definition has not")?;
    invariants::check(definition, &aligned).map_err(|violation| violation.to_string())
}

fn stands(cx: Context<'_>, before: &State, input: &Input) -> Result<(), String> {
    let mut after = before.clone();
    if advance(cx, &mut after, input).is_err() {
        return if after == *before { Ok(()) } else { Err("it is refused and changes the saga".into()) };
    }
    invariants::check(cx.definition, &after).map_err(|violation| violation.to_string())?;
    match state::decode(crate::FORMAT, &state::encode(&after)) {
        Ok(read) if read == after => Ok(()),
        Ok(_) => Err("the state that it leads to is read back as another".into()),
        Err(unreadable) => Err(unreadable.to_string()),
    }
}

/// What a panic said.
pub(crate) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it does not say why").to_owned()
}

const PROBE: &str = "probe";
/// Names the finding of a saga that needs no input to fail.
const AS_IT_STANDS: &str = "as it stands";

fn payload() -> Payload {
    Payload { type_url: String::new(), value: PROBE.into() }
}

fn outcome(command: &CommandRef, answer: Answer) -> Input {
    let CommandRef { step, verb, epoch, attempt } = command.clone();
    Input::Outcome(Outcome { step, verb, epoch, attempt, answer: Some(answer) })
}

/// Every kind of answer that a verb can have; a no with each code that the definition knows, and with another.
fn answers(definition: &Definition, verb: Verb) -> Vec<(String, Answer)> {
    let failed = |retryable| {
        let (code, message) = ("PROBE".to_owned(), PROBE.to_owned());
        Answer::Failed(Failure { code, message, retryable, retry_after_ms: 0 })
    };
    let done = || Done { result: Some(payload()) };
    let mut answers = vec![("failed".into(), failed(true)), ("failed, final".into(), failed(false))];
    match verb {
        Verb::Run | Verb::SealRun => {
            answers.push(("succeeded".into(), Answer::Succeeded(done())));
            answers.push(("sealed".into(), Answer::Sealed(Unit {})));
            let codes = definition.reasons.iter().map(|reason| reason.code.as_str());
            for code in codes.chain(["PROBE"]) {
                let no = No { code: code.into(), message: PROBE.into(), detail: Some(payload()) };
                answers.push((format!("rejected {code}"), Answer::Rejected(no)));
            }
        }
        Verb::Undo | Verb::SealUndo => {
            answers.push(("undone".into(), Answer::Undone(done())));
            answers.push(("nothing to undo".into(), Answer::NothingToUndo(Unit {})));
            answers.push(("fenced".into(), Answer::Fenced(Unit {})));
        }
    }
    answers
}

/// Each verb of an operator, for the saga and for each step.
fn acts(definition: &Definition) -> Vec<(String, Act)> {
    let mut acts: Vec<(String, Act)> = vec![
        ("RETRY".into(), Act::Retry(Retry { step: String::new() })),
        ("RESOLVE".into(), resolve("", false)),
        ("COMPENSATE".into(), Act::Compensate(Unit {})),
        ("CANCEL".into(), Act::Cancel(Unit {})),
        ("PAUSE".into(), Act::Pause(Unit {})),
        ("RESUME".into(), Act::Resume(Unit {})),
    ];
    for step in definition.steps.iter().map(|step| step.name.as_str()) {
        acts.push((format!("RETRY {step}"), Act::Retry(Retry { step: step.into() })));
        for (unfenced, how) in [(false, ""), (true, " unfenced")] {
            acts.push((format!("SKIP {step}{how}"), skip(step, unfenced, Some(payload()))));
            acts.push((format!("SKIP {step}{how} without a result"), skip(step, unfenced, None)));
            acts.push((format!("RESOLVE {step}{how}"), resolve(step, unfenced)));
        }
    }
    acts
}

fn skip(step: &str, unfenced: bool, result: Option<Payload>) -> Act {
    Act::Skip(Skip { step: step.into(), evidence: PROBE.into(), unfenced, result })
}

fn resolve(step: &str, unfenced: bool) -> Act {
    Act::Resolve(Resolve { step: step.into(), evidence: PROBE.into(), unfenced })
}
