//! Waiting for something to become true: polls with a deadline, never a plain sleep.

use std::fmt::Debug;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(25);

/// What a question may answer: an `Option` or a `Result`. `Some` and `Ok` end the waiting.
pub trait Answer {
    /// What is inside `Some` or `Ok`.
    type Value;
    /// The value, or a text for the one who reads the failure.
    ///
    /// # Errors
    /// The text, when it is not time yet.
    fn answer(self) -> Result<Self::Value, String>;
}

impl<T> Answer for Option<T> {
    type Value = T;
    fn answer(self) -> Result<T, String> {
        self.ok_or_else(|| "None".into())
    }
}

impl<T, E: Debug> Answer for Result<T, E> {
    type Value = T;
    fn answer(self) -> Result<T, String> {
        self.map_err(|error| format!("{error:?}"))
    }
}

/// Asks every 25 ms until the answer is `Some` or `Ok`, and gives what is in it.
///
/// # Panics
/// When the deadline is over, with `what` was waited for and the last answer. A question that hangs is cut
/// off at the deadline too.
#[track_caller]
pub fn eventually<A: Answer>(
    what: &str,
    deadline: Duration,
    mut ask: impl AsyncFnMut() -> A,
) -> impl Future<Output = A::Value> {
    // The caller's line, which an `async fn` would lose.
    let place = std::panic::Location::caller();
    async move {
        let start = Instant::now();
        let mut last = String::from("no answer");
        loop {
            let left = deadline.saturating_sub(start.elapsed());
            match tokio::time::timeout(left.max(POLL), ask()).await {
                Ok(answer) => match answer.answer() {
                    Ok(value) => return value,
                    Err(text) => last = text,
                },
                Err(_) => last = format!("the question hung; before that: {last}"),
            }
            assert!(
                start.elapsed() < deadline,
                "{place}: waited {deadline:?} for {what}; last answer: {last}"
            );
            tokio::time::sleep(POLL).await;
        }
    }
}
