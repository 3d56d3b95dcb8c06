//! What processes cost: CPU time and memory from `/proc`. Reading it costs microseconds, so it does not load what it
//! measures.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Microseconds of one tick of `/proc/PID/stat`: USER_HZ is 100 on every architecture that we run on.
const TICK_US: u64 = 10_000;
/// How often memory is looked at.
const EVERY: Duration = Duration::from_millis(500);

/// Whose cost it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// One process.
    One(u32),
    /// A process and its children: PostgreSQL with its backends.
    Family(u32),
}

/// CPU time since it started, and memory now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// User and system time, microseconds. Of a family: that of children that are gone too.
    pub(super) cpu_us: u64,
    /// Resident memory, KiB; what the members of a family share is counted once.
    pub(super) rss_kib: u64,
}

impl Who {
    /// What it has cost; zeros when it is gone.
    pub(super) fn usage(self) -> Usage {
        match self {
            Self::One(pid) => add(&[read(pid)], false),
            Self::Family(parent) => {
                let mut members = vec![read(parent)];
                members.extend(children(parent).into_iter().map(read));
                add(&members, true)
            }
        }
    }
}

/// The fields of `/proc/PID/stat` that matter, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stat {
    parent: u32,
    own: u64,
    /// Of children that have ended and were waited for.
    reaped: u64,
}

/// The lines of `/proc/PID/status` that matter, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Memory {
    anonymous: u64,
    file: u64,
    shared: u64,
}

fn read(pid: u32) -> (Stat, Memory) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    (stat.as_deref().and_then(stat_of).unwrap_or_default(), memory_of(&status))
}

fn stat_of(text: &str) -> Option<Stat> {
    // The name, in parentheses, may hold anything: what counts comes after the last one. Then: state, ppid, …
    let fields: Vec<&str> = text.get(text.rfind(')')? + 1..)?.split_whitespace().collect();
    let number = |i: usize| fields.get(i)?.parse::<u64>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        own: number(11)? + number(12)?,
        reaped: number(13)? + number(14)?,
    })
}

fn memory_of(text: &str) -> Memory {
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse().ok()).unwrap_or(0)
    };
    Memory { anonymous: value("RssAnon"), file: value("RssFile"), shared: value("RssShmem") }
}

/// Of several processes, shared memory and files count once: as much as the one has that touched most of them.
fn add(members: &[(Stat, Memory)], with_reaped: bool) -> Usage {
    let ticks: u64 =
        members.iter().map(|(stat, _)| stat.own + if with_reaped { stat.reaped } else { 0 }).sum();
    let most = |pick: fn(&Memory) -> u64| members.iter().map(|(_, memory)| pick(memory)).max().unwrap_or(0);
    let anonymous: u64 = members.iter().map(|(_, memory)| memory.anonymous).sum();
    Usage { cpu_us: ticks * TICK_US, rss_kib: anonymous + most(|m| m.shared) + most(|m| m.file) }
}

fn children(parent: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok();
        stat.as_deref().and_then(stat_of).is_some_and(|stat| stat.parent == parent)
    })
    .collect()
}

/// Names processes, and remembers the most memory that each had.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    who: Arc<Vec<(String, Who)>>,
    peak_kib: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Meter {
    pub(super) fn new(who: Vec<(String, Who)>) -> Self {
        Self { who: Arc::new(who), peak_kib: Arc::default() }
    }

    /// CPU time of each since its start, microseconds.
    pub(super) fn cpu_us(&self) -> BTreeMap<String, u64> {
        self.who.iter().map(|(name, who)| (name.clone(), who.usage().cpu_us)).collect()
    }

    /// Looks at memory now and then, until it is dropped.
    pub(super) async fn watch(self) {
        loop {
            for (name, who) in self.who.iter() {
                let rss = who.usage().rss_kib;
                let mut peaks = self.peak_kib.lock().unwrap_or_else(PoisonError::into_inner);
                let peak = peaks.entry(name.clone()).or_default();
                *peak = rss.max(*peak);
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// The most memory that each had, MiB.
    pub(super) fn peak_mib(&self) -> BTreeMap<String, f64> {
        let peaks = self.peak_kib.lock().unwrap_or_else(PoisonError::into_inner);
        peaks.iter().map(|(name, kib)| (name.clone(), *kib as f64 / 1024.0)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str =
        "4711 (a (b) c) S 12 4711 4711 0 -1 4194560 900 800 0 0 150 50 30 20 20 0 9 0 77 1 2 3";

    #[test]
    fn times_are_found_behind_any_name() {
        assert_eq!(stat_of(STAT), Some(Stat { parent: 12, own: 200, reaped: 50 }));
        assert_eq!(stat_of("4711 (x) S 12"), None);
        assert_eq!(stat_of(""), None);
    }

    #[test]
    fn memory_is_told_apart() {
        let text =
            "Name:\tx\nVmRSS:\t  300 kB\nRssAnon:\t     100 kB\nRssFile:\t  50 kB\nRssShmem:\t 150 kB\n";
        assert_eq!(memory_of(text), Memory { anonymous: 100, file: 50, shared: 150 });
        assert_eq!(memory_of(""), Memory::default());
    }

    #[test]
    fn a_family_shares_its_shared_memory() {
        let member = |shared| {
            let stat = Stat { parent: 1, own: 7, reaped: 3 };
            (stat, Memory { anonymous: 10, file: 5, shared })
        };
        let all = [member(100), member(400), member(0)];
        assert_eq!(add(&all, true), Usage { cpu_us: 300_000, rss_kib: 435 });
        assert_eq!(add(&all[..1], false), Usage { cpu_us: 70_000, rss_kib: 115 });
    }

    #[test]
    fn this_process_has_memory_and_a_family() {
        let own = std::process::id();
        assert!(Who::One(own).usage().rss_kib > 100);
        let mut child = std::process::Command::new("sleep").arg("5").spawn().expect("a child");
        assert!(children(own).contains(&child.id()));
        assert!(Who::Family(own).usage().rss_kib > 100);
        child.kill().and_then(|()| child.wait()).expect("ended");
    }
}
