//! So many per second: what an outage held back goes out at a pace, so that whoever returns meets no stampede. A plain data structure
//! without a clock.

/// A bucket that fills by time; it holds a second's worth at most.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: f64,
    tokens: f64,
    /// ms
    filled_at: Option<i64>,
}

impl Pace {
    /// Full.
    pub(super) fn new(per_second: f64) -> Pace {
        Pace { per_second, tokens: per_second.max(1.0), filled_at: None }
    }

    /// Takes one, if there is one; `now` in ms.
    pub(super) fn take(&mut self, now: i64) -> bool {
        let since = self.filled_at.replace(now).unwrap_or(now);
        let passed = (now - since).max(0) as f64 / 1000.0;
        self.tokens = (self.tokens + passed * self.per_second).min(self.per_second.max(1.0));
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_s_worth_at_once_and_then_so_many_per_second() {
        let mut pace = Pace::new(10.0);
        let taken = |pace: &mut Pace, from: i64, to: i64| (from..to).filter(|ms| pace.take(*ms)).count();
        assert_eq!((0..100).filter(|_| pace.take(0)).count(), 10);
        assert!((48..=50).contains(&taken(&mut pace, 1, 5_000)));
        // A quiet night saves up no more.
        assert_eq!((0..100).filter(|_| pace.take(1_000_000)).count(), 10);
        // A clock that was set back gives nothing.
        assert!(!pace.take(5));
    }
}
