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
        ended(&skald(&[&["order"], args, &["--server", &orders, "--output", "jsonl"]].concat()))
    };
    let stocked = |args: &[&str]| {
        ended(&skald(&[&["stock"], args, &["--server", &stock, "--output", "jsonl"]].concat()))
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
    desks(base, id);
}

/// What operators see of one order, whose id they shorten.
fn desks(base: u16, id: &str) {
    let [orders, stock, payment] = [0, 10, 20].map(|port| format!("127.0.0.1:{}", base + port));
    let (last, first) = (&id[id.len() - 8..], &id[..18]);
    let run = |args: &[&str], server: &str| {
        let (code, out, err) = ended(&skald(&[args, &["--server", server, "--output", "json"]].concat()));
        (code, serde_json::from_str::<serde_json::Value>(&out).unwrap_or_default(), err)
    };
    for short in [last, first] {
        let (code, saga, err) = run(&["saga", "get", short], &orders);
        assert_eq!((code, saga["saga_id"].as_str()), (0, Some(id)), "{short}: {err}");
    }
    // All sample orders began in the same minute.
    let (code, _, err) = run(&["saga", "get", &id[..8]], &orders);
    assert!(code == 2 && err.contains("can mean") && err.contains(id), "{err}");
    let (code, _, err) = run(&["order", "cancel", "ffffff"], &orders);
    assert!(code == 3 && err.contains("the last digits of what is under way"), "{err}");

    let (code, list, err) = run(&["saga", "list", "--customer", "eve", "--status", "completed"], &orders);
    assert_eq!(
        (code, list.as_array().map(Vec::len), list[0]["saga_id"].as_str()),
        (0, Some(1), Some(id)),
        "{err}"
    );
    let (code, none, _) = run(&["saga", "list", "--customer", "nobody"], &orders);
    assert_eq!((code, none), (0, serde_json::json!([])));
    let (code, counts, _) = run(&["saga", "list", "--customer", "eve", "--count"], &orders);
    assert_eq!((code, counts["count"].as_i64(), counts["unreadable"].as_i64()), (0, Some(2), Some(0)));
    let (code, stats, _) = run(&["stats", "--window", "1h"], &orders);
    assert!(code == 0 && stats["started"].as_i64() > Some(7), "{stats}");
    let (code, history, _) = run(&["saga", "history", last], &orders);
    let input = &history[0]["payloads"][0]["payload"];
    assert_eq!((code, input["lines"][0]["sku"].as_str()), (0, Some("kettle")), "{history}");
    let signal = history.as_array().into_iter().flatten().find(|row| row["kind"] == "SIGNAL");
    assert_eq!(
        signal.map(|row| &row["payloads"][0]["payload"]["token"]),
        Some(&"tok_ok".into()),
        "{history}"
    );

    let ask = ["--orchestrator", &orders];
    let (code, charges, err) = run(&[&["payment", "charges", "--order", last], &ask[..]].concat(), &payment);
    assert_eq!((code, charges[0]["amount_minor"].as_i64()), (0, Some(3_980)), "{err}");
    let settle = ["payment", "settle", last, "--did-not-happen", "--actor", "ada", "--reason", "no"];
    let (code, charge, err) = run(&[&settle[..], &ask, &["--dry-run"]].concat(), &payment);
    assert_eq!((code, charge["state"].as_str()), (0, Some("CHARGE_STATE_CAPTURED")), "{err}");
    assert_eq!(run(&[&settle[..], &ask].concat(), &payment).0, 2, "there is nobody to ask");
    let (code, _, err) = run(&[&settle[..], &ask, &["--yes"]].concat(), &payment);
    assert!(code == 4 && err.contains("someone was first"), "{err}");
    let (code, compared, err) = run(&["payment", "reconcile", "--since", "1d"], &payment);
    assert_eq!((code, compared[0]["differences"].as_i64()), (0, Some(0)), "{err}");

    let held = ["stock", "reservations", "--state", "committed", "--sku", "kettle"];
    let (code, held, err) = run(&[&held[..], &ask].concat(), &stock);
    assert_eq!((code, held[0]["order_id"].as_str()), (0, Some(id)), "{err}");
    let adjust = [
        "stock",
        "adjust",
        "kettle",
        "-1",
        "--actor",
        "ada",
        "--reason",
        "broken",
        "--request-id",
        "kettle-1",
    ];
    let (code, before, _) = run(&[&adjust[..], &["--dry-run"]].concat(), &stock);
    assert_eq!((code, before["stocked"].as_i64()), (0, Some(3)));
    for applied in [true, false] {
        let (code, done, err) = run(&[&adjust[..], &["--yes"]].concat(), &stock);
        assert_eq!((code, done["stock"]["stocked"].as_i64()), (0, Some(2)), "{err}");
        assert_eq!(done["applied"].as_bool(), Some(applied));
    }
    let (code, audit, _) = run(&["stock", "check"], &stock);
    assert_eq!((code, audit["discrepancies"].as_array().map(Vec::len)), (0, Some(0)));

    for (name, desk, step) in [("payment", &payment, "charge"), ("inventory", &stock, "reserve")] {
        let (code, rows, err) = run(&["participant", "barrier", name, last, "--desk", desk], &orders);
        let rows: Vec<_> = rows.as_array().into_iter().flatten().map(|row| row["step"].clone()).collect();
        assert!(code == 0 && rows.contains(&step.into()), "{rows:?} {err}");
        let (code, status, err) = run(&["participant", "status", name, "--desk", desk], &orders);
        assert_eq!((code, status["participant"].as_str()), (0, Some(name)), "{err}");
    }
    let (code, open, _) = run(&["participant", "intents", "payment", "--desk", &payment], &orders);
    assert_eq!((code, open), (0, serde_json::json!([])));
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
