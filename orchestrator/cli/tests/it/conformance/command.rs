//! `skald conformance` as a person or a pipeline starts it.

use std::{process::Stdio, time::Duration};

use serde_json::Value;
use skald_harness::{binary, eventually, scratch};
use tokio::process::Command;

use super::subject::{Subject, Who};
use crate::commands::{ended, skald};

const LONG: Duration = Duration::from_secs(120);

/// The hooks are commands of the shell; here they leave a mark and wait until this test has done it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_as_json_and_kills_through_the_hooks() {
    let mut subject = Subject::start(Who::Inventory).await;
    let marks = scratch("hooks");
    std::fs::create_dir_all(&marks).expect("a folder");
    let hook = |name: &str| {
        let (asked, done) = (marks.join(name), marks.join(format!("{name}-done")));
        format!("touch {}; while [ ! -e {} ]; do sleep 0.02; done", asked.display(), done.display())
    };
    let running = Command::new(binary("skald"))
        .arg("conformance")
        .arg(Who::Inventory.samples())
        .args(["--brokers", &skald_harness::kafka(), "--topic-prefix", subject.prefix()])
        .args(["--rule", "repeat", "--rule", "crash", "--rule", "describe", "--output", "jsonl"])
        .args(["--kill-hook", &hook("kill"), "--restart-hook", &hook("restart")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let asked =
        async |name: &str| eventually(name, LONG, async || marks.join(name).exists().then_some(())).await;
    let done = |name: &str| std::fs::write(marks.join(format!("{name}-done")), "").expect("a mark");
    asked("kill").await;
    subject.kill().await;
    done("kill");
    asked("restart").await;
    subject.restart();
    done("restart");
    let output = running.wait_with_output().await.expect("it ends");
    let (code, out, err) = ended(&output);
    assert_eq!(code, 0, "{out}{err}");
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let result = |rule: &str, action: Value| {
        let found = lines.iter().find(|l| l["rule"] == rule && l["action"] == action);
        found.map(|l| l["result"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(result("repeat", "reserve".into()).as_deref(), Some("PASS"), "{out}");
    assert_eq!(result("repeat", "commit".into()).as_deref(), Some("PASS"), "{out}");
    assert_eq!(result("crash", Value::Null).as_deref(), Some("PASS"), "{out}");
    assert_eq!(result("describe", Value::Null).as_deref(), Some("SKIPPED"), "{out}");
    let sum = lines.last().expect("a last line");
    assert_eq!(
        (&sum["participant"], &sum["passed"], &sum["failed"]),
        (&"inventory".into(), &3.into(), &0.into())
    );
}

/// A sample that can't succeed shows what a failure looks like: which promise, and where to read on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_1_and_says_what_it_means() {
    let subject = Subject::start(Who::Inventory).await;
    let samples = scratch("samples").join("wrong.toml");
    let text = std::fs::read_to_string(Who::Inventory.samples()).expect("samples");
    std::fs::write(&samples, text.replace("conformance-tea", "conformance-sold-out")).expect("written");
    let address = subject.address();
    let path = samples.display().to_string();
    let run = move || skald(&["conformance", &path, "--address", &address, "--rule", "undo-after"]);
    let output = tokio::task::spawn_blocking(run).await.expect("no panic");
    let (code, out, err) = ended(&output);
    assert_eq!(code, 1, "{out}{err}");
    for says in
        ["FAIL     undo-after", "Undo is exact", "docs/participants.md#undo-after", "rejected OUT_OF_STOCK"]
    {
        assert!(out.contains(says), "{says:?} in\n{out}");
    }
}

#[test]
fn the_rules_are_listed_and_nobody_there_is_5() {
    let (code, out, _) = ended(&skald(&["conformance", "--list"]));
    assert_eq!(code, 0);
    for rule in skald_conformance::rules::all() {
        assert!(out.contains(rule.name), "{} in\n{out}", rule.name);
    }
    let samples = Who::Payment.samples().display().to_string();
    let port = skald_harness::free_port();
    let (code, _, err) = ended(&skald(&[
        "conformance",
        &samples,
        "--address",
        &format!("127.0.0.1:{port}"),
        "--patience",
        "2s",
    ]));
    assert_eq!(code, 5, "{err}");
    assert!(err.contains("payment does not answer over gRPC"), "{err}");
}

/// The kit shares no code with the orchestrator; on the ids of commands they must agree all the same.
#[test]
fn command_ids_are_the_orchestrators() {
    use skald_core::input::Verb as Core;
    use skald_proto::participant::v1::Verb;
    let saga = uuid::Uuid::now_v7();
    let pairs = [
        (Verb::Run, Core::Run),
        (Verb::Undo, Core::Undo),
        (Verb::SealRun, Core::SealRun),
        (Verb::SealUndo, Core::SealUndo),
    ];
    for (verb, core) in pairs {
        let ours = skald_conformance::command_id(saga, "reserve", verb, 2);
        assert_eq!(ours, skald_core::command_id(saga, "reserve", core, 2));
    }
}
