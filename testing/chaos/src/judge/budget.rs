//! Silence gets no stampede: what is sent again is at most a share of what was answered, and a few canaries a second.

use super::Findings;
use crate::watch::{Life, Seen};

/// The default of `driver.resend_canaries_per_second`.
const CANARIES_PER_SECOND: f64 = 3.0;
/// The default of `driver.resend_share`.
const SHARE: f64 = 0.1;
/// Services that an orchestrator sends to; each has canaries of its own.
const SERVICES: f64 = 2.0;
/// Seconds of canaries that time alone saves up.
const BURST: f64 = 10.0;

pub(super) fn judge(seen: &Seen, findings: &mut Findings) {
    for life in seen.lives() {
        findings.budget.0 += life.again;
        findings.budget.1 += life.answers;
        let allowed = allowed(life);
        findings.check("budget", life.again <= allowed, || {
            format!("an orchestrator sent {} again, {allowed:.0} are allowed: {life:?}", life.again)
        });
    }
}

fn allowed(life: &Life) -> f64 {
    // It had lived a little when it was seen first.
    let seconds = life.seconds + BURST;
    SHARE * life.answers + SERVICES * CANARIES_PER_SECOND * (seconds + BURST)
}
