//! Looking at a saga without an input: whether what is in flight is sent again, and when it is looked at next.

use std::collections::HashMap;

use skald_core::plan::LookedAt;
use uuid::Uuid;

use super::{
    schedule,
    writes::{Known, Next},
};
use crate::{
    config::Driver,
    job::{Ask, Job, Wake},
    store::{self, saga::Touch},
};

/// Why a saga is looked at, and whether that is a reason to send again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub why: Wake,
    pub resend: bool,
}

/// The looks of a batch. Whoever wrote a saga last has its timers, and the net below them is as patient; whose
/// instance is gone may never have been sent.
pub(super) fn looks(
    driver: &Driver,
    me: Uuid,
    now: i64,
    jobs: &[Job],
    known: &HashMap<Uuid, Known>,
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
        let look = Look { why, resend };
        looks.entry(job.saga).and_modify(|known| *known = if resend { look } else { *known }).or_insert(look);
    }
    looks
}

/// What a look that changed nothing leaves: the row's new look, and when this worker looks next. None: it is somebody
/// else's.
pub(super) fn after(
    driver: &Driver,
    me: Uuid,
    now: i64,
    look: Look,
    row: &Known,
    seen: &LookedAt,
) -> Option<(Touch, Next)> {
    if !(look.resend || row.owner == me) {
        return None;
    }
    // The gap grows whether or not the budget allowed to send: silence costs less and less.
    let resends = row.resends.saturating_add(i16::from(look.resend && seen.in_flight));
    let send = if look.resend {
        now + driver.resend_gap(resends).as_millis() as i64
    } else {
        driver.resend_at(row.updated_at, resends)
    };
    let next = schedule::next_look(seen.deadline, seen.in_flight.then_some(send));
    let next = next.unwrap_or(now + store::IDLE_MS);
    let wake_at = schedule::wake_at(row.wake_at, next, now);
    Some((Touch { id: seen.saga, wake_at, resends }, Next::At(next)))
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
        looks(&driver(), ME, now, &jobs, &HashMap::from([(SAGA, row)]))[&SAGA]
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
        assert_eq!(both, Look { why: Wake::Undelivered, resend: true });
    }

    #[test]
    fn what_a_look_leaves() {
        let seen = LookedAt { saga: SAGA, deadline: Some(1_000_000), in_flight: true };
        let left = |look, row: Known, now| {
            after(&driver(), ME, now, look, &row, &seen)
                .map(|(touch, next)| (touch.resends, touch.wake_at, next))
        };
        let sent = Look { why: Wake::Timer, resend: true };
        assert_eq!(left(sent, row(ME, 10_000, 0), 2_000), Some((1, 10_000, Next::At(7_000))));
        let theirs = Look { why: Wake::Timer, resend: false };
        assert_eq!(left(theirs, row(OTHER, 10_000, 0), 2_000), None);
        let early = Look { why: Wake::Net, resend: false };
        assert_eq!(left(early, row(ME, 10_000, 2), 10_500), Some((2, 20_000, Next::At(12_000))));
        assert_eq!(left(early, row(OTHER, 10_000, 2), 10_500), None, "somebody took it");
    }
}
