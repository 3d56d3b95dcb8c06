//! Silence gets no stampede: what is sent again is at most a share of what was answered, and a few canaries a second.

use skald_server::config::Driver;

/// Services that an instance sends to.
const SERVICES: f64 = 2.0;
/// Seconds of canaries that time alone saves up.
const BURST: f64 = 10.0;

/// Answers, re-sendings and the begin of an instance's life, held against the rule.
pub(super) fn exceeded(
    (answers, again, since): (u64, u64, i64),
    now: i64,
    jumps: u64,
    driver: &Driver,
) -> Option<String> {
    let canaries = driver.resend_canaries_per_second;
    let seconds = (now - since).max(0) as f64 / 1000.0;
    let saved = (canaries * BURST).max(1.0) * (1.0 + jumps as f64);
    let allowed = driver.resend_share * answers as f64 + SERVICES * (canaries * seconds + saved + 1.0);
    (again as f64 > allowed).then(|| {
        format!("{again} were sent again, {allowed} are allowed after {answers} answers in {seconds} s")
    })
}
