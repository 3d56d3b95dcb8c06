//! Named tasks of which none may fail in silence.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Running, Shutdown};

/// A set of named tasks. One that fails or panics requests the shutdown with its name and error.
#[derive(Debug, Clone)]
pub struct Tasks {
    shutdown: Shutdown,
    tracker: TaskTracker,
    mine: Arc<Running>,
    failed: Arc<Mutex<Vec<String>>>,
    abandon: CancellationToken,
}

/// What [`Tasks::join`] has to report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unclean {
    /// `name: error` of each task that failed or panicked.
    pub failed: Vec<String>,
    /// Names of the tasks that had not ended at the deadline; they were dropped where they stood.
    pub unfinished: Vec<String>,
}

impl fmt::Display for Unclean {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.failed.is_empty() {
            parts.push(format!("failed: {}", self.failed.join("; ")));
        }
        if !self.unfinished.is_empty() {
            parts.push(format!("did not end in time: {}", self.unfinished.join(", ")));
        }
        f.write_str(&parts.join(". "))
    }
}

impl std::error::Error for Unclean {}

impl Tasks {
    /// An empty set whose failures request `shutdown`.
    pub fn new(shutdown: &Shutdown) -> Self {
        Self {
            shutdown: shutdown.clone(),
            tracker: TaskTracker::new(),
            mine: Arc::default(),
            failed: Arc::default(),
            abandon: CancellationToken::new(),
        }
    }

    /// Starts `task`. Ending with `Ok` is fine at any time.
    pub fn spawn(
        &self,
        name: impl Into<String>,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let name = name.into();
        let entries = (self.mine.enter(&name), self.shutdown.running.enter(&name));
        let (shutdown, failed, abandon) =
            (self.shutdown.clone(), Arc::clone(&self.failed), self.abandon.clone());
        self.tracker.spawn(async move {
            let _entries = entries;
            let ended = tokio::select! {
                ended = AssertUnwindSafe(task).catch_unwind() => ended,
                () = abandon.cancelled() => return,
            };
            let error = match ended {
                Ok(Ok(())) => return,
                Ok(Err(error)) => format!("{error:#}"),
                Err(panic) => format!("panicked: {}", panic_text(&*panic)),
            };
            tracing::error!(task = name, error, "a task failed; stopping");
            let line = format!("{name}: {error}");
            failed.lock().unwrap_or_else(PoisonError::into_inner).push(line.clone());
            shutdown.request_because(line);
        });
    }

    /// Waits until all have ended, `deadline` at most, then drops those that have not.
    ///
    /// # Errors
    /// [`Unclean`]: what failed, what did not end.
    pub async fn join(&self, deadline: Duration) -> Result<(), Unclean> {
        self.tracker.close();
        let in_time = tokio::time::timeout(deadline, self.tracker.wait()).await.is_ok();
        let unfinished = if in_time { Vec::new() } else { self.mine.names() };
        self.abandon.cancel();
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if failed.is_empty() && unfinished.is_empty() { Ok(()) } else { Err(Unclean { failed, unfinished }) }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_clean_end_is_no_news() {
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(&shutdown);
        let asked = shutdown.clone();
        tasks.spawn("waits", async move {
            asked.requested().await;
            Ok(())
        });
        assert_eq!(shutdown.unfinished(), ["waits"]);
        shutdown.request();
        assert_eq!(tasks.join(LONG).await, Ok(()));
        assert!(shutdown.unfinished().is_empty());
    }

    #[tokio::test]
    async fn a_failure_stops_everything_and_is_named() {
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(&shutdown.child());
        tasks.spawn("bad", async { anyhow::bail!("no luck") });
        tasks.spawn("worse", async { panic!("at the {}", "disco") });
        let unclean = tasks.join(LONG).await.unwrap_err();
        let mut failed = unclean.failed.clone();
        failed.sort();
        assert_eq!(failed, ["bad: no luck", "worse: panicked: at the disco"]);
        assert!(!shutdown.is_requested(), "only the child was given to the tasks");
    }

    #[tokio::test]
    async fn what_does_not_end_is_named_and_dropped() {
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(&shutdown);
        tasks.spawn("stubborn", std::future::pending());
        let unclean = tasks.join(Duration::from_millis(10)).await.unwrap_err();
        assert_eq!(unclean, Unclean { failed: vec![], unfinished: vec!["stubborn".to_owned()] });
        assert_eq!(tasks.join(LONG).await, Ok(()));
    }

    #[tokio::test]
    async fn the_first_reason_stays() {
        let shutdown = Shutdown::new();
        shutdown.request_because("first");
        shutdown.request_because("second");
        assert_eq!(shutdown.reason(), Some("first"));
        assert!(shutdown.child().is_requested());
    }
}
