//! Which weeks a span touches and what their partitions are called. Pure.

use crate::civil::{DAY_MS, date};

/// Milliseconds of a week.
pub const WEEK_MS: i64 = 7 * DAY_MS;
/// The first Monday after the epoch: 1970-01-05.
const MONDAY_MS: i64 = 4 * DAY_MS;

/// A week from Monday 00:00 UTC to the next, in Unix milliseconds; the upper end is not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Week {
    /// Monday 00:00 UTC.
    pub from_ms: i64,
    /// The next Monday.
    pub to_ms: i64,
}

impl Week {
    /// The week that `ms` is in.
    pub fn of(ms: i64) -> Self {
        let from_ms = (ms - MONDAY_MS).div_euclid(WEEK_MS) * WEEK_MS + MONDAY_MS;
        Self { from_ms, to_ms: from_ms + WEEK_MS }
    }

    /// `<table>_<yyyymmdd>` of its Monday.
    pub fn partition_of(&self, table: &str) -> String {
        let (year, month, day) = date(self.from_ms.div_euclid(DAY_MS));
        format!("{table}_{year:04}{month:02}{day:02}")
    }
}

/// The weeks that touch `from_ms` to `to_ms`, both included, in order; none when `to_ms` is less. The epoch's
/// first days, before its first Monday, have none: no id has a time below zero.
pub fn weeks(from_ms: i64, to_ms: i64) -> Vec<Week> {
    let mut weeks = Vec::new();
    let mut week = Week::of(from_ms.max(MONDAY_MS));
    while week.from_ms <= to_ms {
        weeks.push(week);
        week = Week { from_ms: week.to_ms, to_ms: week.to_ms + WEEK_MS };
    }
    weeks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Monday 2026-11-16, 00:00 UTC.
    const MONDAY: i64 = 1_794_787_200_000;

    #[test]
    fn weeks_begin_on_monday() {
        assert_eq!(Week::of(MONDAY), Week { from_ms: MONDAY, to_ms: MONDAY + WEEK_MS });
        assert_eq!(Week::of(MONDAY - 1).to_ms, MONDAY);
        assert_eq!(Week::of(MONDAY + WEEK_MS - 1).from_ms, MONDAY);
        assert_eq!(Week::of(MONDAY).partition_of("saga"), "saga_20261116");
    }

    proptest! {
        #[test]
        fn they_cover_the_span_without_a_gap(from in 0_i64..4_000_000_000_000, span in 0..20 * WEEK_MS) {
            let weeks = weeks(from, from + span);
            let first = weeks.first().copied();
            prop_assert!(first.is_some_and(|week| week.from_ms <= from.max(MONDAY_MS)));
            prop_assert!(weeks.last().is_some_and(|week| week.to_ms > from + span));
            prop_assert!(weeks.windows(2).all(|pair| pair[0].to_ms == pair[1].from_ms));
        }
    }
}
