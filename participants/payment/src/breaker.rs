//! The circuit breaker as a pure state machine: time comes in as a parameter, nothing is sent from here.
//!
//! Closed → (too many failures) → open → (after a while, one probe) → half-open → (the probe succeeded) → ramp → closed.
//! While it ramps the number of calls under way grows from one to all, so that a gateway that has just come back is not
//! run over by everything that waited. What opens it ends the ramp too, and nothing less: a gateway of whose calls some always
//! fail would else never be called again. See Nygard, *Release It!*, "Circuit Breaker", for the first three states.

use std::time::Duration;

/// When it opens, and how it closes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// That many failures with no success between them open it.
    pub consecutive_failures: u32,
    /// So many of a hundred calls of one window open it …
    pub error_rate_percent: u32,
    /// … when the window had at least this many.
    pub min_calls: u32,
    /// Length of a window.
    pub window: Duration,
    /// How long it stays open the first time; twice as long each time that a probe or the ramp fails.
    pub open: Duration,
    /// The longest that it stays open.
    pub max_open: Duration,
    /// How long the ramp takes.
    pub ramp: Duration,
    /// Calls under way at once when the ramp ends.
    pub ramp_to: u32,
}

/// Where it stands. The numbers are those of the metric `payment_breaker_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// All calls pass.
    Closed = 0,
    /// No call passes.
    Open = 1,
    /// One call passes and decides.
    HalfOpen = 2,
    /// More and more calls pass.
    Ramp = 3,
}

/// Says that a call may be made; belongs into [`Breaker::record`] when it ended.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit that is not recorded leaks a place"]
pub struct Permit {
    period: u64,
}

/// No call now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Asking earlier is in vain.
    pub retry_after: Duration,
}

/// While a probe or a full ramp is waited for, nobody knows when it ends.
const BUSY: Duration = Duration::from_millis(200);

/// The state machine. `now` is time since any fixed moment and must not go back.
#[derive(Clone, Debug)]
pub struct Breaker {
    settings: Settings,
    state: State,
    /// Counts the states that it was in: an answer to a call from before the last change changes nothing.
    period: u64,
    since: Duration,
    /// Under way in this period.
    in_flight: u32,
    consecutive: u32,
    window_start: Duration,
    calls: u32,
    failures: u32,
    /// How long it stays open this time.
    open_for: Duration,
    /// Since when not all calls pass; `None` while it is closed.
    troubled_since: Option<Duration>,
}

impl Breaker {
    /// Closed.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            state: State::Closed,
            period: 0,
            since: Duration::ZERO,
            in_flight: 0,
            consecutive: 0,
            window_start: Duration::ZERO,
            calls: 0,
            failures: 0,
            open_for: settings.open,
            troubled_since: None,
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Since when it stands there.
    #[must_use]
    pub fn since(&self) -> Duration {
        self.since
    }

    /// For how long not all calls pass; zero while it is closed.
    #[must_use]
    pub fn troubled_for(&self, now: Duration) -> Duration {
        self.troubled_since.map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }

    /// Lets time pass: a ramp that is over closes. The other states wait for a call.
    pub fn tick(&mut self, now: Duration) {
        if self.state == State::Ramp && now >= self.since + self.settings.ramp {
            self.open_for = self.settings.open;
            self.enter(State::Closed, now);
        }
    }

    /// Asks for a place.
    ///
    /// # Errors
    /// When no call may be made now.
    pub fn admit(&mut self, now: Duration) -> Result<Permit, Refused> {
        self.tick(now);
        match self.state {
            State::Closed => {}
            State::Open => {
                let until = self.since + self.open_for;
                if now < until {
                    return Err(Refused { retry_after: until - now });
                }
                self.enter(State::HalfOpen, now);
            }
            State::HalfOpen if self.in_flight > 0 => return Err(Refused { retry_after: BUSY }),
            State::HalfOpen => {}
            State::Ramp if self.in_flight >= self.ramp_limit(now) => {
                return Err(Refused { retry_after: BUSY });
            }
            State::Ramp => {}
        }
        self.in_flight += 1;
        Ok(Permit { period: self.period })
    }

    /// A call ended; `success` means that the gateway answered, a decline included.
    pub fn record(&mut self, permit: Permit, success: bool, now: Duration) {
        if permit.period != self.period {
            return;
        }
        self.in_flight = self.in_flight.saturating_sub(1);
        match (self.state, success) {
            (State::Closed, _) => {
                if self.is_too_much(success, now) {
                    self.enter(State::Open, now);
                }
            }
            (State::HalfOpen, true) => self.enter(State::Ramp, now),
            (State::HalfOpen, false) => self.open_for_longer(now),
            (State::Ramp, _) => match self.is_too_much(success, now) {
                true => self.open_for_longer(now),
                false => self.tick(now),
            },
            // Nothing is under way in this period.
            (State::Open, _) => {}
        }
    }

    /// A call ended of which nothing can be learned: it was never sent.
    pub fn cancel(&mut self, permit: &Permit) {
        if permit.period == self.period {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
    }

    fn open_for_longer(&mut self, now: Duration) {
        self.open_for = (self.open_for * 2).min(self.settings.max_open);
        self.enter(State::Open, now);
    }

    /// Counts a call; true when too many have failed now.
    fn is_too_much(&mut self, success: bool, now: Duration) -> bool {
        if now >= self.window_start + self.settings.window {
            self.window_start = now;
            self.calls = 0;
            self.failures = 0;
        }
        self.calls += 1;
        if success {
            self.consecutive = 0;
            return false;
        }
        self.failures += 1;
        self.consecutive += 1;
        let many = self.consecutive >= self.settings.consecutive_failures;
        let rate = u64::from(self.failures) * 100
            >= u64::from(self.calls) * u64::from(self.settings.error_rate_percent);
        many || (rate && self.calls >= self.settings.min_calls)
    }

    /// Grows from one to all over the ramp.
    fn ramp_limit(&self, now: Duration) -> u32 {
        let elapsed = now.saturating_sub(self.since).as_millis();
        let whole = self.settings.ramp.as_millis().max(1);
        let grown = u128::from(self.settings.ramp_to) * elapsed / whole;
        u32::try_from(grown).unwrap_or(u32::MAX).clamp(1, self.settings.ramp_to.max(1))
    }

    fn enter(&mut self, state: State, now: Duration) {
        self.troubled_since = match state {
            State::Closed => None,
            _ => self.troubled_since.or(Some(now)),
        };
        self.state = state;
        self.since = now;
        self.period += 1;
        self.in_flight = 0;
        self.consecutive = 0;
        self.window_start = now;
        self.calls = 0;
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests;
