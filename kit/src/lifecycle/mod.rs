//! How a process stops: softly when asked, hard when it takes too long. Knows no task's work.

mod tasks;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

pub use tasks::{Tasks, Unclean};

/// The wish that all stops. Clones share it; a [`child`](Self::child) can be asked alone.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
    reason: Arc<OnceLock<String>>,
    running: Arc<Running>,
}

impl Shutdown {
    /// A wish that nobody has yet, and no signal expresses.
    pub fn new() -> Self {
        Self::default()
    }

    /// Follows SIGTERM and SIGINT: the first asks softly; a second one, or `deadline` after the first wish
    /// (also one that a failed task expressed), ends the process at once with code 1 and a line that says
    /// what had not ended.
    ///
    /// # Errors
    /// The handlers could not be installed.
    pub fn on_signals(deadline: Duration) -> std::io::Result<Self> {
        let shutdown = Self::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let watched = shutdown.clone();
        tokio::spawn(async move {
            let asked = tokio::select! {
                _ = terminate.recv() => Some("SIGTERM"),
                _ = interrupt.recv() => Some("SIGINT"),
                () = watched.token.cancelled() => None,
            };
            if let Some(signal) = asked {
                tracing::info!(
                    signal,
                    deadline_seconds = deadline.as_secs(),
                    "stopping; a second signal ends at once"
                );
                watched.request_because(signal);
            }
            let why = tokio::select! {
                _ = terminate.recv() => "a second signal".to_owned(),
                _ = interrupt.recv() => "a second signal".to_owned(),
                () = tokio::time::sleep(deadline) => format!("{} s passed", deadline.as_secs_f32()),
            };
            exit(&why, &watched.unfinished());
        });
        Ok(shutdown)
    }

    /// Completes when the stop was asked for.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// The stop was asked for.
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Asks for the stop.
    pub fn request(&self) {
        self.token.cancel();
    }

    /// Asks for the stop and remembers why; the first reason stays.
    pub fn request_because(&self, reason: impl Into<String>) {
        let _ = self.reason.set(reason.into());
        self.token.cancel();
    }

    /// Why the stop was asked for, if a reason was given.
    pub fn reason(&self) -> Option<&str> {
        self.reason.get().map(String::as_str)
    }

    /// A wish that follows this one but can be expressed alone.
    pub fn child(&self) -> Self {
        Self {
            token: self.token.child_token(),
            reason: Arc::new(OnceLock::new()),
            running: Arc::clone(&self.running),
        }
    }

    /// Names of the tasks that run now, those of children included.
    pub fn unfinished(&self) -> Vec<String> {
        self.running.names()
    }
}

fn exit(why: &str, unfinished: &[String]) -> ! {
    let left =
        if unfinished.is_empty() { "nothing that has a name".to_owned() } else { unfinished.join(", ") };
    if tracing::dispatcher::has_been_set() {
        tracing::error!("{why}: ending at once; had not ended: {left}");
    } else {
        eprintln!("{why}: ending at once; had not ended: {left}");
    }
    std::process::exit(1);
}

/// The named tasks of a process that have not ended.
#[derive(Debug, Default)]
struct Running {
    next: AtomicU64,
    names: Mutex<BTreeMap<u64, String>>,
}

impl Running {
    fn enter(self: &Arc<Self>, name: &str) -> Entry {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(id, name.to_owned());
        Entry { running: Arc::clone(self), id }
    }

    fn names(&self) -> Vec<String> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

struct Entry {
    running: Arc<Running>,
    id: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.running.names.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}
