//! What a call's result means, and what an open intent needs next. Pure: who settles and who sweeps only execute it.

use std::{collections::HashMap, time::Duration};

use skald_proto::participant::v1::{NothingToUndo, Rejected, Succeeded, Undone, outcome::Answer};

use super::{Intent, next_key};
use crate::{
    barrier::{Slot, Verdict},
    command::{Failed, Key},
    decide::UNRESOLVED,
    planted,
    service::{CallResult, Settlement},
};

/// First gap before an intent is called again.
const FIRST_GAP: Duration = Duration::from_secs(1);
/// The longest.
pub(crate) const LAST_GAP: Duration = Duration::from_secs(60);

/// How the work on an intent ended.
#[derive(Clone, Debug, PartialEq)]
pub enum How {
    /// It was called.
    Called(CallResult),
    /// An undo whose action turned out to have had no effect: no call is needed.
    NothingToUndo,
}

/// What becomes of an intent that did not settle.
#[derive(Clone, Debug, PartialEq)]
pub struct Postponed {
    /// As it was called.
    pub intent: Intent,
    /// The next gateway key, when nothing will ever happen under the present one.
    pub next_key: Option<String>,
    /// The call surely was not sent.
    pub unsent: bool,
    /// Not before. `None`: it sleeps until a command wakes it.
    pub delay: Option<Duration>,
    /// The code of the failure that is answered for it.
    pub answered: Option<String>,
}

/// What is to be written about an intent.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolution {
    /// It settles.
    Settled {
        /// As it was called.
        intent: Intent,
        /// What the barrier row says from now on.
        verdict: Verdict,
        /// `None`: the domain is not concerned.
        settlement: Option<Settlement>,
        /// What is answered.
        answer: Answer,
    },
    /// It stays open; a failure may be answered all the same.
    Open {
        /// When it is called again.
        postponed: Postponed,
        /// What is answered.
        failed: Option<Failed>,
    },
    /// It stays open until a person looks.
    Unresolved {
        /// Until then it sleeps.
        postponed: Postponed,
    },
}

/// What a result means.
pub fn resolve(intent: Intent, how: How) -> Resolution {
    let slot = intent.slot();
    match (how, slot) {
        (How::NothingToUndo, _) => {
            settled(intent, Verdict::Nothing, None, Answer::NothingToUndo(NothingToUndo {}))
        }
        (How::Called(CallResult::Succeeded(result)), Slot::Run) => {
            let answer = Answer::Succeeded(Succeeded { result: result.clone() });
            settled(intent, Verdict::Done, Some(Settlement::Succeeded(result)), answer)
        }
        (How::Called(CallResult::Rejected(no)), Slot::Run) => {
            let answer = Answer::Rejected(Rejected::from(no.clone()));
            settled(intent, Verdict::Rejected, Some(Settlement::Rejected(no)), answer)
        }
        (How::Called(CallResult::Undone(result)), Slot::Undo) => {
            let answer = Answer::Undone(Undone { result: result.clone() });
            settled(intent, Verdict::Done, Some(Settlement::Undone(result)), answer)
        }
        // an undo is never rejected
        (How::Called(CallResult::Rejected(no)), Slot::Undo) => {
            refused(intent, Failed::last(no.code, no.message))
        }
        (How::Called(CallResult::Refused(failed)), _) => refused(intent, failed),
        (How::Called(CallResult::Unresolved), _) => {
            let answered = Some(UNRESOLVED.to_owned());
            let postponed = Postponed { intent, next_key: None, unsent: false, delay: None, answered };
            Resolution::Unresolved { postponed }
        }
        (How::Called(CallResult::NotSent { retry_after }), _) => {
            open(intent, true, retry_after.unwrap_or(FIRST_GAP))
        }
        (How::Called(CallResult::Unknown { .. }), _) if planted::is("a_new_key_after_silence") => {
            let postponed = Postponed {
                next_key: Some(next_key(&intent.gateway_key)),
                intent,
                unsent: false,
                delay: Some(FIRST_GAP),
                answered: None,
            };
            Resolution::Open { postponed, failed: None }
        }
        (How::Called(CallResult::Unknown { retry_after }), _) => {
            let gap = gap(intent.calls);
            open(intent, false, retry_after.unwrap_or(gap))
        }
        (How::Called(CallResult::Succeeded(_) | CallResult::Undone(_)), _) => {
            tracing::error!(slot = ?slot, "a call answered for the other verb, which is a bug of the service");
            let gap = gap(intent.calls);
            open(intent, false, gap)
        }
    }
}

fn settled(intent: Intent, verdict: Verdict, settlement: Option<Settlement>, answer: Answer) -> Resolution {
    Resolution::Settled { intent, verdict, settlement, answer }
}

fn refused(intent: Intent, failed: Failed) -> Resolution {
    let next_key = Some(next_key(&intent.gateway_key));
    let answered = Some(failed.code.clone());
    let postponed = Postponed { intent, next_key, unsent: false, delay: None, answered };
    Resolution::Open { postponed, failed: Some(failed) }
}

fn open(intent: Intent, unsent: bool, delay: Duration) -> Resolution {
    let postponed = Postponed { intent, next_key: None, unsent, delay: Some(delay), answered: None };
    Resolution::Open { postponed, failed: None }
}

fn gap(calls: i32) -> Duration {
    let doublings = u32::try_from(calls.saturating_sub(1)).unwrap_or(0).min(6);
    (FIRST_GAP * 2_u32.pow(doublings)).min(LAST_GAP)
}

impl Resolution {
    /// What it is about.
    pub fn intent(&self) -> &Intent {
        match self {
            Self::Settled { intent, .. } => intent,
            Self::Open { postponed, .. } | Self::Unresolved { postponed } => &postponed.intent,
        }
    }
}

/// One resolution per intent: a verdict wins, for two calls of one intent know different things about the same fact.
pub fn once_each(all: Vec<Resolution>) -> Vec<Resolution> {
    let mut places: HashMap<(Key, Slot), usize> = HashMap::with_capacity(all.len());
    let mut kept: Vec<Resolution> = Vec::with_capacity(all.len());
    for resolution in all {
        let name = (resolution.intent().key.clone(), resolution.intent().slot());
        match places.get(&name) {
            None => {
                places.insert(name, kept.len());
                kept.push(resolution);
            }
            Some(&at) if !matches!(kept[at], Resolution::Settled { .. }) => kept[at] = resolution,
            Some(_) => {}
        }
    }
    kept.sort_by(|a, b| {
        let name = |r: &Resolution| (r.intent().key.clone(), r.intent().slot());
        name(a).cmp(&name(b))
    });
    kept
}

/// What a claimed intent needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Its call.
    Call,
    /// Nothing yet: an undo behind its action's open intent.
    Behind,
    /// No call: an undo whose action had no effect.
    Nothing,
    /// Its barrier row is no intent: it should have been closed.
    Stale,
}

/// What a claimed intent needs, given both barrier rows.
pub fn need(slot: Slot, run: Option<Verdict>, undo: Option<Verdict>) -> Need {
    match (slot, run, undo) {
        (Slot::Run, Some(Verdict::Intent), _) => Need::Call,
        (Slot::Undo, Some(Verdict::Intent), Some(Verdict::Intent)) => Need::Behind,
        (Slot::Undo, Some(Verdict::Done), Some(Verdict::Intent)) => Need::Call,
        (Slot::Undo, Some(Verdict::Rejected | Verdict::Sealed), Some(Verdict::Intent)) => Need::Nothing,
        _ => Need::Stale,
    }
}

#[cfg(test)]
mod tests;
