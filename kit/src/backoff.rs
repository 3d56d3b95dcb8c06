//! Trying again until it works or the process stops. A thin wrapper over `backon` (`backoff`, the better
//! known crate, is unmaintained: RUSTSEC-2025-0012).

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};

use crate::lifecycle::Shutdown;

/// The first gap.
const FIRST: Duration = Duration::from_millis(50);
/// The longest gap: what was away for hours is found within this.
const LONGEST: Duration = Duration::from_secs(5);

/// Gaps that double from 50 ms to 5 s, with jitter, without an end.
pub fn gaps() -> impl Iterator<Item = Duration> + Send {
    gaps_within(LONGEST)
}

fn gaps_within(longest: Duration) -> impl Iterator<Item = Duration> + Send {
    ExponentialBuilder::default()
        .with_min_delay(FIRST)
        .with_max_delay(longest)
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build()
}

/// Calls `attempt` until it succeeds. `None` when the stop was asked for first.
///
/// `what` completes the log line "cannot …": `forever("connect to PostgreSQL", …)`. A warning is written for
/// the first failure and then for each tenth, so that a long outage does not fill the log.
pub async fn forever<T, E, F, Fut>(what: &str, shutdown: &Shutdown, attempt: F) -> Option<T>
where
    E: Display,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    forever_within(LONGEST, what, shutdown, attempt).await
}

/// The same with gaps of at most `longest`, and as much again of jitter.
pub async fn forever_within<T, E, F, Fut>(
    longest: Duration,
    what: &str,
    shutdown: &Shutdown,
    mut attempt: F,
) -> Option<T>
where
    E: Display,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let mut gaps = gaps_within(longest);
    let mut failures = 0_u32;
    loop {
        let result = tokio::select! {
            result = attempt() => result,
            () = shutdown.requested() => return None,
        };
        match result {
            Ok(value) => return Some(value),
            Err(error) => {
                failures += 1;
                if failures % 10 == 1 {
                    tracing::warn!(failures, "cannot {what}: {error:#}; trying again");
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(gaps.next().unwrap_or(longest)) => {}
            () = shutdown.requested() => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tries_until_it_works() {
        let mut left = 2;
        let shutdown = Shutdown::new();
        let result = forever("test", &shutdown, || {
            left -= 1;
            let now = left;
            async move { if now == 0 { Ok("done") } else { Err("not yet") } }
        });
        assert_eq!(result.await, Some("done"));
    }

    #[tokio::test]
    async fn a_stop_ends_it() {
        let shutdown = Shutdown::new();
        shutdown.request();
        let never = forever("test", &shutdown, || async { Err::<(), _>("never") });
        assert_eq!(never.await, None);
    }

    #[test]
    fn gaps_grow_to_their_bound() {
        let gaps: Vec<_> = gaps().take(40).collect();
        assert!(gaps[0] >= FIRST && gaps[0] <= FIRST * 2);
        assert!(gaps.iter().all(|gap| *gap <= LONGEST * 2), "{gaps:?}");
        assert!(gaps[39] >= LONGEST);
    }
}
