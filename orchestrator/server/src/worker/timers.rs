//! Exact deadlines in memory: when this worker looks at which saga next. A plain data structure without a clock;
//! what it forgets when the process dies, `wake_at` in the table remembers.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use uuid::Uuid;

use crate::bus::Lost;

/// Why and when a saga is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Timer {
    /// ms
    pub(super) at: i64,
    /// A command of it did not get there.
    pub(super) lost: Option<Lost>,
}

/// Beyond this, `wake_at` is exact enough and no memory is spent.
const HORIZON: Duration = Duration::from_secs(600);

/// One timer per saga at most.
#[derive(Debug, Default)]
pub(super) struct Timers {
    by_saga: HashMap<Uuid, Timer>,
    by_time: BTreeSet<(i64, Uuid)>,
}

impl Timers {
    /// Sets or moves a saga's timer, unless that is far off. A loss that waits goes on waiting, and no longer than it did:
    /// whoever looked for another reason did not send for it.
    pub(super) fn set(&mut self, saga: Uuid, at: i64, now: i64) {
        match self.by_saga.get(&saga).filter(|timer| timer.lost.is_some()).cloned() {
            Some(lost) => self.put(saga, Timer { at: at.min(lost.at), ..lost }),
            None if at - now < HORIZON.as_millis() as i64 => self.put(saga, Timer { at, lost: None }),
            None => self.clear(saga),
        }
    }

    fn put(&mut self, saga: Uuid, timer: Timer) {
        self.clear(saga);
        self.by_time.insert((timer.at, saga));
        self.by_saga.insert(saga, timer);
    }

    /// A command did not get there: the saga is looked at then. What was lost on the ways to two participants waits for
    /// neither of them.
    pub(super) fn lose(&mut self, lost: Lost, at: i64) {
        let known = self.by_saga.get(&lost.saga).and_then(|timer| timer.lost.as_ref());
        let other = known.is_some_and(|known| known.participant != lost.participant);
        let participant = if other { None } else { lost.participant };
        let saga = lost.saga;
        self.put(saga, Timer { at, lost: Some(Lost { saga, participant }) });
    }

    /// Takes a saga's timer away.
    pub(super) fn clear(&mut self, saga: Uuid) {
        if let Some(old) = self.by_saga.remove(&saga) {
            self.by_time.remove(&(old.at, saga));
        }
    }

    /// Looks at everything from `now` on, so many per second; what is due sooner stays.
    pub(super) fn hurry(&mut self, now: i64, per_second: f64) {
        let waiting: Vec<(i64, Uuid)> = self.by_time.iter().copied().collect();
        for (n, (at, saga)) in waiting.into_iter().enumerate() {
            let slot = now + (n as f64 * 1000.0 / per_second) as i64;
            if let Some(timer) = self.by_saga.get(&saga).cloned().filter(|_| slot < at) {
                self.put(saga, Timer { at: slot, ..timer });
            }
        }
    }

    /// When the next one fires, ms.
    pub(super) fn next(&self) -> Option<i64> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes what is due at `now`, at most `most`.
    pub(super) fn due(&mut self, now: i64, most: usize) -> Vec<(Uuid, Timer)> {
        let mut due = Vec::new();
        while due.len() < most {
            let Some(&(at, saga)) = self.by_time.first() else { break };
            if at > now {
                break;
            }
            self.by_time.pop_first();
            if let Some(timer) = self.by_saga.remove(&saga) {
                due.push((saga, timer));
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timer(at: i64) -> Timer {
        Timer { at, lost: None }
    }

    #[test]
    fn what_was_lost_on_two_ways_waits_for_neither() {
        let mut timers = Timers::default();
        let saga = Uuid::from_u128(1);
        let lost = |participant: Option<&str>| Lost { saga, participant: participant.map(Into::into) };
        let mut after = |losses: &[Option<&str>]| {
            losses.iter().for_each(|participant| timers.lose(lost(*participant), 5));
            let due = timers.due(5, 9);
            assert_eq!(due.len(), 1);
            due[0].1.lost.clone()
        };
        assert_eq!(after(&[Some("p"), Some("p")]), Some(lost(Some("p"))));
        assert_eq!(after(&[Some("p"), Some("q")]), Some(lost(None)));
        assert_eq!(after(&[None, Some("p")]), Some(lost(None)));
    }

    #[test]
    fn a_look_for_another_reason_forgets_no_loss() {
        let mut timers = Timers::default();
        let saga = Uuid::from_u128(1);
        let lost = Lost { saga, participant: Some("p".into()) };
        for (set, due) in [(20, 10), (5, 5), (i64::MAX, 10)] {
            timers.set(saga, 30, 0);
            timers.lose(lost.clone(), 10);
            timers.set(saga, set, 0);
            assert_eq!(timers.due(30, 9), vec![(saga, Timer { at: due, lost: Some(lost.clone()) })]);
        }
        timers.lose(lost, 10);
        timers.clear(saga);
        timers.set(saga, 60, 0);
        assert_eq!(timers.due(60, 9), vec![(saga, timer(60))], "it had ended, and was opened again");
        timers.set(saga, 60, 0);
        timers.set(saga, HORIZON.as_millis() as i64, 0);
        assert_eq!(timers.next(), None, "the column is exact enough");
    }

    #[test]
    fn a_moved_timer_fires_once_at_its_last_time() {
        let mut timers = Timers::default();
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        timers.set(a, 10, 0);
        timers.set(b, 20, 0);
        timers.set(a, 30, 0);
        assert_eq!(timers.next(), Some(20));
        assert_eq!(timers.due(25, 9), vec![(b, timer(20))]);
        assert_eq!(timers.due(30, 9), vec![(a, timer(30))]);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn who_hurries_keeps_a_pace_and_delays_nothing() {
        let mut timers = Timers::default();
        for i in 0..4 {
            timers.set(Uuid::from_u128(i), [5, 9_000, 9_000, 9_000][i as usize], 0);
        }
        timers.hurry(1_000, 2.0);
        let due = timers.due(i64::MAX, 9);
        assert_eq!(due.iter().map(|(_, timer)| timer.at).collect::<Vec<_>>(), [5, 1_500, 2_000, 2_500]);
    }

    #[test]
    fn no_more_than_asked_and_nothing_that_was_cleared() {
        let mut timers = Timers::default();
        for i in 0..5 {
            timers.set(Uuid::from_u128(i), i as i64, 0);
        }
        timers.clear(Uuid::from_u128(0));
        assert_eq!(timers.due(9, 2).len(), 2);
        assert_eq!(timers.due(9, 9).len(), 2);
    }
}
