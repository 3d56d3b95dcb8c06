//! Without a sin every rule holds, over both transports, and none is left out but those of the other transport.

use std::sync::{Arc, Mutex};

use skald_conformance::{Options, Report, Result, Stand, Transport, rules};

use crate::naive::{Naive, Sin, grpc::Served, hooks, kafka::Polling, samples};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_grpc() {
    let naive = Naive::new(Sin::None);
    let served = Served::new(naive.clone());
    let transport = Transport::grpc(&format!("http://{}", served.address)).expect("an address");
    let life = Arc::new(Mutex::new(served));
    let mut stand = Stand::new(transport, samples(), Options::default(), hooks(Arc::clone(&life), &naive));
    let report = stand.judge_all(|finding| eprintln!("{}", finding.line())).await.expect("it answers");
    all_but(&report, &["partition", "offsets"]);
    assert!(naive.effects() > 0, "it was really asked to do something");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_kafka() {
    let naive = Naive::new(Sin::None);
    let polling = Polling::new(naive.clone()).await;
    let transport = Transport::kafka(polling.brokers(), "naive").await.expect("topics");
    let life = Arc::new(Mutex::new(polling));
    let mut stand = Stand::new(transport, samples(), Options::default(), hooks(Arc::clone(&life), &naive));
    let report = stand.judge_all(|finding| eprintln!("{}", finding.line())).await.expect("it answers");
    all_but(&report, &["describe"]);
}

fn all_but(report: &Report, skipped: &[&str]) {
    assert_eq!(report.findings.len(), rules::all().count());
    for finding in &report.findings {
        let expected = if skipped.contains(&finding.rule.name) { "SKIPPED" } else { "PASS" };
        assert_eq!(finding.result.word(), expected, "{}", finding.line());
        assert_eq!(
            finding.result == Result::Pass,
            finding.sagas.len() >= finding.rule.sagas,
            "{}",
            finding.line()
        );
    }
}
