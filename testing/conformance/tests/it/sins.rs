//! Each rule is broken by the sin that is meant for it, and says so.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use skald_conformance::{Options, Report, Result, Stand, Transport, rules};

use crate::naive::{Naive, Sin, grpc::Served, hooks, kafka::Polling, samples};

/// The sin, the rule that it breaks, and what is then said.
const OVER_GRPC: &[(Sin, &str, &str)] = &[
    (Sin::FailsRepeats, "repeat", "its repeat is failed DUPLICATE"),
    (Sin::ForgetsNo, "repeat-rejected", "its repeat is succeeded"),
    (Sin::NoBarrier, "together", "with other content"),
    (Sin::NoTombstone, "undo-first", "RUN do must be answered sealed; it was succeeded"),
    (Sin::UndoesNothing, "undo-after", "UNDO undo must be answered undone; it was nothing to undo"),
    (Sin::UndoesAgain, "undo-twice", "the undo was first undone, then undone (with other content)"),
    (Sin::UndoesTheRejected, "undo-rejected", "must be answered nothing to undo; it was undone"),
    (Sin::SealForgets, "seal-run-first", "RUN do must be answered sealed; it was succeeded"),
    (Sin::SealAlwaysSealed, "seal-run-late", "SEAL_RUN do must be answered succeeded; it was sealed"),
    (Sin::FenceLeavesRun, "seal-undo-first", "RUN do must be answered sealed; it was succeeded"),
    (Sin::FenceForgets, "seal-undo-fences", "UNDO undo must be answered fenced; it was undone"),
    (Sin::FenceAlways, "seal-undo-late", "SEAL_UNDO undo must be answered undone; it was fenced"),
    (Sin::MisnamesItself, "describe", "it calls itself \"someone\""),
    (Sin::Anonymous, "echo", "the outcome is from \"\""),
    (Sin::ForgetsAttempt, "attempts", "attempt 3 was asked; the outcome says [1"),
    (Sin::IgnoresEpochs, "epochs", "RUN do of epoch 2 must be answered succeeded; it was rejected"),
    (Sin::NoTombstone, "reorder", "nothing to undo"),
    (Sin::LooksThenActs, "race-undo", "saga"),
    (Sin::LooksThenActs, "race-repeat", "with other content"),
    (Sin::RejectsUnknown, "unknown-action", "it must be failed, retryable; it was rejected NO"),
    (Sin::IgnoresProtocol, "protocol", "it must be failed, retryable; it was succeeded"),
    (Sin::RunsTheOld, "too-old", "it must be failed, final; it was succeeded"),
    (Sin::RunsTheFuture, "future", "it must be failed, retryable; it was succeeded"),
    (Sin::AnswersNonsense, "undecodable", "it was answered"),
    (Sin::ForgetsOnCrash, "crash", "was first"),
];

const OVER_KAFKA: &[(Sin, &str, &str)] = &[
    (Sin::OwnPartition, "partition", "was answered into partition"),
    (Sin::DropsNonsense, "undecodable", "no dead letter with the original"),
    (Sin::ForgetsOnCrash, "crash", "was first"),
    (Sin::CommitsFirst, "offsets", "had been committed at the kill"),
];

#[test]
fn every_rule_has_its_sin() {
    for rule in rules::all() {
        let mut meant = OVER_GRPC.iter().chain(OVER_KAFKA);
        assert!(meant.any(|(_, name, _)| *name == rule.name), "no sin breaks {}", rule.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_is_seen_over_grpc() {
    for &(sin, rule, says) in OVER_GRPC {
        let naive = Naive::new(sin);
        let served = Served::new(naive.clone());
        let transport = Transport::grpc(&format!("http://{}", served.address)).expect("an address");
        let life = Arc::new(Mutex::new(served));
        let mut stand = Stand::new(transport, samples(), quick(rule), hooks(Arc::clone(&life), &naive));
        broken(sin, says, &stand.judge_all(|_| ()).await.expect("it answers"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_is_seen_over_kafka() {
    for &(sin, rule, says) in OVER_KAFKA {
        let naive = Naive::new(sin);
        let polling = Polling::new(naive.clone()).await;
        let transport = Transport::kafka(polling.brokers(), "naive").await.expect("topics");
        let life = Arc::new(Mutex::new(polling));
        let mut stand = Stand::new(transport, samples(), quick(rule), hooks(Arc::clone(&life), &naive));
        broken(sin, says, &stand.judge_all(|_| ()).await.expect("it answers"));
    }
}

/// Who sins with silence is not waited for long; what is asserted is what was seen, not how long it took.
fn quick(rule: &str) -> Options {
    let silence = matches!(rule, "attempts" | "undecodable");
    let patience = if silence { Duration::from_secs(5) } else { Options::default().patience };
    Options {
        patience,
        after_crash: Duration::from_secs(15),
        only: vec![rule.to_owned()],
        ..Options::default()
    }
}

fn broken(sin: Sin, says: &str, report: &Report) {
    let [finding] = report.findings.as_slice() else {
        panic!("{sin:?}: one finding, not {:?}", report.findings)
    };
    let Result::Fail(why) = &finding.result else { panic!("{sin:?} was not seen: {}", finding.line()) };
    assert!(why.contains(says), "{sin:?}: {says:?} in {}", finding.line());
    assert!(finding.meaning().contains(finding.rule.promise), "{}", finding.meaning());
}
