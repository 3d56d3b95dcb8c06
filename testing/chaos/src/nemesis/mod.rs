//! The nemesis: which fault when, drawn from the seed; each measured from the moment at which it was healed.

mod acts;
mod fault;
mod groups;

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{
    clients::Clients,
    flight::Flight,
    rng::Rng,
    world::{World, service::Who},
};
pub(crate) use fault::Fault;
use fault::{Between, all};

/// An order that nothing stands in the way of gets so long after a fault was healed.
const SERVED: Duration = Duration::from_secs(120);
/// Everything that was under way gets so long.
const CAUGHT_UP: Duration = Duration::from_secs(180);
/// Of a hundred faults, so many come together with another one …
const TOGETHER: usize = 25;
/// … and so many are followed by the next one before all is well again.
const NO_REST: usize = 25;

/// One fault, as it went.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) fault: Fault,
    /// Seconds after the begin of the run.
    pub(crate) at: f64,
    /// To whom.
    pub(crate) to: String,
    /// As [`acts::Done`] has it.
    pub(crate) effect: u64,
    /// Sagas under way when it began; None = PostgreSQL was away.
    pub(crate) in_flight: Option<i64>,
    /// From its begin to its healing.
    pub(crate) lasted: Duration,
    pub(crate) recovery: Recovery,
}

/// How all became well again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recovery {
    /// The next fault came before.
    NotAwaited,
    Measured {
        /// Until an order that was placed when it was healed was COMPLETED. None: not within two minutes.
        served: Option<Duration>,
        /// Until all had ended that was under way when it was healed. None: not within three minutes.
        caught_up: Option<Duration>,
    },
}

/// Every kind of fault.
pub(crate) fn names() -> Vec<String> {
    all().iter().map(Fault::to_string).collect()
}

/// Which faults a world can have.
pub(crate) fn possible(world: &World, only: &[Fault]) -> Vec<Fault> {
    let has = |fault: &Fault| match fault {
        Fault::FillDisk | Fault::SlowDisk => world.disk.is_some(),
        Fault::Wire(_, Between::Peers) => !world.grpc.is_empty(),
        Fault::ResetOffsets => world.grpc.len() < Who::ALL.len(),
        _ => true,
    };
    all().into_iter().filter(|fault| has(fault) && (only.is_empty() || only.contains(fault))).collect()
}

/// Which faults a run has.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    /// Only these; none = all.
    pub(crate) only: Vec<Fault>,
    /// This one before all others.
    pub(crate) first: Option<Fault>,
}

/// Does faults until the time is over, each kind before any comes again. `tell` hears of each.
///
/// # Errors
/// The world does not do what it is told.
pub(crate) async fn rage(
    world: &World,
    clients: &Clients,
    flight: &Flight,
    mut rng: Rng,
    (begin, time, choice): (Instant, Duration, &Choice),
    mut tell: impl FnMut(&Entry),
) -> Result<Vec<Entry>> {
    let (mut entries, mut deck) = (Vec::new(), Vec::new());
    while begin.elapsed() < time {
        if deck.is_empty() {
            deck = possible(world, &choice.only);
            rng.shuffle(&mut deck);
        }
        let first = if entries.is_empty() { choice.first } else { None };
        let Some(first) = first.or_else(|| deck.pop()) else { break };
        let mut together = vec![first];
        if rng.percent(TOGETHER)
            && let Some(at) = deck.iter().rposition(|other| apart(first, *other))
        {
            together.push(deck.remove(at));
        }
        let awaited = !rng.percent(NO_REST);
        let mut round = strike(world, flight, &mut rng, begin, together).await?;
        if awaited || begin.elapsed() >= time {
            let recovery = recover(clients, flight).await;
            round.iter_mut().for_each(|entry| entry.recovery = recovery);
        }
        round.iter().for_each(&mut tell);
        entries.extend(round);
    }
    Ok(entries)
}

fn apart(one: Fault, other: Fault) -> bool {
    !one.parts().iter().any(|part| other.parts().contains(part))
}

/// Does these at once.
async fn strike(
    world: &World,
    flight: &Flight,
    rng: &mut Rng,
    begin: Instant,
    together: Vec<Fault>,
) -> Result<Vec<Entry>> {
    let in_flight = busy(flight).await;
    let acts = together.into_iter().map(|fault| {
        let mut rng = rng.fork();
        async move {
            let at = begin.elapsed();
            let done = acts::perform(fault, world, &mut rng).await;
            let done = done.map_err(|error| error.context(format!("doing {fault}")))?;
            anyhow::Ok(Entry {
                fault,
                at: at.as_secs_f64(),
                to: done.to,
                effect: done.effect,
                in_flight,
                lasted: begin.elapsed() - at,
                recovery: Recovery::NotAwaited,
            })
        }
    });
    futures::future::try_join_all(acts).await
}

/// Sagas under way: waits a moment for some, so that the fault has something to hit.
async fn busy(flight: &Flight) -> Option<i64> {
    let end = Instant::now() + Duration::from_secs(2);
    loop {
        let count = flight.count().await;
        if matches!(count, Ok(1..)) || Instant::now() > end {
            return count.ok();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn recover(clients: &Clients, flight: &Flight) -> Recovery {
    let caught_up = async {
        let begin = Instant::now();
        // PostgreSQL may be away for another moment.
        while begin.elapsed() < CAUGHT_UP {
            if let Ok(now) = flight.now().await {
                let waited = begin.elapsed();
                return flight.caught_up(now, CAUGHT_UP - waited).await.map(|time| time + waited);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        None
    };
    let (served, caught_up) = tokio::join!(clients.canary(SERVED), caught_up);
    Recovery::Measured { served, caught_up }
}
