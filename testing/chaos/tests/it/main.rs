//! The program as a person runs it, for a short while: the long runs are `./dev chaos`.

use std::{
    path::Path,
    process::{Command, Output},
};

use skald_harness::{binary, budget, scratch};

fn chaos(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skald-chaos"));
    command.args(args).output().expect("skald-chaos runs")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Half a minute of faults that are quick to heal in CI; three minutes of any in full.
#[test]
fn nothing_is_lost() {
    let folder = scratch("chaos");
    let report = folder.with_extension("md");
    let path = |path: &Path| path.display().to_string();
    let (skald, dir, file) = (path(&binary("skald")), path(&folder), path(&report));
    let mut args = vec!["--seed", "5", "--skald", &skald, "--dir", &dir, "--report", &file];
    let quick =
        "kill-payment,kill-both-orchestrators,kill-broker,kill-postgres,lose-answers-postgres,cut-kafka";
    args.extend(budget().pick(["--minutes", "0.5", "--only", quick], ["--minutes", "3", "--only", ""]));
    let output = chaos(if args.last() == Some(&"") { &args[..args.len() - 2] } else { &args });
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    let report = std::fs::read_to_string(report).expect("the record");
    assert!(report.contains("**0 violations**") && report.contains("| fault | times |"), "{report}");
    assert!(said.contains("nothing was lost, charged twice or oversold"), "{said}");
}

#[test]
fn what_it_does_not_know_it_names_before_anything_starts() {
    for (args, expected) in [
        (
            &["--only", "kill-everybody"][..],
            "there is no fault \"kill-everybody\"; there are kill-orchestrator,",
        ),
        (
            &["--grpc", "orchestrator"],
            "there is no participant \"orchestrator\"; there are inventory, payment",
        ),
        (&["--minutes", "0"], "--minutes must be above 0"),
        (&["--skald", "/nowhere/skald"], "/nowhere/skald is not there: cargo build -p skald"),
    ] {
        let skald = binary("skald").display().to_string();
        let mut all = args.to_vec();
        if !args.contains(&"--skald") {
            all.extend(["--skald", &skald]);
        }
        let output = chaos(&all);
        let said = text(&output);
        assert!(output.status.code() == Some(2) && said.contains(expected), "{args:?}: {said}");
    }
    let list = text(&chaos(&["--list"]));
    assert!(list.lines().any(|line| line == "lose-quorum") && list.lines().count() > 40, "{list}");
}
