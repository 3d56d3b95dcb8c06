//! Whether all that was ever said of some steps can be true at once. Pure.

use std::collections::BTreeMap;

use skald_proto::participant::v1::{Outcome, Verb, outcome::Answer};

use crate::script::tell;

/// What was said of one step's action and of its undo.
#[derive(Default)]
struct Said<'a> {
    run: Option<&'a Answer>,
    undo: Option<&'a Answer>,
}

/// Every verdict about an action is the same one, and so is every verdict about its undo; and both can be true together: undone
/// needs succeeded, nothing to undo needs rejected or sealed. Failures say nothing.
///
/// # Errors
/// The first two that contradict each other.
pub fn consistent<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> Result<(), String> {
    let mut steps: BTreeMap<(&str, &str, u32), Said<'a>> = BTreeMap::new();
    for outcome in outcomes {
        let Some(answer) = outcome.answer.as_ref().filter(|a| !matches!(a, Answer::Failed(_))) else {
            continue;
        };
        let said = steps.entry((&outcome.saga_id, &outcome.step, outcome.epoch)).or_default();
        let (slot, verb, fits) = match outcome.verb() {
            Verb::Run | Verb::SealRun => (&mut said.run, "the action", is_run(answer)),
            Verb::Undo | Verb::SealUndo => (&mut said.undo, "the undo", is_undo(answer)),
            Verb::Unspecified => return Err(format!("an outcome of saga {} has no verb", outcome.saga_id)),
        };
        if !fits {
            return Err(format!("saga {}: {} is no answer about {verb}", outcome.saga_id, tell(answer)));
        }
        match slot {
            None => *slot = Some(answer),
            Some(first) if *first == answer => {}
            Some(first) => {
                let (first, second) = (tell(first), tell(answer));
                let how = if first == second { "with other content" } else { "another verdict" };
                return Err(format!(
                    "saga {}: {verb} was first {first}, then {second} ({how})",
                    outcome.saga_id
                ));
            }
        }
    }
    steps.iter().try_for_each(|((saga, ..), said)| together(saga, said))
}

fn together(saga: &str, said: &Said<'_>) -> Result<(), String> {
    let (Some(run), Some(undo)) = (said.run, said.undo) else { return Ok(()) };
    let fits = match undo {
        Answer::Undone(_) => matches!(run, Answer::Succeeded(_)),
        Answer::NothingToUndo(_) => !matches!(run, Answer::Succeeded(_)),
        _ => true,
    };
    if fits {
        return Ok(());
    }
    Err(format!("saga {saga}: the action is {}, and yet its undo is {}", tell(run), tell(undo)))
}

fn is_run(answer: &Answer) -> bool {
    matches!(answer, Answer::Succeeded(_) | Answer::Rejected(_) | Answer::Sealed(_))
}

fn is_undo(answer: &Answer) -> bool {
    matches!(answer, Answer::Undone(_) | Answer::NothingToUndo(_) | Answer::Fenced(_))
}

#[cfg(test)]
mod tests {
    use skald_proto::participant::v1::{Failed, Fenced, NothingToUndo, Rejected, Sealed, Succeeded, Undone};

    use super::*;

    fn said(verb: Verb, answer: Answer) -> Outcome {
        let step = "s".to_owned();
        Outcome {
            saga_id: "a".to_owned(),
            step,
            verb: verb.into(),
            epoch: 1,
            answer: Some(answer),
            ..Default::default()
        }
    }

    fn succeeded() -> Answer {
        Answer::Succeeded(Succeeded::default())
    }

    fn rejected(code: &str) -> Answer {
        Answer::Rejected(Rejected { code: code.to_owned(), ..Default::default() })
    }

    #[test]
    fn what_can_be_true_together() {
        let sealed = || Answer::Sealed(Sealed {});
        let nothing = || Answer::NothingToUndo(NothingToUndo {});
        let undone = || Answer::Undone(Undone::default());
        let fenced = || Answer::Fenced(Fenced {});
        let failed = || Answer::Failed(Failed::default());
        use Verb::{Run, SealRun, SealUndo, Undo};
        for (good, all) in [
            (true, vec![(Run, succeeded()), (Run, succeeded()), (Undo, undone()), (SealUndo, undone())]),
            (true, vec![(SealRun, sealed()), (Run, sealed()), (Undo, nothing())]),
            (true, vec![(Run, succeeded()), (SealUndo, fenced()), (Undo, fenced())]),
            (true, vec![(Run, failed()), (Run, rejected("NO")), (Undo, nothing())]),
            (false, vec![(Run, succeeded()), (Run, sealed())]),
            (false, vec![(Run, rejected("NO")), (Run, rejected("NEVER"))]),
            (false, vec![(Run, succeeded()), (Undo, nothing())]),
            (false, vec![(Run, sealed()), (Undo, undone())]),
            (false, vec![(Run, rejected("NO")), (Undo, undone())]),
            (false, vec![(Undo, undone()), (Undo, nothing())]),
            (false, vec![(SealUndo, fenced()), (Undo, undone())]),
            (false, vec![(Run, undone())]),
            (false, vec![(Undo, sealed())]),
        ] {
            let outcomes: Vec<_> = all.into_iter().map(|(verb, answer)| said(verb, answer)).collect();
            assert_eq!(consistent(&outcomes).is_ok(), good, "{outcomes:?}");
        }
    }
}
