//! How much may be re-sent into silence: a share of what a participant answers, and a few canaries a second. So a
//! participant that is down gets no stampede when it returns.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// Canaries that time alone saves up, in seconds.
const BURST_SECONDS: f64 = 10.0;
/// Answers whose share can be saved up.
const BURST_ANSWERS: f64 = 10_000.0;

/// Per participant, a bucket of re-sendings.
#[derive(Debug)]
pub struct Budget {
    canaries_per_second: f64,
    share: f64,
    buckets: Mutex<HashMap<String, Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    /// ms
    filled_at: Option<i64>,
    /// After a thaw: so many per second, until, ms.
    ramp: Option<(f64, i64)>,
}

impl Budget {
    /// Empty buckets that fill by time and by answers.
    pub fn new(canaries_per_second: f64, share: f64) -> Budget {
        Budget { canaries_per_second, share, buckets: Mutex::default() }
    }

    /// The participant answered so many commands.
    pub fn answered(&self, participant: &str, answers: usize) {
        let most = self.share * BURST_ANSWERS;
        self.with(participant, |bucket| {
            bucket.tokens = (bucket.tokens + self.share * answers as f64).min(most.max(bucket.tokens));
        });
    }

    /// Takes one re-sending, if there is one; `now` in ms.
    pub fn take(&self, participant: &str, now: i64) -> bool {
        let most = (self.canaries_per_second * BURST_SECONDS).max(1.0);
        self.with(participant, |bucket| {
            let since = bucket.filled_at.replace(now).unwrap_or(now);
            let passed = (now - since).max(0) as f64 / 1000.0;
            let ramp =
                bucket.ramp.filter(|(_, until)| now < *until).map_or(0.0, |(per_second, _)| per_second);
            let (per_second, most) = (self.canaries_per_second.max(ramp), most.max(ramp));
            bucket.tokens = (bucket.tokens + passed * per_second).min(most.max(bucket.tokens));
            let enough = bucket.tokens >= 1.0;
            if enough {
                bucket.tokens -= 1.0;
            }
            enough
        })
    }

    /// Until then, ms, so many per second may be sent again: a participant that was frozen has work waiting.
    pub fn ramp(&self, participant: &str, per_second: f64, until: i64) {
        self.with(participant, |bucket| bucket.ramp = Some((per_second, until)));
    }

    /// Until when a ramp goes on, ms.
    pub fn ramp_until(&self, participant: &str, now: i64) -> Option<i64> {
        self.with(participant, |bucket| bucket.ramp.map(|(_, until)| until).filter(|until| now < *until))
    }

    fn with<T>(&self, participant: &str, f: impl FnOnce(&mut Bucket) -> T) -> T {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        // A second's canaries to begin with.
        let fresh = || Bucket { tokens: self.canaries_per_second.max(1.0), filled_at: None, ramp: None };
        match buckets.get_mut(participant) {
            Some(bucket) => f(bucket),
            None => f(buckets.entry(participant.to_owned()).or_insert_with(fresh)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_costs_canaries_and_no_more() {
        let budget = Budget::new(3.0, 0.1);
        // Ten minutes of a thousand sagas that would re-send each second.
        let start = 1_763_000_000_000;
        let sent = (0..600_000).step_by(5).filter(|ms| budget.take("p", start + ms)).count();
        assert!((1_700..=1_803).contains(&sent), "{sent}");
    }

    #[test]
    fn a_quiet_night_saves_up_a_few_seconds() {
        let budget = Budget::new(3.0, 0.1);
        let evening = 1_763_000_000_000;
        while budget.take("p", evening) {}
        let morning = evening + 12 * 3_600_000;
        assert_eq!((0..1000).filter(|_| budget.take("p", morning)).count(), 30);
    }

    #[test]
    fn what_answers_have_earned_is_not_lost_to_time() {
        let budget = Budget::new(1.0, 0.1);
        while budget.take("p", 1) {}
        budget.answered("p", 1_000);
        assert_eq!((0..1000).filter(|_| budget.take("p", 1_000)).count(), 100);
    }

    #[test]
    fn a_ramp_pays_until_it_ends() {
        let budget = Budget::new(1.0, 0.1);
        while budget.take("p", 0) {}
        budget.ramp("p", 100.0, 10_000);
        let sent = |from: i64, to: i64| (from..to).filter(|ms| budget.take("p", *ms)).count();
        assert!((490..=500).contains(&sent(0, 5_000)));
        assert_eq!(budget.ramp_until("p", 5_000), Some(10_000));
        sent(5_000, 10_000);
        assert!(sent(10_000, 15_000) <= 6);
        assert_eq!(budget.ramp_until("p", 10_000), None);
    }

    #[test]
    fn answers_pay_a_share() {
        let budget = Budget::new(0.1, 0.1);
        while budget.take("p", 1) {}
        budget.answered("p", 100);
        assert_eq!((0..50).filter(|_| budget.take("p", 1)).count(), 10);
        assert!(budget.take("q", 1), "each participant has its own");
    }
}
