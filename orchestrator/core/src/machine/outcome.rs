//! A participant answered. Verdicts count from any attempt of the epoch and are compared with what was
//! said before; a failure counts only for the attempt that waits.

use super::{Context, Refused, contradiction, course, operator};
use crate::{
    flight,
    input::{Answer, Failure, No, Outcome, Payload, Verb},
    planted,
    state::{Pending, Phase, Seal, State, StepError, StepStatus, Verdict},
};

pub(super) fn fold(cx: Context<'_>, saga: &mut State, outcome: &Outcome) -> Result<(), Refused> {
    let i = addressee(cx, saga, outcome)?;
    let (verb, answer) = well_formed(outcome)?;
    if outcome.epoch < saga.steps[i].epoch && !planted::is("epoch_ignored") {
        return Err(Refused::Stale);
    }
    match answer {
        Answer::Failed(failure) => failed(cx, saga, i, verb, outcome.attempt, failure),
        Answer::Succeeded(done) => ran(cx, saga, i, Verdict::Succeeded, done.result.as_ref(), None),
        Answer::Rejected(no) => ran(cx, saga, i, Verdict::Rejected, None, Some(no)),
        Answer::Sealed(_) => ran(cx, saga, i, Verdict::Sealed, None, None),
        Answer::Undone(_) => undid(cx, saga, i, Verdict::Undone),
        Answer::NothingToUndo(_) => undid(cx, saga, i, Verdict::NothingToUndo),
        Answer::Fenced(_) => undid(cx, saga, i, Verdict::Fenced),
    }
}

/// The step that an outcome is about: one that exists and was sent a command of that epoch.
fn addressee(cx: Context<'_>, saga: &State, outcome: &Outcome) -> Result<usize, Refused> {
    let name = &outcome.step;
    match cx.definition.index(name) {
        None => Err(Refused::Malformed(format!("{} has no step {name:?}", cx.definition.name))),
        Some(i) if cx.definition.steps[i].is_signal() => {
            Err(Refused::Malformed(format!("{name:?} is a signal, no participant answers for it")))
        }
        Some(i) if outcome.epoch == 0 || outcome.epoch > saga.steps[i].epoch => {
            Err(Refused::Malformed(format!("no command was sent for {name:?} epoch {}", outcome.epoch)))
        }
        Some(i) => Ok(i),
    }
}

/// Verb and answer, when the answer is one that the verb can have.
fn well_formed(outcome: &Outcome) -> Result<(Verb, &Answer), Refused> {
    let unknown = |_| Refused::Malformed(format!("there is no verb {}", outcome.verb));
    let verb = Verb::try_from(outcome.verb).map_err(unknown)?;
    let nothing = || Refused::Malformed(format!("{:?} says nothing about its {}", outcome.step, verb.name()));
    let answer = outcome.answer.as_ref().ok_or_else(nothing)?;
    let of_run = matches!(verb, Verb::Run | Verb::SealRun);
    let fits = match answer {
        Answer::Succeeded(_) | Answer::Rejected(_) | Answer::Sealed(_) => of_run,
        Answer::Undone(_) | Answer::NothingToUndo(_) | Answer::Fenced(_) => !of_run,
        Answer::Failed(_) => true,
    };
    // The answer's name alone: a result may be long.
    let misfit = || Refused::Malformed(format!("{} is no answer to {}", answer.name(), verb.name()));
    if fits { Ok((verb, answer)) } else { Err(misfit()) }
}

/// A verdict for RUN, asked by RUN or by SEAL.
fn ran(
    cx: Context<'_>,
    saga: &mut State,
    i: usize,
    verdict: Verdict,
    result: Option<&Payload>,
    no: Option<&No>,
) -> Result<(), Refused> {
    if !first(saga, i, verdict, saga.steps[i].run())? {
        return Ok(());
    }
    let step = &mut saga.steps[i];
    let (status, seal) = (step.status(), step.seal());
    if step.vouched {
        step.set_run(verdict);
        // Behind a fence it may well have run; else whoever vouched must know.
        if step.undo() != Verdict::Fenced {
            contradiction(saga, i, verdict);
        }
        return Ok(());
    }
    let believable = match status {
        // Nobody sealed it.
        StepStatus::Running => verdict != Verdict::Sealed,
        StepStatus::Undone => verdict == Verdict::Succeeded,
        StepStatus::NothingToUndo => verdict != Verdict::Succeeded,
        _ => true,
    };
    if !believable {
        unbelievable(saga, i, verdict);
        return Ok(());
    }
    step.set_run(verdict);
    if !matches!(status, StepStatus::Running | StepStatus::Sealing) || saga.phase() != Phase::Forward {
        // Late: what happens next hangs on the undo's answer.
        return Ok(());
    }
    let step = &mut saga.steps[i];
    match verdict {
        Verdict::Succeeded => {
            step.end(StepStatus::Succeeded);
            step.result = result.cloned();
            course::forward(cx, saga);
        }
        // Whatever it was, it never happens: the person's word counts.
        _ if status == StepStatus::Sealing && seal == Seal::Skip => {
            let result = step.result.take();
            operator::vouch(cx, saga, i, result);
        }
        Verdict::Rejected => rejected(cx, saga, i, no, status),
        _ => {
            step.end(StepStatus::Sealed);
            let reason = operator::sealed_reason(seal, &cx.definition.steps[i].give_up_reason);
            course::turn(cx, saga, reason, None);
        }
    }
    Ok(())
}

/// A business no: turns round or parks, as the definition says. A pivot that had given up turns round.
fn rejected(cx: Context<'_>, saga: &mut State, i: usize, no: Option<&No>, was: StepStatus) {
    let definition = &cx.definition.steps[i];
    let (code, message) = no.map_or(("REJECTED", ""), |no| (&no.code, &no.message));
    saga.steps[i].end(StepStatus::Rejected);
    if definition.park_on_reject && was != StepStatus::Sealing {
        let step = &mut saga.steps[i];
        step.park(format!("{code}: {message}"));
        step.last_error = Some(StepError { code: code.into(), message: message.into(), at: cx.now });
    } else {
        course::turn(cx, saga, cx.definition.reason(code), no.and_then(|no| no.detail.clone()));
    }
}

/// A verdict for UNDO.
fn undid(cx: Context<'_>, saga: &mut State, i: usize, verdict: Verdict) -> Result<(), Refused> {
    if !first(saga, i, verdict, saga.steps[i].undo())? {
        return Ok(());
    }
    let step = &mut saga.steps[i];
    let status = step.status();
    if step.vouched && status == StepStatus::Undone {
        step.set_undo(verdict);
        contradiction(saga, i, verdict);
        return Ok(());
    }
    if !matches!(status, StepStatus::Undoing | StepStatus::Fencing) {
        return Err(Refused::Malformed(format!("no undo was sent for {:?}", step.name)));
    }
    let believable = match verdict {
        Verdict::Undone => matches!(step.run(), Verdict::Unknown | Verdict::Succeeded),
        Verdict::NothingToUndo => step.run() != Verdict::Succeeded,
        // Somebody must have fenced it.
        _ => status == StepStatus::Fencing,
    };
    if !believable {
        unbelievable(saga, i, verdict);
        return Ok(());
    }
    step.set_undo(verdict);
    match verdict {
        // What a person vouched for, a person undid.
        _ if step.vouched => operator::undone_by_hand(step),
        Verdict::Fenced => operator::undone_by_hand(step),
        Verdict::Undone => step.end(StepStatus::Undone),
        _ => step.end(StepStatus::NothingToUndo),
    }
    course::backward(cx, saga);
    Ok(())
}

/// Compares a verdict with the `known` one: true when it is the first. A repeat is refused; a second,
/// different one is a contradiction, recorded once.
fn first(saga: &mut State, i: usize, verdict: Verdict, known: Verdict) -> Result<bool, Refused> {
    if known == verdict || saga.steps[i].contradicted >> verdict as u32 & 1 == 1 {
        return Err(Refused::Repeat);
    }
    if known == Verdict::Unknown {
        return Ok(true);
    }
    contradiction(saga, i, verdict);
    Ok(false)
}

/// A first verdict that can't be: whatever the step waits for, more of the same won't clear it up.
fn unbelievable(saga: &mut State, i: usize, verdict: Verdict) {
    contradiction(saga, i, verdict);
    if saga.steps[i].pending() != Pending::Nothing {
        saga.steps[i].park("CONTRADICTION");
    }
}

/// *Failed* is no verdict: it ends the attempt that waits, and nothing else.
fn failed(
    cx: Context<'_>,
    saga: &mut State,
    i: usize,
    verb: Verb,
    attempt: u32,
    failure: &Failure,
) -> Result<(), Refused> {
    let definition = &cx.definition.steps[i];
    let after_pivot = cx.definition.after_pivot(i);
    let step = &mut saga.steps[i];
    let waits = flight::verb(step) == Some(verb) && step.pending() == Pending::Answer;
    if !waits || step.attempt != attempt {
        return Err(Refused::Stale);
    }
    let Failure { code, message, .. } = failure;
    step.last_error = Some(StepError { code: code.clone(), message: message.clone(), at: cx.now });
    if !failure.retryable {
        step.park(format!("{code}: {message}"));
        return Ok(());
    }
    let mut gap = flight::backoff_ms(&definition.retry, cx.saga, &step.name, step.epoch, attempt);
    let must_end = match verb {
        Verb::Undo | Verb::SealUndo => true,
        Verb::Run => after_pivot,
        // The pivot's SEAL goes on as long as it takes; an operator who waits for one is told.
        Verb::SealRun => step.seal() == Seal::Skip,
    };
    if must_end && attempt >= definition.retry.attempts {
        step.parked = format!(
            "{code}: {message} ({attempt} attempts, now every {} s)",
            definition.retry.slow_ms / 1000
        );
        gap = definition.retry.slow_ms;
    }
    step.set_pending(Pending::Retry);
    step.retry_at = cx.now + gap.max(failure.retry_after_ms.min(definition.retry.slow_ms)) as i64;
    Ok(())
}
