//! How wide the export looks at once, and how far it is behind. Pure but for its gauge.

use uuid::Uuid;

use crate::store::audit::{Horizon, Place};

/// Transactions in the first window.
const FIRST: i64 = 1_024;
/// And in the widest.
const WIDEST: i64 = 1 << 40;

/// Windows of transactions: as wide as a page, about, whatever lies in between. A page is the top of a sort of its
/// window, so a window of a million rows would be sorted a thousand times.
#[derive(Debug)]
pub(super) struct Windows {
    width: i64,
}

impl Default for Windows {
    fn default() -> Self {
        Windows { width: FIRST }
    }
}

impl Windows {
    /// The transaction before which the next page ends.
    pub(super) fn end(&self, cursor: Place, horizon: Horizon) -> i64 {
        horizon.ended.min(cursor.txid + self.width)
    }

    /// Where the cursor is when a page is through, and whether there is more below the horizon.
    pub(super) fn next(
        &mut self,
        cursor: Place,
        seen: &[Place],
        page: usize,
        below: i64,
        horizon: Horizon,
    ) -> (Place, bool) {
        if let Some(last) = seen.last().filter(|_| seen.len() >= page) {
            self.width = (self.width / 2).max(1);
            return (*last, true);
        }
        if cursor.txid == 0 {
            // The old rows are through.
            return (Place { txid: 1, saga: Uuid::nil(), seq: 0 }, true);
        }
        self.width = (self.width * 2).min(WIDEST);
        (cursor.max(Place::behind(below)), below < horizon.ended)
    }
}

/// Since when something waits.
#[derive(Debug, Default)]
pub(super) struct Behind {
    /// ms
    since: Option<i64>,
    /// The last horizon, and when it was seen first: what it hides is no older than that, about.
    horizon: (i64, i64),
    /// ms
    worked: Option<i64>,
}

impl Behind {
    /// A look at the table: the time of the newest row of the page, and whether there is more.
    pub(super) fn looked(&mut self, now: i64, newest: Option<i64>, more: bool, horizon: Horizon) {
        self.worked = Some(now);
        if self.horizon.0 != horizon.ended {
            self.horizon = (horizon.ended, now);
        }
        self.since = match (more, horizon.ended < horizon.next) {
            (true, _) => newest.or(self.since).or(Some(now)),
            (false, true) => Some(self.horizon.1),
            (false, false) => None,
        };
        self.show(now);
    }

    /// Another instance exports.
    pub(super) fn elsewhere(&mut self, now: i64) {
        *self = Behind::default();
        self.show(now);
    }

    /// Nothing was exported.
    pub(super) fn failed(&mut self, now: i64) {
        self.since.get_or_insert(self.worked.unwrap_or(now));
        self.show(now);
    }

    fn show(&self, now: i64) {
        metrics::gauge!("skald_audit_lag_seconds").set(self.ms(now) as f64 / 1000.0);
    }

    fn ms(&self, now: i64) -> i64 {
        self.since.map_or(0, |since| (now - since).max(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(txid: i64, seq: i32) -> Place {
        Place { txid, saga: Uuid::from_u128(7), seq }
    }

    fn until(ended: i64) -> Horizon {
        Horizon { ended, next: ended }
    }

    #[test]
    fn windows_follow_each_other_without_a_gap_up_to_the_horizon() {
        let (mut windows, mut cursor) = (Windows::default(), place(1, 0));
        let mut covered = 1;
        for _ in 0..100 {
            let below = windows.end(cursor, until(1_000_000));
            assert!(below >= covered && below <= 1_000_000);
            let (next, more) = windows.next(cursor, &[], 10, below, until(1_000_000));
            assert!(next >= cursor);
            (cursor, covered) = (next, below);
            if !more {
                assert_eq!((cursor, covered), (Place::behind(1_000_000), 1_000_000));
                return;
            }
        }
        panic!("wide windows pass what is empty in a few steps");
    }

    #[test]
    fn full_pages_make_windows_narrow_and_lead_on_from_their_last_row() {
        let mut windows = Windows::default();
        let mut cursor = place(50, 0);
        for n in 1..40 {
            let seen = [place(50, n), place(50, n + 1)];
            let below = windows.end(cursor, until(9_999));
            assert!(below > cursor.txid);
            let (next, more) = windows.next(cursor, &seen, 2, below, until(9_999));
            assert_eq!((next, more), (seen[1], true));
            cursor = next;
        }
        assert_eq!(windows.end(cursor, until(9_999)), 51);
        let (next, more) = windows.next(cursor, &[], 2, 51, until(9_999));
        assert_eq!((next, more), (Place::behind(51), true));
        assert_eq!(windows.end(next, until(9_999)), 52, "and so it gets out of one transaction");
    }

    #[test]
    fn behind_the_old_rows_every_transaction_counts() {
        let mut windows = Windows::default();
        let old = place(0, 3);
        assert_eq!(windows.next(place(0, 0), &[old], 1, 0, until(9)), (old, true));
        let (next, more) = windows.next(old, &[], 1, 0, until(9));
        assert!(more && next < Place { txid: 1, saga: Uuid::nil(), seq: 1 } && next.txid == 1);
    }

    #[test]
    fn the_horizon_hides_nothing_that_was_seen() {
        let mut windows = Windows::default();
        // A transaction runs for long: the cursor waits below it, and goes on when it has ended.
        let held = until(70);
        let below = windows.end(place(60, 1), held);
        let (cursor, more) = windows.next(place(60, 1), &[], 10, below, held);
        assert_eq!((cursor, more), (Place::behind(70), false));
        assert_eq!(windows.next(cursor, &[], 10, windows.end(cursor, held), held).0, cursor);
        assert!(cursor < place(70, 1), "whatever it writes lies behind the cursor");
    }

    #[test]
    fn it_tells_since_when_something_waits() {
        let mut behind = Behind::default();
        behind.looked(1_000, None, false, until(5));
        assert_eq!(behind.ms(1_500), 0);
        behind.looked(2_000, Some(700), true, until(6));
        assert_eq!(behind.ms(2_000), 1_300, "pages are full");
        let held = Horizon { ended: 7, next: 9 };
        behind.looked(3_000, None, false, held);
        behind.looked(8_000, None, false, held);
        assert_eq!(behind.ms(8_000), 5_000, "a transaction hides what came since");
        behind.looked(9_000, None, false, until(9));
        assert_eq!(behind.ms(9_000), 0);
        behind.failed(20_000);
        behind.failed(30_000);
        assert_eq!(behind.ms(30_000), 21_000, "since it worked last");
        behind.elsewhere(31_000);
        assert_eq!(behind.ms(31_000), 0);
    }
}
