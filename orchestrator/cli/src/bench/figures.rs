//! The figures of a run and how they are shown. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies above are counted as this: an hour, in microseconds.
const LONGEST_US: u64 = 3_600_000_000;

/// A histogram of microseconds with three significant digits.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_US, 3).expect("the bounds are in order")
}

/// Adds a latency; one that is longer than the longest counts as that.
pub(super) fn record(histogram: &mut Histogram<u64>, us: u64) {
    histogram.saturating_record(us.clamp(1, LONGEST_US));
}

/// Percentiles in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Percentiles {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
}

impl Percentiles {
    /// Of a histogram of microseconds; zeros when it is empty.
    pub(super) fn of(histogram: &Histogram<u64>) -> Self {
        let ms = |quantile| {
            if histogram.is_empty() {
                0.0
            } else {
                round(histogram.value_at_quantile(quantile) as f64 / 1000.0, 3)
            }
        };
        Self { p50: ms(0.5), p99: ms(0.99), p999: ms(0.999) }
    }
}

/// Everything that a run found out. The order of the fields is that of the JSON object.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Figures {
    /// COMPLETED sagas per second of the measured phase.
    pub(super) completed_per_s: f64,
    /// Sagas per second that ended, one way or the other.
    pub(super) ended_per_s: f64,
    /// Seconds that were measured.
    pub(super) seconds: f64,
    /// From the order on its way to the answer that it is durable.
    pub(super) submit_ms: Percentiles,
    /// From the order on its way to its final event.
    pub(super) order_ms: Percentiles,
    /// The same with one order in flight at a time.
    pub(super) unloaded_ms: Percentiles,
    /// Orders behind `unloaded_ms`.
    pub(super) unloaded_orders: u64,
    /// By process, per order that ended.
    pub(super) cpu_us_per_order: BTreeMap<String, f64>,
    /// By process: the most that it had under full load.
    pub(super) rss_mib: BTreeMap<String, f64>,
    /// `None`: the server could not be asked.
    pub(super) wal_bytes_per_order: Option<f64>,
    /// `None`: the broker is not ours, its disk can't be seen.
    pub(super) kafka_bytes_per_order: Option<f64>,
    /// Inputs in one transaction, on average, by who writes it.
    pub(super) batch: BTreeMap<String, f64>,
    /// Orders that were told to come back (RESOURCE_EXHAUSTED, UNAVAILABLE) and came.
    pub(super) repeated: u64,
    /// `fsync` and `synchronous_commit` of the server that was measured.
    pub(super) durability: String,
    /// What does not add up; empty when all is well.
    pub(super) violations: Vec<String>,
}

impl Figures {
    /// One JSON object, in one line.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts")
    }

    /// For eyes.
    pub(super) fn table(&self) -> String {
        let mut out = String::new();
        self.speed(&mut out);
        self.costs(&mut out);
        if self.violations.is_empty() {
            out.push_str(
                "violations           none: every order ended as it had to, stock and money add up\n",
            );
        } else {
            let _ = writeln!(out, "violations           {}", self.violations.len());
            for violation in &self.violations {
                let _ = writeln!(out, "  {violation}");
            }
        }
        out
    }

    fn speed(&self, out: &mut String) {
        let (completed, ended, seconds) = (self.completed_per_s, self.ended_per_s, self.seconds);
        let _ = writeln!(
            out,
            "completed            {completed:.0} sagas/s ({ended:.0} ended/s; {seconds:.1} s measured)"
        );
        let _ = writeln!(out, "\n{:<17}{:>10}{:>10}{:>10}", "ms", "p50", "p99", "p99.9");
        let rows =
            [("submit", self.submit_ms), ("order to final", self.order_ms), ("unloaded", self.unloaded_ms)];
        // The phase may have been left out.
        for (name, p) in rows.into_iter().filter(|(_, p)| p.p50 > 0.0) {
            let _ = writeln!(out, "{name:<17}{:>10.2}{:>10.2}{:>10.2}", p.p50, p.p99, p.p999);
        }
    }

    fn costs(&self, out: &mut String) {
        let _ = writeln!(out, "\n{:<17}{:>16}{:>12}", "process", "CPU µs/order", "RSS MiB");
        for (name, us) in &self.cpu_us_per_order {
            let rss = self.rss_mib.get(name).copied().unwrap_or_default();
            let _ = writeln!(out, "{name:<17}{us:>16.1}{rss:>12.0}");
        }
        let (us, rss): (f64, f64) = (self.cpu_us_per_order.values().sum(), self.rss_mib.values().sum());
        let _ = writeln!(out, "{:<17}{us:>16.1}{rss:>12.0}\n", "all");
        let bytes =
            |value: Option<f64>| value.map_or("unknown".to_owned(), |v| format!("{v:.0} bytes/order"));
        let _ =
            writeln!(out, "WAL                  {} ({})", bytes(self.wal_bytes_per_order), self.durability);
        let _ = writeln!(out, "Kafka                {}", bytes(self.kafka_bytes_per_order));
        let batches: Vec<String> =
            self.batch.iter().map(|(name, size)| format!("{name} {size:.0}")).collect();
        if !batches.is_empty() {
            let _ = writeln!(out, "mean batch           {}", batches.join(", "));
        }
        if self.repeated > 0 {
            let _ = writeln!(out, "told to come back    {} times", self.repeated);
        }
    }
}

/// Rounds to so many decimals: nobody wants fifteen digits in a report.
pub(super) fn round(value: f64, decimals: i32) -> f64 {
    let scale = 10_f64.powi(decimals);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        Figures {
            completed_per_s: 3021.5,
            ended_per_s: 3248.9,
            seconds: 30.0,
            submit_ms: Percentiles { p50: 12.3, p99: 45.0, p999: 60.25 },
            order_ms: Percentiles { p50: 310.0, p99: 420.0, p999: 500.0 },
            unloaded_ms: Percentiles { p50: 9.8, p99: 14.0, p999: 20.0 },
            unloaded_orders: 500,
            cpu_us_per_order: [("kafka".to_owned(), 100.0), ("postgres".to_owned(), 150.25)].into(),
            rss_mib: [("kafka".to_owned(), 600.0), ("postgres".to_owned(), 700.4)].into(),
            wal_bytes_per_order: Some(5312.4),
            kafka_bytes_per_order: None,
            batch: [("orchestrator".to_owned(), 83.4)].into(),
            repeated: 0,
            durability: "fsync on".to_owned(),
            violations: Vec::new(),
        }
    }

    #[test]
    fn percentiles_are_milliseconds() {
        let mut all = histogram();
        (1..=1000).for_each(|ms| record(&mut all, ms * 1000));
        let p = Percentiles::of(&all);
        assert!((p.p50 - 500.0).abs() < 1.0 && (p.p99 - 990.0).abs() < 1.0, "{p:?}");
        assert!((p.p999 - 999.0).abs() < 1.0, "{p:?}");
        assert_eq!(Percentiles::of(&histogram()), Percentiles::default());
    }

    #[test]
    fn a_latency_of_nothing_and_one_beyond_the_longest_are_counted() {
        let mut all = histogram();
        record(&mut all, 0);
        record(&mut all, u64::MAX);
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn the_table_has_every_process_and_their_sum() {
        let expected = "\
completed            3022 sagas/s (3249 ended/s; 30.0 s measured)

ms                      p50       p99     p99.9
submit                12.30     45.00     60.25
order to final       310.00    420.00    500.00
unloaded               9.80     14.00     20.00

process              CPU µs/order     RSS MiB
kafka                       100.0         600
postgres                    150.2         700
all                         250.2        1300

WAL                  5312 bytes/order (fsync on)
Kafka                unknown
mean batch           orchestrator 83
violations           none: every order ended as it had to, stock and money add up
";
        assert_eq!(figures().table(), expected);
    }

    #[test]
    fn violations_are_listed() {
        let bad = Figures { violations: vec!["2 orders are missing".to_owned()], ..figures() };
        assert!(bad.table().ends_with("violations           1\n  2 orders are missing\n"));
    }

    #[test]
    fn the_object_has_the_documented_keys() {
        let value: serde_json::Value = serde_json::from_str(&figures().json()).unwrap();
        for key in ["completed_per_s", "wal_bytes_per_order", "kafka_bytes_per_order", "violations"] {
            assert!(value.get(key).is_some(), "{key}");
        }
        for key in ["submit_ms", "order_ms", "unloaded_ms"] {
            for p in ["p50", "p99", "p999"] {
                assert!(value[key][p].is_number(), "{key}.{p}");
            }
        }
        assert_eq!(value["cpu_us_per_order"]["kafka"], 100.0);
        assert_eq!(value["rss_mib"]["kafka"], 600.0);
        assert!(!figures().json().contains('\n'));
    }
}
