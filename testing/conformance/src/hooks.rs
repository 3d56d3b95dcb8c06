//! How the participant is killed and started again: by functions of the caller's. Knows no process.

use std::{fmt, future::Future, pin::Pin, time::Duration};

/// A hook at work; ready when it is done.
pub type Doing = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;
/// Does it.
pub type Hook = Box<dyn FnMut() -> Doing + Send>;

/// Between the commands that are in flight while a person kills: hundreds of them last for a minute.
const PACE: Duration = Duration::from_millis(100);

/// Both, or none of them.
#[derive(Default)]
pub struct Hooks {
    pair: Option<(Hook, Hook)>,
    pace: Duration,
}

impl Hooks {
    /// `kill` ends the participant as `kill -9` does; `restart` starts it again.
    #[must_use]
    pub fn new(kill: Hook, restart: Hook) -> Self {
        Self { pair: Some((kill, restart)), pace: Duration::ZERO }
    }

    /// For a person, who is slow: work goes on for about a minute until the participant is killed.
    #[must_use]
    pub fn by_hand(self) -> Self {
        Self { pace: PACE, ..self }
    }

    pub(crate) fn pace(&self) -> Duration {
        self.pace
    }

    /// There are hooks.
    #[must_use]
    pub fn are_there(&self) -> bool {
        self.pair.is_some()
    }

    pub(crate) fn kill(&mut self) -> Result<Doing, String> {
        let (kill, _) = self.pair.as_mut().ok_or("there is no hook that kills")?;
        let killed = kill();
        Ok(Box::pin(async { killed.await.map_err(|e| format!("the hook that kills: {e}")) }))
    }

    pub(crate) async fn restart(&mut self) -> Result<(), String> {
        let (_, restart) = self.pair.as_mut().ok_or("there is no hook that restarts")?;
        restart().await.map_err(|e| format!("the hook that restarts: {e}"))
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("are_there", &self.are_there()).finish()
    }
}
