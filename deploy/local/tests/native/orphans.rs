//! `skald-local up`, and what becomes of the servers when it is killed with SIGKILL.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_skald-local");

/// What `/proc` says about a process. `born` tells it from a later one with the same number.
#[derive(Debug, Clone)]
struct Stat {
    pid: u32,
    name: String,
    state: char,
    parent: u32,
    born: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (start, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    Some(Stat {
        pid,
        name: start.split_once('(')?.1.to_owned(),
        state: fields[0].chars().next()?,
        parent: fields[1].parse().ok()?,
        born: fields[19].parse().ok()?,
    })
}

impl Stat {
    fn still_runs(&self) -> bool {
        stat(self.pid).is_some_and(|now| now.born == self.born && !matches!(now.state, 'Z' | 'X'))
    }
}

/// All that descend from a process.
fn descendants(root: u32) -> Vec<Stat> {
    let entries = std::fs::read_dir("/proc").expect("processes");
    let all: Vec<Stat> =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter_map(stat).collect();
    let mut found: Vec<Stat> = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        let children = all.iter().filter(|process| process.parent == parent);
        parents.extend(children.clone().map(|process| process.pid));
        found.extend(children.cloned());
    }
    found
}

/// Kills it also when the test fails.
struct Guard(std::process::Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn servers_and_command_die_with_a_killed_parent() {
    let command = Command::new(PROGRAM)
        .args(["up", "--", "sh", "-c", "echo up; read never"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut parent = Guard(command.expect("starts"));
    let lines = BufReader::new(parent.0.stdout.take().expect("its output"));
    let said: Vec<String> =
        lines.lines().map(|line| line.expect("text")).take_while(|line| line != "up").collect();
    assert!(said[0].starts_with("SKALD_TEST_POSTGRES=postgres://postgres@127.0.0.1:"), "{said:?}");
    assert!(said[1].starts_with("SKALD_TEST_KAFKA=127.0.0.1:"), "{said:?}");

    let family = descendants(parent.0.id());
    for name in ["postgres", "java", "sh"] {
        assert!(family.iter().any(|process| process.name == name), "{name} is not among {family:?}");
    }
    parent.0.kill().expect("killed");
    // Its standard input, which the command reads, stays open: the end must come from the kernel.
    let input = parent.0.stdin.take();

    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let left: Vec<_> = family.iter().filter(|process| process.still_runs()).collect();
        if left.is_empty() {
            break;
        }
        assert!(Instant::now() < end, "these outlived their parent: {left:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(input);
}

#[test]
fn a_command_gets_the_addresses_and_its_code_comes_back() {
    let script = "test -n \"$SKALD_TEST_POSTGRES\" && test -n \"$SKALD_TEST_KAFKA\" && exit 42";
    let status = Command::new(PROGRAM)
        .args(["up", "--", "sh", "-c", script])
        .stdout(Stdio::null())
        .status()
        .expect("runs");
    assert_eq!(status.code(), Some(42));
}
