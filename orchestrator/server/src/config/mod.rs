//! The orchestrator's settings, each with its default and its bounds.

mod participants;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use skald_kit::config::{self, Problems, Validate};

pub use participants::{CONNECT, Participant, Via};

/// Everything that `skald serve orchestrator` can be told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The orchestrator's own database.
    pub postgres: config::Postgres,
    /// Brokers and topics.
    pub kafka: config::Kafka,
    /// Where gRPC and HTTP are served.
    pub listen: config::Listen,
    /// What clients may take of gRPC.
    pub grpc: config::Grpc,
    /// Lines about what happens.
    pub log: config::Log,
    /// Where traces go.
    pub otlp: config::Otlp,
    /// How long a soft stop may take.
    pub shutdown: config::Shutdown,
    /// The driver.
    pub driver: Driver,
    /// The export of histories.
    pub audit: Audit,
    /// Definitions beside the one that ships.
    pub definitions: Definitions,
    /// Where participants are, and how commands go there; of one that is not named, over Kafka.
    pub participants: BTreeMap<String, Participant>,
}

/// The driver: how sagas are moved.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Driver {
    /// Workers, each with one writing connection; 0 = half the cores. More workers make smaller, dearer batches.
    pub workers: usize,
    /// Inputs in one transaction at most.
    pub batch: usize,
    /// Gaps between re-sendings into silence, in milliseconds; the last one repeats.
    pub resend_gaps_ms: Vec<u64>,
    /// Re-sendings per second to a participant that answers nothing: canaries.
    pub resend_canaries_per_second: f64,
    /// Re-sendings beyond that, as a share of what the participant answers.
    pub resend_share: f64,
    /// After a thaw, for as long as [`ramp`](Self::ramp) says, so many waiting commands go out per second.
    pub ramp_per_second: f64,
    /// Sagas under way at most; beyond, submissions are refused with a hint when to come back.
    pub max_active_sagas: i64,
    /// A saga whose command is unanswered for longer stands in the operators' inbox, in seconds.
    pub slow_after_seconds: u64,
    /// The net: how far apart scans for overdue sagas are, in milliseconds.
    pub scan_every_ms: u64,
}

/// The export of histories to `orders.audit`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// Rows per second at most, of each instance; what comes at once has half of it when both wait. Below what the
    /// sagas accept, the export falls behind in busy hours and catches up in quiet ones.
    pub rows_per_second: f64,
}

impl Default for Audit {
    fn default() -> Self {
        Audit { rows_per_second: 2_000.0 }
    }
}

impl Validate for Audit {
    fn validate(&self, problems: &mut Problems) {
        let rate = (1.0..=1_000_000.0).contains(&self.rows_per_second);
        problems.check(rate, "rows_per_second", "must be 1 to 1000000");
    }
}

/// Where further definitions are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Definitions {
    /// A folder whose `*.toml` files are definitions; none = only the one that ships.
    pub folder: Option<PathBuf>,
}

impl Config {
    /// Those among `participants` whose commands go over Kafka.
    pub fn over_kafka(&self, participants: BTreeSet<String>) -> BTreeSet<String> {
        let via = |name: &String| self.participants.get(name).map(|p| p.transport).unwrap_or_default();
        participants.into_iter().filter(|name| via(name) == Via::Kafka).collect()
    }
}

impl Default for Driver {
    fn default() -> Self {
        Driver {
            workers: 0,
            batch: 512,
            resend_gaps_ms: vec![2_000, 5_000, 15_000, 60_000],
            resend_canaries_per_second: 3.0,
            resend_share: 0.1,
            ramp_per_second: 200.0,
            max_active_sagas: 1_000_000,
            slow_after_seconds: 600,
            scan_every_ms: 1_000,
        }
    }
}

impl Driver {
    /// How many workers there are: half the cores unless it is set.
    pub fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, |n| (n.get() / 2).max(1)),
            n => n,
        }
    }

    /// When the next re-sending is due, ms, of a saga to which something happened last at `since` and which was looked
    /// at `resends` times since: all gaps so far have passed.
    pub fn resend_at(&self, since: i64, resends: i16) -> i64 {
        let looks = i64::from(resends.max(0)) + 1;
        let gaps = &self.resend_gaps_ms;
        let growing: u64 = gaps.iter().take(looks as usize).sum();
        let further = (looks - gaps.len() as i64).max(0) * gaps.last().copied().unwrap_or_default() as i64;
        since + growing as i64 + further
    }

    /// How long the ramp after a thaw lasts: until every saga that waited was looked at twice.
    pub fn ramp(&self) -> Duration {
        2 * Duration::from_millis(self.resend_gaps_ms.last().copied().unwrap_or_default())
    }

    /// A saga to which something happened last at `since` and which was looked at `resends` times since, is slow: all
    /// that while and the gaps so far are longer than allowed. (Looks alone are no measure, for a broker that is away
    /// makes them frequent; nor is the time alone, for while a participant is frozen nobody waits for it.)
    pub fn is_slow(&self, since: i64, resends: i16, now: i64) -> bool {
        let allowed = self.slow_after_seconds as i64 * 1000;
        resends > 0 && now - since > allowed && self.resend_at(0, resends - 1) > allowed
    }

    /// Looks that count while everything that a saga waits for is frozen: the gaps may grow, but that is no silence.
    pub fn frozen_resends(&self, resends: i16) -> i16 {
        resends.min(self.resend_gaps_ms.len() as i16)
    }

    /// The gap after `resends` re-sendings.
    pub fn resend_gap(&self, resends: i16) -> Duration {
        let last = self.resend_gaps_ms.len().saturating_sub(1);
        Duration::from_millis(self.resend_gaps_ms[(resends.max(0) as usize).min(last)])
    }
}

impl Default for Config {
    fn default() -> Self {
        let url = "postgres://postgres@127.0.0.1:5432/skald_orchestrator";
        Config {
            postgres: config::Postgres { url: config::Secret::new(url), ..Default::default() },
            kafka: Default::default(),
            listen: config::Listen {
                grpc: ([127, 0, 0, 1], 7070).into(),
                http: ([127, 0, 0, 1], 7071).into(),
            },
            grpc: Default::default(),
            log: Default::default(),
            otlp: Default::default(),
            shutdown: Default::default(),
            driver: Default::default(),
            audit: Default::default(),
            definitions: Default::default(),
            participants: Default::default(),
        }
    }
}

impl Validate for Config {
    fn validate(&self, problems: &mut Problems) {
        problems.part("postgres", &self.postgres);
        problems.part("kafka", &self.kafka);
        problems.part("listen", &self.listen);
        problems.part("grpc", &self.grpc);
        problems.part("log", &self.log);
        problems.part("otlp", &self.otlp);
        problems.part("shutdown", &self.shutdown);
        problems.part("driver", &self.driver);
        problems.part("audit", &self.audit);
        for (name, participant) in &self.participants {
            participant.validate(problems, &format!("participants.{name}"));
        }
    }
}

impl Validate for Driver {
    fn validate(&self, problems: &mut Problems) {
        problems.check(self.workers <= 64, "workers", "must be 0 (half the cores) to 64");
        problems.check((1..=4096).contains(&self.batch), "batch", "must be 1 to 4096");
        let gaps = &self.resend_gaps_ms;
        let gaps_ok = !gaps.is_empty() && gaps.iter().all(|g| (10..=3_600_000).contains(g));
        problems.check(gaps_ok, "resend_gaps_ms", "must be one or more gaps of 10 to 3600000 ms");
        let canaries = self.resend_canaries_per_second;
        problems.check(
            (0.1..=1000.0).contains(&canaries),
            "resend_canaries_per_second",
            "must be 0.1 to 1000",
        );
        problems.check((0.0..=1.0).contains(&self.resend_share), "resend_share", "must be 0 to 1");
        let ramp = (1.0..=100_000.0).contains(&self.ramp_per_second);
        problems.check(ramp, "ramp_per_second", "must be 1 to 100000");
        problems.check(self.max_active_sagas >= 1, "max_active_sagas", "must be at least 1");
        let slow = (1..=604_800).contains(&self.slow_after_seconds);
        problems.check(slow, "slow_after_seconds", "must be 1 to 604800 (a week)");
        problems.check((50..=60_000).contains(&self.scan_every_ms), "scan_every_ms", "must be 50 to 60000");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn re_sendings_are_as_far_apart_as_the_gaps_and_the_last_one_repeats() {
        let driver = Driver { resend_gaps_ms: vec![10, 30, 100], ..Driver::default() };
        let at: Vec<i64> = (0..5).map(|n| driver.resend_at(1_000, n)).collect();
        assert_eq!(at, [1_010, 1_040, 1_140, 1_240, 1_340]);
    }

    #[test]
    fn slow_is_what_was_waited_for_long_enough_by_the_clock_and_by_the_gaps() {
        let driver = Driver {
            resend_gaps_ms: vec![2_000, 5_000, 15_000],
            slow_after_seconds: 20,
            ..Driver::default()
        };
        // 2, 7, 22 s
        let slow: Vec<bool> = (0..4).map(|n| driver.is_slow(0, n, 30_000)).collect();
        assert_eq!(slow, [false, false, false, true]);
        assert!(!driver.is_slow(15_000, 3, 30_000), "looked at often, but not for long");
        assert_eq!([1, 3, 9].map(|n| driver.frozen_resends(n)), [1, 3, 3]);
    }

    #[test]
    fn slowness_has_bounds() {
        for (seconds, ok) in [(0, false), (1, true), (604_800, true), (604_801, false)] {
            let mut problems = Problems::default();
            Driver { slow_after_seconds: seconds, ..Driver::default() }.validate(&mut problems);
            assert_eq!(problems.is_empty(), ok, "{seconds}");
        }
    }
}
