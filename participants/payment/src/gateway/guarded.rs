//! A gateway behind a circuit breaker: counts what came of each call, tells metrics and health where the breaker stands.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Answer, Charge, Fault, Gateway, Kind, Refund};
use crate::breaker::{Breaker, Permit, Settings, State};

type Listener = Box<dyn Fn(State) + Send + Sync>;

/// The gateway and its breaker; clones share both.
pub struct Guarded<G> {
    inner: Arc<Inner<G>>,
}

struct Inner<G> {
    gateway: G,
    breaker: Mutex<Breaker>,
    start: Instant,
    listener: Listener,
}

impl<G> Clone for Guarded<G> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<G> std::fmt::Debug for Guarded<G> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guarded").field("state", &self.state()).finish_non_exhaustive()
    }
}

impl<G> Guarded<G> {
    /// Closed; `listener` hears each change of state, and must not block.
    pub fn new(gateway: G, settings: Settings, listener: impl Fn(State) + Send + Sync + 'static) -> Self {
        metrics::gauge!("payment_breaker_state").set(f64::from(State::Closed as u8));
        Self {
            inner: Arc::new(Inner {
                gateway,
                breaker: Mutex::new(Breaker::new(settings)),
                start: Instant::now(),
                listener: Box::new(listener),
            }),
        }
    }

    /// Where the breaker stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.inner.breaker.lock().unwrap_or_else(PoisonError::into_inner).state()
    }

    /// Lets time pass, so that a ramp that is over closes without a call.
    pub fn tick(&self) {
        self.inner.with(Breaker::tick);
    }
}

impl<G> Inner<G> {
    /// Changes the breaker and tells when its state changed.
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
            (self.listener)(after);
        }
        result
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

    fn key_lifetime(&self) -> Duration {
        self.inner.gateway.key_lifetime()
    }
}
