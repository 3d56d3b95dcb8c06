//! A gateway behind a circuit breaker: counts what came of each call, tells metrics and health where the breaker stands.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use skald_kit::health::{Health, Status};

use super::{Answer, Charge, Fault, Gateway, Kind, Record, Refund};
use crate::breaker::{Breaker, Permit, Settings, State};

/// Its name in health.
const DEPENDENCY: &str = "gateway";
/// How often the breaker and health are told the time.
const TICK: Duration = Duration::from_millis(500);

/// The gateway and its breaker; clones share both.
pub struct Guarded<G> {
    inner: Arc<Inner<G>>,
}

struct Inner<G> {
    gateway: G,
    breaker: Mutex<Breaker>,
    start: Instant,
    health: Health,
}

impl<G> Clone for Guarded<G> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<G> std::fmt::Debug for Guarded<G> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.inner.breaker.lock().unwrap_or_else(PoisonError::into_inner).state();
        f.debug_struct("Guarded").field("state", &state).finish_non_exhaustive()
    }
}

impl<G: Gateway> Guarded<G> {
    /// Closed. Time passes in a task that ends with the last clone.
    pub fn new(gateway: G, settings: Settings, health: Health) -> Self {
        metrics::gauge!("payment_breaker_state").set(f64::from(State::Closed as u8));
        health.set(DEPENDENCY, Status::Up, "");
        let breaker = Mutex::new(Breaker::new(settings));
        let inner = Arc::new(Inner { gateway, breaker, start: Instant::now(), health });
        tokio::spawn(tick(Arc::downgrade(&inner)));
        Self { inner }
    }
}

impl<G> Guarded<G> {
    /// Where the breaker stands, and for how long.
    pub fn standing(&self) -> (State, Duration) {
        let now = self.inner.start.elapsed();
        let breaker = self.inner.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        (breaker.state(), now.saturating_sub(breaker.since()))
    }
}

/// A ramp that is over closes without a call, and health says for how long the gateway has been missing.
async fn tick<G>(inner: Weak<Inner<G>>) {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        ticks.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        inner.with(Breaker::tick);
    }
}

impl<G> Inner<G> {
    /// Changes the breaker and tells where it stands.
    fn with<T>(&self, change: impl FnOnce(&mut Breaker, Duration) -> T) -> T {
        let now = self.start.elapsed();
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let before = breaker.state();
        let result = change(&mut breaker, now);
        let after = breaker.state();
        // Told under the lock: in the order in which it happened.
        if before != after {
            metrics::gauge!("payment_breaker_state").set(f64::from(after as u8));
            tracing::warn!(?before, ?after, "the gateway's circuit breaker changed");
        }
        if before != after || after != State::Closed {
            self.tell(after, breaker.troubled_for(now));
        }
        result
    }

    fn tell(&self, state: State, troubled: Duration) {
        let seconds = troubled.as_secs();
        let (status, detail) = match state {
            State::Closed => (Status::Up, String::new()),
            State::Open | State::HalfOpen => (
                Status::Degraded,
                format!("no calls for {seconds} s: the circuit breaker is open; intents wait"),
            ),
            State::Ramp => {
                (Status::Degraded, format!("back after {seconds} s of trouble: calls grow from few to all"))
            }
        };
        self.health.set(DEPENDENCY, status, detail);
    }
}

/// Records a failure when the call is dropped before it ended: its time was over.
struct Place<'a, G> {
    inner: &'a Inner<G>,
    permit: Option<Permit>,
}

impl<G> Place<'_, G> {
    fn record(&mut self, success: bool) {
        if let Some(permit) = self.permit.take() {
            self.inner.with(|breaker, now| breaker.record(permit, success, now));
        }
    }

    fn cancel(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.inner.with(|breaker, _| breaker.cancel(&permit));
        }
    }
}

impl<G> Drop for Place<'_, G> {
    fn drop(&mut self) {
        self.record(false);
    }
}

impl<G: Gateway> Guarded<G> {
    async fn call<T>(
        &self,
        kind: &'static str,
        call: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<T, Fault> {
        let inner = &*self.inner;
        let permit =
            inner.with(Breaker::admit).map_err(|refused| Fault::Open { retry_after: refused.retry_after })?;
        let mut place = Place { inner, permit: Some(permit) };
        let began = Instant::now();
        let answer = call.await;
        match &answer {
            Ok(_) => place.record(true),
            Err(Fault::Unavailable | Fault::Lost) => place.record(false),
            // Says nothing about the gateway.
            Err(Fault::TooLate | Fault::Open { .. }) => place.cancel(),
        }
        let result = match &answer {
            Ok(_) => "answered",
            Err(Fault::Unavailable) => "unavailable",
            Err(Fault::Lost) => "lost",
            Err(Fault::TooLate | Fault::Open { .. }) => "not_sent",
        };
        metrics::counter!("payment_gateway_calls_total", "kind" => kind, "result" => result).increment(1);
        metrics::histogram!("payment_gateway_call_seconds", "kind" => kind)
            .record(began.elapsed().as_secs_f64());
        answer
    }
}

impl<G: Gateway> Gateway for Guarded<G> {
    async fn charge(&self, charge: &Charge) -> Result<Answer, Fault> {
        self.call("charge", self.inner.gateway.charge(charge)).await
    }

    async fn refund(&self, refund: &Refund) -> Result<Answer, Fault> {
        self.call("refund", self.inner.gateway.refund(refund)).await
    }

    async fn find(&self, kind: Kind, our_ref: &str, key: &str) -> Result<Option<Answer>, Fault> {
        self.call("find", self.inner.gateway.find(kind, our_ref, key)).await
    }

    async fn records(&self, after: (i64, &str), until: i64, limit: i64) -> Result<Vec<Record>, Fault> {
        self.call("records", self.inner.gateway.records(after, until, limit)).await
    }

    fn key_lifetime(&self) -> Duration {
        self.inner.gateway.key_lifetime()
    }
}
