//! `skald-local up`, and what becomes of the servers when it is killed with SIGKILL.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_skald-local");

/// State and parent of each process of this machine, by its number.
fn processes() -> BTreeMap<u32, (String, char, u32)> {
    let entries = std::fs::read_dir("/proc").expect("processes");
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?)))
        .collect()
}

fn stat(pid: u32) -> Option<(String, char, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (start, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    Some((start.split_once('(')?.1.to_owned(), fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// All that descend from a process.
fn descendants(root: u32) -> Vec<(u32, String)> {
    let all = processes();
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        let of = found[next];
        found.extend(all.iter().filter(|(_, (_, _, parent))| *parent == of).map(|(pid, _)| *pid));
        next += 1;
    }
    found[1..].iter().map(|pid| (*pid, all[pid].0.clone())).collect()
}

#[test]
fn servers_and_command_die_with_a_killed_parent() {
    let mut parent = Command::new(PROGRAM)
        .args(["up", "--", "sh", "-c", "echo up; exec sleep 600"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let lines = BufReader::new(parent.stdout.take().expect("its output"));
    let said: Vec<String> =
        lines.lines().map(|line| line.expect("text")).take_while(|line| line != "up").collect();
    assert!(said[0].starts_with("SKALD_TEST_POSTGRES=postgres://postgres@127.0.0.1:"), "{said:?}");
    assert!(said[1].starts_with("SKALD_TEST_KAFKA=127.0.0.1:"), "{said:?}");

    let family = descendants(parent.id());
    for name in ["postgres", "java", "sleep"] {
        assert!(family.iter().any(|(_, comm)| comm == name), "{name} is not among {family:?}");
    }
    parent.kill().expect("killed");
    parent.wait().expect("reaped");

    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let left: Vec<_> = family
            .iter()
            .filter(|(pid, name)| {
                stat(*pid).is_some_and(|(comm, state, _)| comm == *name && !matches!(state, 'Z' | 'X'))
            })
            .collect();
        if left.is_empty() {
            break;
        }
        assert!(Instant::now() < end, "these outlived their parent: {left:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
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
