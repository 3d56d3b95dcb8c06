//! Calls the outside world for committed intents, bounded in number and time. What a result means is settled elsewhere.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{Deadline, Intent, resolve::How};
use crate::{
    service::{CallResult, Domain, Service},
    shared::Shared,
};

/// How the work on an intent ended, for the settler.
pub(crate) struct Ended {
    pub(crate) intent: Intent,
    pub(crate) how: How,
    /// Given back when it is settled, so that results can't pile up.
    place: OwnedSemaphorePermit,
}

impl Ended {
    /// The place last: keep it until the rest is settled.
    pub(crate) fn parts(self) -> (Intent, How, OwnedSemaphorePermit) {
        (self.intent, self.how, self.place)
    }
}

/// Starts calls; clones share the bounds. When the last one is gone and all calls have ended, the settler ends.
pub(crate) struct Caller<S> {
    shared: Arc<Shared<S>>,
    places: Arc<Semaphore>,
    running: Arc<Semaphore>,
    ended: mpsc::UnboundedSender<Ended>,
    /// Intents that got no place wait in the table: the sweeper wants to hear of each place that becomes free.
    backlog: Arc<AtomicBool>,
}

impl<S> Clone for Caller<S> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            places: Arc::clone(&self.places),
            running: Arc::clone(&self.running),
            ended: self.ended.clone(),
            backlog: Arc::clone(&self.backlog),
        }
    }
}

/// Places for calls, reserved before the transaction that commits to them. The deadline counts from here: what is written down
/// later can't be older.
pub(crate) struct Begin<S> {
    caller: Caller<S>,
    place: Option<OwnedSemaphorePermit>,
    deadline: Deadline,
}

impl<S: Service> Caller<S> {
    pub(crate) fn new(shared: Arc<Shared<S>>) -> (Self, mpsc::UnboundedReceiver<Ended>, Arc<AtomicBool>) {
        // bounded by the places
        let (ended, results) = mpsc::unbounded_channel();
        let backlog = Arc::new(AtomicBool::new(false));
        let places = Arc::new(Semaphore::new(shared.calls.queue()));
        let running = Arc::new(Semaphore::new(shared.calls.concurrency as usize));
        let caller = Self { shared, places, running, ended, backlog: Arc::clone(&backlog) };
        (caller, results, backlog)
    }

    /// Reserves up to `wanted` places.
    pub(crate) fn reserve(&self, wanted: usize) -> Begin<S> {
        let deadline = self.deadline(Duration::ZERO);
        let place = (0..=wanted.min(self.places.available_permits())).rev().find_map(|n| {
            let n = u32::try_from(n).ok().filter(|n| *n > 0)?;
            Arc::clone(&self.places).try_acquire_many_owned(n).ok()
        });
        Begin { caller: self.clone(), place, deadline }
    }

    /// Places that are free now.
    pub(crate) fn free(&self) -> usize {
        self.places.available_permits()
    }

    /// Whether intents wait in the table for a place.
    pub(crate) fn set_backlog(&self, waiting: bool) {
        self.backlog.store(waiting, Ordering::Release);
    }

    /// Until when something may be sent with a key of that age.
    pub(crate) fn deadline(&self, age: Duration) -> Deadline {
        let margin = Duration::from_secs(self.shared.calls.key_margin_seconds);
        let lifetime = self.shared.service.key_lifetime();
        Deadline::after(lifetime.saturating_sub(margin).saturating_sub(age))
    }

    fn start(
        &self,
        intent: Intent,
        call: <S::Domain as Domain>::Call,
        deadline: Deadline,
        place: OwnedSemaphorePermit,
    ) {
        let Self { shared, running, ended, .. } = self.clone();
        tokio::spawn(async move {
            let result = tokio::select! {
                permit = running.acquire_owned() => match permit {
                    Ok(_permit) => bounded(&shared, &intent, call, deadline).await,
                    Err(_) => NOT_SENT,
                },
                () = shared.shutdown.requested() => NOT_SENT,
            };
            // without a settler the process ends; the sweeper finds the intent again
            let _ = ended.send(Ended { intent, how: How::Called(result), place });
        });
    }
}

/// It got no turn before the participant stops: whoever comes next begins at once.
const NOT_SENT: CallResult = CallResult::NotSent { retry_after: Some(Duration::ZERO) };

/// The call, cut off at its timeout and some time after a stop was asked for. What was cut off may have arrived.
async fn bounded<S: Service>(
    shared: &Shared<S>,
    intent: &Intent,
    call: <S::Domain as Domain>::Call,
    deadline: Deadline,
) -> CallResult {
    let unknown = |retry_after| CallResult::Unknown { retry_after };
    let running = metrics::gauge!("skald_participant_calls_running");
    running.increment(1.0);
    let called = AssertUnwindSafe(shared.service.call(intent, &call, deadline)).catch_unwind();
    let result = tokio::select! {
        called = called => called.unwrap_or_else(|_| {
            tracing::error!("a call panicked; what became of it will be searched for");
            unknown(None)
        }),
        () = tokio::time::sleep(shared.calls.timeout()) => unknown(None),
        () = shared.cut.requested() => unknown(Some(Duration::ZERO)),
    };
    running.decrement(1.0);
    result
}

impl<S: Service> Begin<S> {
    /// How many there are.
    pub(crate) fn places(&self) -> usize {
        self.place.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// Begins the call of an intent whose key is written down by the transaction that was just committed.
    pub(crate) fn call(&mut self, intent: Intent, call: <S::Domain as Domain>::Call) {
        self.call_until(intent, call, self.deadline);
    }

    /// Begins the call of an intent whose key was written down before.
    pub(crate) fn call_until(
        &mut self,
        intent: Intent,
        call: <S::Domain as Domain>::Call,
        deadline: Deadline,
    ) {
        if let Some(place) = self.split() {
            self.caller.start(intent, call, deadline, place);
        }
    }

    /// Hands an intent to the settler that needs no call.
    pub(crate) fn nothing_to_undo(&mut self, intent: Intent) {
        if let Some(place) = self.split() {
            let _ = self.caller.ended.send(Ended { intent, how: How::NothingToUndo, place });
        }
    }

    fn split(&mut self) -> Option<OwnedSemaphorePermit> {
        let place = self.place.as_mut().and_then(|place| place.split(1));
        if place.is_none() {
            tracing::error!("more calls than places; the sweeper takes it up");
        }
        place
    }
}

/// An intent for which the domain has no call: a row is missing, a person must look.
pub(crate) fn no_call(intent: &Intent) {
    metrics::counter!("skald_participant_alarms_total", "alarm" => "intent_without_call").increment(1);
    tracing::error!(saga = %intent.key.saga, "an open intent has no row in the domain; it can't be called");
}
