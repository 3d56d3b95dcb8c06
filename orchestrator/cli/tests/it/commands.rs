//! The command line itself: wrong usage, settings, what is not there.

use std::process::{Command, Output};

use skald_harness::{free_port, scratch};

/// Runs the real program and waits for its end.
pub(crate) fn skald(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skald"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SKALD_")) {
        command.env_remove(name);
    }
    command.args(args).output().expect("the program runs")
}

/// Its exit code, standard output and standard error.
pub(crate) fn ended(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[test]
fn wrong_usage_is_2() {
    for args in [
        &[][..],
        &["nothing"],
        &["serve"],
        &["serve", "nothing"],
        &["order", "submit", "--customer", "ada"],
        &["order", "submit", "--customer", "ada", "--line", "teapot"],
        &["order", "submit", "--file", "-", "--customer", "ada"],
        &["stock", "set", "teapot", "-1"],
        &["migrate", "all"],
        &["conformance"],
        &["conformance", "samples.toml"],
        &["conformance", "no-such-file.toml", "--address", "127.0.0.1:1"],
        &["conformance", "samples.toml", "--address", "127.0.0.1:1", "--rule", "nothing"],
        &["conformance", "samples.toml", "--address", "127.0.0.1:1", "--kill-hook", "true"],
        &["topics"],
        &["dev", "--kafka", "h:1", "--native-kafka"],
        &["dev", "--port-base", "65530"],
        &["order", "get", "x", "--server", "no address"],
        &["saga", "list", "--since", "yesterday"],
        &["saga", "list", "--count", "--limit", "3"],
        &["saga", "list", "--oldest-first", "--wake-within", "5m"],
        &["payment", "settle", "0123456789", "--reason", "x", "--actor", "a"],
        &[
            "payment",
            "settle",
            "0123456789",
            "--reason",
            "x",
            "--actor",
            "a",
            "--happened",
            "r",
            "--did-not-happen",
        ],
        &["participant", "status", "nobody-knows-where"],
    ] {
        let (code, out, err) = ended(&skald(args));
        assert_eq!(code, 2, "{args:?}: {out}{err}");
        assert!(!err.is_empty(), "{args:?} says why");
    }
}

#[test]
fn help_names_every_exit_code() {
    let (code, out, _) = ended(&skald(&["--help"]));
    assert_eq!(code, 0);
    for exit in ["  0  ", "  1  ", "  2  ", "  3  ", "  4  ", "  5  ", "  6  ", "  130  "] {
        assert!(out.contains(exit), "{exit:?} in\n{out}");
    }
    for command in [
        "dev",
        "serve",
        "order",
        "stock",
        "payment",
        "saga",
        "attention",
        "dlq",
        "bulk",
        "stats",
        "participant",
        "audit",
        "replay",
        "definition",
        "conformance",
        "migrate",
        "topics",
        "bench",
    ] {
        assert!(out.contains(&format!("\n  {command} ")), "{command} in\n{out}");
        assert_eq!(ended(&skald(&[command, "--help"])).0, 0, "{command}");
    }
}

#[test]
fn nobody_there_is_5() {
    let server = format!("127.0.0.1:{}", free_port());
    for args in [&["order", "list"][..], &["stock", "list"], &["saga", "list"]] {
        let (code, _, err) = ended(&skald(&[args, &["--server", &server]].concat()));
        assert_eq!(code, 5, "{err}");
        assert!(err.contains("does not answer") && err.contains("skald serve"), "{err}");
        assert!(!err.contains('\u{1b}'), "no colours without a terminal: {err}");
    }
    for format in ["json", "jsonl"] {
        let (code, out, err) = ended(&skald(&["order", "list", "--output", format, "--server", &server]));
        assert_eq!((code, &*out), (5, ""));
        assert!(err.starts_with(r#"{"error":{"#), "{err}");
    }
    // A whole id needs nobody to look it up.
    let whole = "018bcfe5-6800-7000-8000-000000000001";
    let charges = ["payment", "charges", "--server", &server, "--orchestrator", &server, "--order"];
    for (id, who) in [(whole, "payment at"), ("018bcfe5", "orchestrator at")] {
        let (code, _, err) = ended(&skald(&[&charges[..], &[id]].concat()));
        assert!(code == 5 && err.contains(who), "{err}");
    }
}

#[test]
fn settings_are_printed_without_secrets_and_refused_with_all_their_faults() {
    let file = scratch("settings").join("orchestrator.toml");
    std::fs::write(&file, "[postgres]\nurl = \"postgres://bob:hush@db/orders\"\n[driver]\nbatch = 7\n")
        .expect("written");
    let file = file.to_str().expect("a plain path");
    for service in ["orchestrator", "inventory", "payment"] {
        let (code, out, err) = ended(&skald(&["serve", service, "--print-config"]));
        assert_eq!(code, 0, "{err}");
        assert!(out.contains("[postgres]") && out.contains("[listen]"), "{out}");
    }
    let (code, out, _) = ended(&skald(&["serve", "orchestrator", "--config", file, "--print-config"]));
    assert_eq!(code, 0);
    assert!(
        out.contains("postgres://bob:***@db/orders") && out.contains("batch = 7") && !out.contains("hush"),
        "{out}"
    );

    std::fs::write(file, "[driver]\nbatch = 0\nresend_share = 2\n").expect("written");
    let (code, _, err) = ended(&skald(&["serve", "orchestrator", "--config", file]));
    assert_eq!(code, 2);
    assert!(err.contains("driver.batch") && err.contains("driver.resend_share"), "{err}");

    std::fs::write(file, "[driver]\nbatches = 1\n").expect("written");
    let (code, _, err) = ended(&skald(&["serve", "orchestrator", "--config", file]));
    assert_eq!(code, 2);
    assert!(err.contains("driver.batches") && err.contains("unknown setting"), "{err}");

    let (code, _, err) = ended(&skald(&["serve", "payment", "--config", "/nowhere/at.toml"]));
    assert_eq!(code, 2);
    assert!(err.contains("/nowhere/at.toml"), "{err}");
}
