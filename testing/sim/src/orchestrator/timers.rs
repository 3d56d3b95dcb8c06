//! An instance's timers: when it looks at which saga next.

use std::collections::{BTreeMap, BTreeSet};

use skald_core::{
    Input, flight,
    input::{Answer, Failure, Outcome},
};
use uuid::Uuid;

use super::{Ask, Job, Origin, store::Store};

/// When it looks at which saga next: one time per saga, and whether its commands did not get out.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_saga: BTreeMap<Uuid, (i64, bool)>,
    by_time: BTreeSet<(i64, Uuid)>,
}

impl Timers {
    pub(super) fn set(&mut self, saga: Uuid, at: i64, undelivered: bool) {
        self.clear(saga);
        self.by_saga.insert(saga, (at, undelivered));
        self.by_time.insert((at, saga));
    }

    pub(super) fn clear(&mut self, saga: Uuid) {
        if let Some((at, _)) = self.by_saga.remove(&saga) {
            self.by_time.remove(&(at, saga));
        }
    }

    pub(super) fn next(&self) -> Option<i64> {
        self.by_time.first().map(|(at, _)| *at)
    }

    pub(super) fn due(&mut self, now: i64) -> Option<(Uuid, bool)> {
        let (_, saga) = self.by_time.first().copied().filter(|(at, _)| *at <= now)?;
        let (at, undelivered) = self.by_saga.remove(&saga)?;
        self.by_time.remove(&(at, saga));
        Some((saga, undelivered))
    }
}

/// A planted bug: whoever does not answer has failed.
pub(super) fn invented(saga: Uuid, store: &Store) -> Vec<Job> {
    let Some(row) = store.sagas.get(&saga) else { return Vec::new() };
    let failed = |command: skald_core::CommandRef| {
        let failure = Failure { code: "SILENT".into(), retryable: true, ..Failure::default() };
        let outcome = Outcome {
            step: command.step,
            verb: command.verb,
            epoch: command.epoch,
            attempt: command.attempt,
            answer: Some(Answer::Failed(failure)),
        };
        Job { saga, actor: "timer", ask: Ask::Input(Input::Outcome(outcome)), origin: Origin::Nobody }
    };
    flight::commands(&row.decoded).into_iter().map(failed).collect()
}
