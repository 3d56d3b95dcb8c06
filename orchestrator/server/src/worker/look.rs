//! Looking at a saga without an input: whether what is in flight is sent again, and when it is looked at next.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use skald_core::{
    flight,
    plan::{Loaded, LookedAt},
};
use uuid::Uuid;

use super::{
    schedule,
    writes::{Known, Next},
};
use crate::{
    config::Driver,
    job::{Ask, Job, Wake},
    store::{self, attention::Slow, saga::Touch},
};

/// Why a saga is looked at, whether that is a reason to send again, and what it waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Why.
    pub why: Wake,
    /// What is in flight may be sent again.
    pub resend: bool,
    /// What it waits for.
    pub waits: Vec<Waits>,
}

/// A command in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waits {
    step: String,
    participant: String,
    verb: &'static str,
}

/// What a look leaves that changed nothing.
#[derive(Debug)]
pub struct Left {
    /// The row's new look.
    pub touch: Touch,
    /// When this worker looks next.
    pub next: Next,
    /// What stands in the inbox for it; None: as before.
    pub slow: Option<Vec<Slow>>,
}

/// The looks of a batch. Whoever wrote a saga last has its timers, and the net below them is as patient; whose
/// instance is gone may never have been sent.
pub fn looks(
    driver: &Driver,
    me: Uuid,
    now: i64,
    jobs: &[Job],
    known: &HashMap<Uuid, Known>,
    loaded: &BTreeMap<Uuid, Loaded>,
) -> HashMap<Uuid, Look> {
    let mut looks: HashMap<Uuid, Look> = HashMap::new();
    for job in jobs {
        let (Ask::Wake(why), Some(row)) = (&job.ask, known.get(&job.saga)) else { continue };
        let why = *why;
        let resend = match why {
            Wake::Timer | Wake::Undelivered => row.owner == me,
            Wake::Orphan(gone) => row.owner == gone,
            Wake::Net => row.owner == me && now >= driver.resend_at(row.updated_at, row.resends),
        };
        let look = looks.entry(job.saga).or_insert_with(|| {
            let waits = loaded.get(&job.saga).map(waits).unwrap_or_default();
            Look { why, resend, waits }
        });
        if resend {
            (look.why, look.resend) = (why, resend);
        }
    }
    looks
}

/// The commands that a saga waits for.
fn waits(saga: &Loaded) -> Vec<Waits> {
    let participant = |step: &str| saga.definition.index(step).map(|i| &saga.definition.steps[i].participant);
    let commands = flight::commands(&saga.state).into_iter();
    let waits = commands.filter_map(|c| {
        let (participant, verb) = (participant(&c.step)?.clone(), c.verb().name());
        Some(Waits { step: c.step, participant, verb })
    });
    waits.collect()
}

/// What a look that changed nothing leaves. None: it is somebody else's.
pub fn after(
    driver: &Driver,
    me: Uuid,
    now: i64,
    look: &Look,
    row: &Known,
    seen: &LookedAt,
    frozen: &BTreeSet<String>,
) -> Option<Left> {
    if !(look.resend || row.owner == me) {
        return None;
    }
    // The gap grows whether or not the budget allowed to send: silence costs less and less.
    let mut resends = row.resends.saturating_add(i16::from(look.resend && seen.in_flight));
    let waits: Vec<&Waits> = look.waits.iter().filter(|w| !frozen.contains(&w.participant)).collect();
    if seen.in_flight && waits.is_empty() {
        resends = driver.frozen_resends(resends);
    }
    let is_slow = driver.is_slow(row.updated_at, resends, now);
    let slow = |w: &&Waits| Slow {
        saga: seen.saga,
        step: w.step.clone(),
        participant: w.participant.clone(),
        message: format!("{} was sent to {} and is not answered", w.verb, w.participant),
        since: row.updated_at,
    };
    let send = if look.resend {
        now + driver.resend_gap(resends).as_millis() as i64
    } else {
        driver.resend_at(row.updated_at, resends)
    };
    let next = schedule::next_look(seen.deadline, seen.in_flight.then_some(send));
    let next = next.unwrap_or(now + store::IDLE_MS);
    let wake_at = schedule::wake_at(row.wake_at, next, now);
    Some(Left {
        touch: Touch { id: seen.saga, wake_at, resends },
        next: Next::At(next),
        // It was never slow before somebody looked into silence.
        slow: (row.resends > 0 || is_slow).then(|| waits.iter().filter(|_| is_slow).map(slow).collect()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Origin;

    const ME: Uuid = Uuid::from_u128(1);
    const OTHER: Uuid = Uuid::from_u128(2);
    const SAGA: Uuid = Uuid::from_u128(9);

    fn row(owner: Uuid, wake_at: i64, resends: i16) -> Known {
        Known {
            wake_at: Some(wake_at),
            resends,
            owner,
            updated_at: 0,
            quarantined: false,
            customer_id: String::new(),
            request: Vec::new(),
            traceparent: None,
        }
    }

    fn driver() -> Driver {
        Driver { resend_gaps_ms: vec![2_000, 5_000], ..Driver::default() }
    }

    fn look(why: &[Wake], row: Known, now: i64) -> Look {
        let job = |why| Job { saga: SAGA, actor: String::new(), ask: Ask::Wake(why), origin: Origin::Nobody };
        let jobs: Vec<Job> = why.iter().copied().map(job).collect();
        looks(&driver(), ME, now, &jobs, &HashMap::from([(SAGA, row)]), &BTreeMap::new())[&SAGA].clone()
    }

    #[test]
    fn only_whose_it_is_sends_again() {
        assert!(look(&[Wake::Timer], row(ME, 10_000, 0), 2_000).resend);
        assert!(!look(&[Wake::Timer], row(OTHER, 10_000, 0), 2_000).resend, "its owner has timers");
        assert!(!look(&[Wake::Undelivered], row(OTHER, 10_000, 0), 2_000).resend);
        assert!(look(&[Wake::Orphan(OTHER)], row(OTHER, 10_000, 0), 0).resend);
        assert!(!look(&[Wake::Orphan(OTHER)], row(ME, 10_000, 0), 0).resend, "it was swept before");
    }

    #[test]
    fn the_net_is_as_patient_as_a_timer() {
        assert!(!look(&[Wake::Net], row(OTHER, 10_000, 0), 10_000).resend, "somebody took it since the scan");
        assert!(look(&[Wake::Net], row(ME, 10_000, 0), 10_000).resend);
        let mut fresh = row(ME, 10_000, 0);
        fresh.updated_at = 9_000;
        assert!(!look(&[Wake::Net], fresh, 10_000).resend, "it was sent a second ago");
        assert!(!look(&[Wake::Net], row(ME, 10_000, 2), 10_000).resend, "2 + 5 + 5 s");
    }

    #[test]
    fn a_reason_to_send_beats_one_to_look() {
        let both = look(&[Wake::Undelivered, Wake::Net], row(ME, 10_000, 0), 1_000);
        assert_eq!((both.why, both.resend), (Wake::Undelivered, true));
    }

    #[test]
    fn what_a_look_leaves() {
        let seen = LookedAt { saga: SAGA, deadline: Some(1_000_000), in_flight: true };
        let left = |(why, resend), row: Known, now| {
            let look = Look { why, resend, waits: vec![wait("charge", "payment")] };
            let left = after(&driver(), ME, now, &look, &row, &seen, &BTreeSet::new());
            left.map(|left| (left.touch.resends, left.touch.wake_at, left.next))
        };
        let sent = (Wake::Timer, true);
        assert_eq!(left(sent, row(ME, 10_000, 0), 2_000), Some((1, 10_000, Next::At(7_000))));
        let theirs = (Wake::Timer, false);
        assert_eq!(left(theirs, row(OTHER, 10_000, 0), 2_000), None);
        let early = (Wake::Net, false);
        assert_eq!(left(early, row(ME, 10_000, 2), 10_500), Some((2, 20_000, Next::At(12_000))));
        assert_eq!(left(early, row(OTHER, 10_000, 2), 10_500), None, "somebody took it");
    }

    fn wait(step: &str, participant: &str) -> Waits {
        Waits { step: step.into(), participant: participant.into(), verb: "RUN" }
    }

    #[test]
    fn what_is_slow_is_told_step_by_step_but_for_who_is_frozen() {
        let seen = LookedAt { saga: SAGA, deadline: None, in_flight: true };
        let driver = Driver { slow_after_seconds: 10, ..driver() };
        let waits = vec![wait("charge", "payment"), wait("reserve", "inventory")];
        let look = Look { why: Wake::Timer, resend: true, waits };
        let steps = |resends, now, frozen: &[&str]| {
            let frozen = frozen.iter().map(|p| (*p).to_owned()).collect();
            let left = after(&driver, ME, now, &look, &row(ME, 10_000, resends), &seen, &frozen).unwrap();
            let steps = left.slow.map(|slow| slow.into_iter().map(|s| s.step).collect::<Vec<_>>());
            (left.touch.resends, steps)
        };
        let told = |steps: &[&str]| Some(steps.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        assert_eq!(steps(0, 2_000, &[]), (1, None), "nothing can stand there yet");
        assert_eq!(steps(1, 7_000, &[]), (2, told(&[])));
        assert_eq!(steps(2, 12_000, &[]), (3, told(&["charge", "reserve"])));
        assert_eq!(steps(2, 9_000, &[]), (3, told(&[])), "looked at too often");
        assert_eq!(steps(2, 12_000, &["payment"]), (3, told(&["reserve"])));
        assert_eq!(steps(9, 99_000, &["payment", "inventory"]), (2, told(&[])), "nobody waits for them");
    }
}
