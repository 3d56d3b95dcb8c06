//! Inventory, payment and the Python participant keep every rule of the conformance kit, over gRPC and over Kafka, as real
//! processes that are really killed; and the command line says so.

mod command;
mod subject;

use std::sync::Arc;

use skald_conformance::{Options, Report, Samples, Stand, Transport, rules};
use tokio::sync::Mutex;

use subject::{Subject, Who};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inventory_over_grpc() {
    over_grpc(Who::Inventory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inventory_over_kafka() {
    over_kafka(Who::Inventory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payment_over_grpc() {
    over_grpc(Who::Payment).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payment_over_kafka() {
    over_kafka(Who::Payment).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_over_grpc() {
    over_grpc(Who::Python).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_over_kafka() {
    over_kafka(Who::Python).await;
}

async fn over_grpc(who: Who) {
    let subject = Subject::start(who).await;
    let transport = Transport::grpc(&format!("http://{}", subject.address())).expect("an address");
    all_hold(subject, transport, &["partition", "offsets"]).await;
}

async fn over_kafka(who: Who) {
    let subject = Subject::start(who).await;
    let transport = Transport::kafka(subject.brokers(), who.name()).await.expect("its topics are there");
    all_hold(subject, transport, &["describe"]).await;
}

/// Every rule holds, and none was left out but those of the other transport and those that an action has no sample for.
async fn all_hold(subject: Subject, transport: Transport, other: &[&str]) {
    let samples = Samples::read(&subject.who.samples()).expect("samples");
    let subject = Arc::new(Mutex::new(subject));
    let mut stand = Stand::new(transport, samples, Options::default(), subject::hooks(&subject));
    let report = stand.judge_all(|finding| println!("{}", finding.line())).await.expect("it answers");
    let failed: Vec<String> = report.findings.iter().map(|f| f.meaning()).filter(|m| !m.is_empty()).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    let skipped = skipped(&report);
    let wrongly: Vec<_> = skipped.iter().filter(|line| !other.iter().any(|o| line.contains(o))).collect();
    assert!(wrongly.iter().all(|line| line.ends_with("commit has no undo")), "{wrongly:?}");
    assert!(report.passed() + other.len() >= rules::all().count(), "{}", report.summary());
}

fn skipped(report: &Report) -> Vec<String> {
    report.findings.iter().filter(|f| f.result.word() == "SKIPPED").map(|f| f.line()).collect()
}
