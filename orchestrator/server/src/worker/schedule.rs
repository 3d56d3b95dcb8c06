//! When a saga is looked at next: exactly, in this worker's memory, and coarsely, in the table. Pure.

/// The grid of `wake_at`, ms: the net only has to catch what died, so it may be late, and a saga that is done sooner
/// never moves it.
const GRID_MS: i64 = 10_000;
/// `wake_at` lies at least so far behind the exact time, ms: the memory of the worker that is alive comes first.
const SLACK_MS: i64 = 5_000;

/// The exact time: the next deadline, or the end of the gap since commands were sent.
pub fn next_look(deadline: Option<i64>, sent: Option<i64>) -> Option<i64> {
    [deadline, sent].into_iter().flatten().min()
}

/// The column: the present value as long as it is not too late (an early look does no harm), else the next point of the
/// grid behind the exact time.
pub fn wake_at(present: Option<i64>, next: i64, now: i64) -> i64 {
    let net = (next.max(now) + SLACK_MS).div_euclid(GRID_MS) * GRID_MS + GRID_MS;
    match present {
        Some(present) if present > now && present <= net => present,
        _ => net,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_saga_never_moves_it() {
        let started = wake_at(None, 2_000, 0);
        assert_eq!(started, 10_000);
        for now in (0..9_000).step_by(100) {
            assert_eq!(wake_at(Some(started), now + 2_000, now), started);
        }
    }

    #[test]
    fn it_is_never_before_the_exact_time_unless_it_was_and_never_passed() {
        for next in [0, 1, 4_999, 5_000, 9_999, 123_456] {
            let net = wake_at(None, next, 0);
            assert!(net > next && net <= next + GRID_MS + SLACK_MS);
        }
        assert_eq!(wake_at(Some(5_000), 7_000, 5_000), 20_000, "one that has passed moves on");
        assert_eq!(wake_at(Some(1_000_000), 7_000, 5_000), 20_000, "one that is too late moves back");
    }

    #[test]
    fn whatever_comes_first() {
        assert_eq!(next_look(Some(5), Some(3)), Some(3));
        assert_eq!(next_look(None, Some(3)), Some(3));
        assert_eq!(next_look(None, None), None);
    }
}
