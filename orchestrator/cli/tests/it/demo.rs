//! `skald dev`, as a person runs it: once, again on what it kept, beside another one, with the command as a client.

use std::{path::Path, time::Duration};

use skald_harness::{Process, eventually, scratch};
use skald_local::child::Signal;

use crate::{
    commands::{ended, skald},
    e2e::terminal::Terminal,
};

const LONG: Duration = Duration::from_secs(120);

/// A base whose six ports are free and ours.
fn port_base() -> u16 {
    skald_local::free_ports(&[0, 1, 10, 11, 20, 21]).expect("six ports")
}

fn dev(data: &Path, base: u16, more: &[&str]) -> Process {
    let process = Process::builder("skald-dev", env!("CARGO_BIN_EXE_skald"));
    process
        .args(["dev", "--data", data.to_str().expect("a plain path"), "--port-base", &base.to_string()])
        .args(more)
        .spawn()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_order_ends_as_it_should_and_again_on_kept_data() {
    let (data, base) = (scratch("dev"), port_base());
    for run in ["first", "second"] {
        let process = dev(&data, base, &["--once"]);
        let status = process.wait(LONG).await;
        let log = process.log();
        assert_eq!(status.code(), Some(0), "{run} run:\n{log}");
        assert!(log.contains("Every sample order ended as it should."), "{log}");
        assert!(
            log.contains("First COMPLETED order ") && log.contains("This broker is for trying out"),
            "{log}"
        );
        assert_eq!(log.matches("✓").count(), 7, "{log}");
        assert!(!log.contains('\u{1b}'), "plain lines without a terminal:\n{log}");
        assert!(!log.contains("WARN") && !log.contains("ERROR"), "quiet:\n{log}");
    }
    let (log, up) = (|process: &Process| process.log(), dev(&data, base, &[]));
    eventually("it to stay up", LONG, async || log(&up).contains("Up until Ctrl-C.").then_some(())).await;
    assert!(log(&up).contains(&format!("grpcurl -plaintext 127.0.0.1:{base} list")), "{}", log(&up));
    let hints = log(&up);
    tokio::task::spawn_blocking(move || {
        what_it_says_to_try(&hints);
        clients(base);
    })
    .await
    .expect("the clients' part");
    neighbours(&data, base).await;
    up.signal(Signal::INT);
    assert_eq!(up.wait(LONG).await.code(), Some(0), "{}", log(&up));
    let postmaster = data.join("postgres/data/postmaster.pid");
    assert!(!postmaster.exists(), "PostgreSQL was stopped with it");
}

/// The lines to copy work as they are.
fn what_it_says_to_try(log: &str) {
    let is_command = |line: &&str| line.starts_with("grpcurl ") || line.starts_with("skald ");
    let lines: Vec<&str> =
        log.lines().filter_map(|line| line.strip_prefix("  ")).filter(is_command).collect();
    assert_eq!(lines.len(), 8, "{log}");
    for line in lines {
        let said = Terminal::bare().works(line);
        assert!(!said.is_empty(), "{line}");
    }
}

/// The command as a client of what runs.
fn clients(base: u16) {
    let (orders, stock) = (format!("127.0.0.1:{base}"), format!("127.0.0.1:{}", base + 10));
    let order = |args: &[&str]| {
        ended(&skald(&[&["order"], args, &["--server", &orders, "--output", "json"]].concat()))
    };
    let stocked = |args: &[&str]| {
        ended(&skald(&[&["stock"], args, &["--server", &stock, "--output", "json"]].concat()))
    };
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("one object");

    let (code, out, err) = stocked(&["set", "kettle", "5"]);
    assert_eq!((code, json(&out)["available"].as_i64()), (0, Some(5)), "{err}");
    let (code, out, err) = stocked(&["set", "kettle", "3"]);
    assert_eq!((code, json(&out)["stocked"].as_i64()), (0, Some(3)), "{err}");
    assert_eq!(stocked(&["add", "kettle", "-9"]).0, 4, "more than there are");
    assert_eq!(stocked(&["get", "no-such-thing"]).0, 3);

    let submit = ["submit", "--customer", "eve", "--line", "kettle:2:19.90", "--key", "one"];
    let (code, out, err) = order(&submit);
    assert_eq!(code, 0, "{err}");
    let first = json(&out);
    assert_eq!((first["created"].as_bool(), first["idempotency_key"].as_str()), (Some(true), Some("one")));
    let id = first["order_id"].as_str().expect("an id");
    let (code, out, _) = order(&submit);
    assert_eq!(
        (code, json(&out)["order_id"].as_str(), json(&out)["created"].as_bool()),
        (0, Some(id), Some(false))
    );
    assert_eq!(order(&["submit", "--customer", "eve", "--line", "kettle:1:19.90", "--key", "one"]).0, 4);

    assert_eq!(order(&["pay", id, "--token", "tok_ok"]).0, 0);
    let (code, out, err) = order(&["watch", id]);
    assert_eq!(code, 0, "{err}");
    let last = json(out.lines().last().expect("a line"));
    assert_eq!(
        (last["status"].as_str(), last["total_minor"].as_i64()),
        (Some("ORDER_STATUS_COMPLETED"), Some(3_980))
    );
    assert_eq!(order(&["cancel", id]).0, 4, "too late");
    let (code, out, _) = stocked(&["get", "kettle"]);
    assert_eq!((code, json(&out)["committed"].as_i64()), (0, Some(2)));

    let submit = ["submit", "--customer", "eve", "--line", "kettle:9:1", "--token", "tok_ok", "--watch"];
    assert_eq!(order(&submit).0, 6, "out of stock");
    let (code, out, _) = order(&["list", "--customer", "eve"]);
    assert_eq!((code, out.lines().count()), (0, 2), "{out}");
    let (code, _, err) = order(&["submit", "--customer", "", "--line", "kettle:0:1"]);
    assert_eq!(code, 2);
    assert_eq!(json(&err)["error"]["fields"].as_array().map(Vec::len), Some(2), "{err}");
    assert_eq!(order(&["get", "00000000-0000-7000-8000-000000000000"]).0, 3);

    let saga = |verb: &str| ended(&skald(&["saga", verb, id, "--server", &orders]));
    let (code, out, _) = saga("history");
    assert!(code == 0 && out.contains("client:skald-cli") && out.contains("SIGNAL"), "{out}");
    let (code, out, _) = saga("get");
    assert!(code == 0 && out.contains("COMPLETED") && out.matches("SUCCEEDED").count() == 5, "{out}");
}

/// A second one on the same data, and one on the same ports, are refused with what is in the way.
async fn neighbours(data: &Path, base: u16) {
    let same = dev(data, port_base(), &["--once"]);
    assert_eq!(same.wait(LONG).await.code(), Some(4));
    assert!(same.log().contains("another `skald dev` (process "), "{}", same.log());
    let beside = dev(&scratch("dev"), base, &["--once"]);
    assert_eq!(beside.wait(LONG).await.code(), Some(1));
    let log = beside.log();
    assert!(
        log.contains(&format!("port {base}: for orchestrator's gRPC")) && log.contains("--port-base"),
        "{log}"
    );
}
