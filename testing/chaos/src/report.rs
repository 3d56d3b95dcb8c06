//! What a run came to: for eyes, and as Markdown for the record.

use std::{collections::BTreeMap, fmt::Write as _, sync::atomic::Ordering, time::Duration};

use crate::{
    clients::Counts,
    judge::Findings,
    nemesis::{Entry, Fault, Recovery},
};

/// Everything about a run.
#[derive(Debug)]
pub struct Report {
    /// Of the faults.
    pub seed: u64,
    pub(crate) time: Duration,
    pub(crate) orders: usize,
    pub(crate) entries: Vec<Entry>,
    pub(crate) missing: Vec<Fault>,
    pub(crate) rest: Result<Duration, String>,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    pub(crate) found: u64,
    pub(crate) ended: Vec<String>,
    pub(crate) findings: Findings,
}

/// How one kind of fault went.
#[derive(Debug, Default)]
struct Kind {
    times: usize,
    in_flight: i64,
    effect: u64,
    lasted: Duration,
    served: Vec<Duration>,
    caught_up: Vec<Duration>,
    never: usize,
}

impl Report {
    /// What makes the run a failure: broken promises, and what makes it prove less than it seems.
    #[must_use]
    pub fn failures(&self) -> Vec<String> {
        let mut all: Vec<String> =
            self.findings.violations.iter().map(|(promise, what)| format!("{promise}: {what}")).collect();
        if let Err(left) = &self.rest {
            all.push(format!("rest: it did not come to rest: {left}"));
        }
        let hit = self.entries.iter().any(|entry| entry.effect > 0);
        for (fault, kind) in self.kinds() {
            if kind.in_flight == 0 {
                all.push(format!("vacuous: {fault} never hit anything that was under way"));
            }
            // Once or twice, a wire may have had nothing to carry, such as one to a broker that leads nothing there.
            let idle = matches!(fault, Fault::Wire(..)) && kind.times < 3 && hit;
            if kind.effect == 0 && !idle {
                all.push(format!("vacuous: {fault} had no effect"));
            }
            if kind.never > 0 {
                all.push(format!(
                    "recovery: after {fault}, {} times, not all was well again in time",
                    kind.never
                ));
            }
        }
        if self.entries.is_empty() {
            all.push("vacuous: there was time for no fault".into());
        }
        all
    }

    fn kinds(&self) -> BTreeMap<Fault, Kind> {
        let mut kinds: BTreeMap<Fault, Kind> = BTreeMap::new();
        for entry in &self.entries {
            let kind = kinds.entry(entry.fault).or_default();
            kind.times += 1;
            kind.in_flight += entry.in_flight.unwrap_or(0);
            kind.effect += entry.effect;
            kind.lasted += entry.lasted;
            if let Recovery::Measured { served, caught_up } = entry.recovery {
                kind.served.extend(served);
                kind.caught_up.extend(caught_up);
                kind.never += usize::from(served.is_none() || caught_up.is_none());
            }
        }
        kinds
    }

    /// As Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        self.totals(&mut out);
        out += "\n| fault | times | sagas under way | effect | seconds | served again, s (median, worst) | caught up, s (median, worst) |\n";
        out += "|---|---:|---:|---:|---:|---:|---:|\n";
        for (fault, mut kind) in self.kinds() {
            let Kind { times, in_flight, effect, .. } = kind;
            let seconds = kind.lasted.as_secs_f64();
            let (served, caught_up) = (spread(&mut kind.served), spread(&mut kind.caught_up));
            let _ = writeln!(
                out,
                "| {fault} | {times} | {in_flight} | {effect} | {seconds:.0} | {served} | {caught_up} |"
            );
        }
        if !self.missing.is_empty() {
            let names: Vec<String> = self.missing.iter().map(Fault::to_string).collect();
            let _ = writeln!(out, "\nNot done in this run: {}.", names.join(", "));
        }
        for what in self.failures() {
            let _ = writeln!(out, "\n**BROKEN** {what}");
        }
        out
    }

    fn totals(&self, out: &mut String) {
        let Report { seed, orders, refused, unknown, found, .. } = self;
        let minutes = self.time.as_secs_f64() / 60.0;
        let ends: Vec<String> = self.findings.ends.iter().map(|(end, n)| format!("{n} {end}")).collect();
        let (again, answers) = self.findings.budget;
        let rest = match &self.rest {
            Ok(time) => format!("all was at rest {:.1} s after the last order", time.as_secs_f64()),
            Err(left) => format!("it did not come to rest: {left}"),
        };
        let _ = writeln!(
            out,
            "Seed {seed}, {minutes:.1} minutes, {} faults of {} kinds, {orders} orders, **{} violations**.\n\n\
             - Orders: {}; {rest}.\n\
             - Clients: {refused} calls were refused and repeated, {unknown} ended without an answer and were repeated, \
             {found} submissions were found placed by a repeat.\n\
             - Orchestrators sent {again:.0} commands again into silence, for {answers:.0} outcomes; {} processes ended by themselves and were started again.",
            self.entries.len(),
            self.kinds().len(),
            self.findings.violations.len(),
            ends.join(", "),
            self.ended.len(),
        );
        for said in &self.findings.commands {
            let _ = writeln!(out, "- {}", said.replace('\n', "; "));
        }
    }
}

/// Median and worst, in seconds.
fn spread(all: &mut [Duration]) -> String {
    all.sort_unstable();
    match (all.get(all.len().saturating_sub(1) / 2), all.last()) {
        (Some(median), Some(worst)) => format!("{:.1}, {:.1}", median.as_secs_f64(), worst.as_secs_f64()),
        _ => "–".into(),
    }
}

/// One fault, for whoever watches.
pub(crate) fn line(entry: &Entry) -> String {
    let in_flight = entry.in_flight.map_or("?".into(), |n| n.to_string());
    let recovery = match entry.recovery {
        Recovery::NotAwaited => "the next one at once".into(),
        Recovery::Measured { served, caught_up } => {
            let seconds =
                |time: Option<Duration>| time.map_or("never".into(), |t| format!("{:.1} s", t.as_secs_f64()));
            format!("served again after {}, caught up after {}", seconds(served), seconds(caught_up))
        }
    };
    let minute = (entry.at / 60.0) as u64;
    format!(
        "{minute:>3}:{:02}  {:<24} {in_flight:>4} under way  {:>5.1} s  {recovery}  ({}; effect {})",
        (entry.at as u64) % 60,
        entry.fault,
        entry.lasted.as_secs_f64(),
        entry.to,
        entry.effect
    )
}

impl Report {
    pub(crate) fn count(&mut self, counts: &Counts) {
        self.refused = counts.refused.load(Ordering::Relaxed);
        self.unknown = counts.unknown.load(Ordering::Relaxed);
        self.found = counts.found.load(Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fault: &str, in_flight: Option<i64>, effect: u64, recovery: Recovery) -> Entry {
        let fault = Fault::by_name(fault).expect("a fault");
        Entry {
            fault,
            at: 61.5,
            to: "it".into(),
            effect,
            in_flight,
            lasted: Duration::from_secs(3),
            recovery,
        }
    }

    fn report(entries: Vec<Entry>) -> Report {
        Report {
            seed: 7,
            time: Duration::from_secs(90),
            orders: 3,
            entries,
            missing: Vec::new(),
            rest: Ok(Duration::from_secs(1)),
            refused: 0,
            unknown: 0,
            found: 0,
            ended: Vec::new(),
            findings: Findings::default(),
        }
    }

    #[test]
    fn a_run_whose_faults_hit_nothing_fails() {
        let well = Recovery::Measured {
            served: Some(Duration::from_secs(1)),
            caught_up: Some(Duration::from_secs(2)),
        };
        assert_eq!(report(vec![entry("kill-broker", Some(4), 1, well)]).failures(), Vec::<String>::new());
        let idle = |times| {
            let kill = std::iter::once(entry("kill-broker", Some(4), 1, well));
            kill.chain((0..times).map(|_| entry("cut-kafka", Some(3), 0, well))).collect()
        };
        assert_eq!(report(idle(2)).failures(), Vec::<String>::new(), "that wire had nothing to carry");
        for (entries, why) in [
            (Vec::new(), "no fault"),
            (idle(3), "no effect"),
            (vec![entry("kill-broker", Some(0), 1, well)], "never hit"),
            (vec![entry("kill-broker", None, 1, well)], "never hit"),
            (vec![entry("cut-kafka", Some(3), 0, well)], "no effect"),
            (
                vec![entry("cut-kafka", Some(3), 1, Recovery::Measured { served: None, caught_up: None })],
                "not all was well",
            ),
        ] {
            let failures = report(entries).failures();
            assert!(failures.len() == 1 && failures[0].contains(why), "{failures:?}");
        }
    }

    #[test]
    fn the_record_has_a_line_for_each_kind() {
        let well = |s| Recovery::Measured {
            served: Some(Duration::from_secs(s)),
            caught_up: Some(Duration::from_secs(2 * s)),
        };
        let all = vec![entry("kill-broker", Some(4), 2, well(1)), entry("kill-broker", Some(5), 1, well(3))];
        let text = report(all).markdown();
        assert!(text.contains("| kill-broker | 2 | 9 | 3 | 6 | 1.0, 3.0 | 2.0, 6.0 |"), "{text}");
        assert!(
            text.contains("Seed 7, 1.5 minutes, 2 faults of 1 kinds, 3 orders, **0 violations**"),
            "{text}"
        );
        assert!(
            line(&entry("kill-broker", None, 2, Recovery::NotAwaited)).starts_with("  1:01  kill-broker")
        );
    }
}
