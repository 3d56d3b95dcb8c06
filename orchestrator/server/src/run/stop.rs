//! The soft stop, in the order that loses nothing.

use std::time::{Duration, Instant};

use skald_kit::lifecycle::{Shutdown, Tasks};

use crate::shared::Shared;

/// Of the time that a soft stop may take: when the rooms must have ended, then the workers, then the flushes; the rest
/// is the heart's.
const STOPPING: [f64; 3] = [0.5, 0.7, 0.9];

/// Takes nothing more, finishes what is in flight, flushes, leaves the group; the heart beats until the end. All of it
/// within the deadline, whoever holds on.
pub(super) async fn stop(
    shared: &Shared,
    deadline: Duration,
    [rooms, workers, heart]: [Tasks; 3],
    closing: &Shutdown,
    alive: &Shutdown,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let [rooms_end, workers_end, flush_end] = STOPPING.map(|share| deadline.mul_f64(share));
    let left = |end: Duration| end.saturating_sub(began.elapsed());
    shared.outcomes.drain();
    let ended = rooms.join(left(rooms_end)).await;
    // Whoever still holds an inbox gets nothing done any more.
    closing.request();
    let worked = workers.join(left(workers_end)).await;
    let flush = left(flush_end);
    let (delivered, events, ()) = tokio::join!(
        shared.transports.flush(flush),
        tokio::time::timeout(flush, shared.relay.close(flush)),
        shared.outcomes.close(flush)
    );
    if let Some(events) = events.ok().filter(|events| *events > 0) {
        tracing::warn!(events, "events were left; another instance or the next start publishes them");
    }
    if delivered && worked.is_ok() {
        alive.request();
        let beaten = heart.join(left(deadline)).await;
        ended.and(worked).and(beaten)?;
    } else {
        // The row stays, so that others, or the next start, see that it is gone and look at what it left.
        let _ = heart.join(Duration::ZERO).await;
        ended.and(worked)?;
    }
    Ok(())
}
