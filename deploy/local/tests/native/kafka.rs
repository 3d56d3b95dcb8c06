//! An acknowledged message survives every way of ending Kafka.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use skald_local::{Jvm, Kafka, KafkaOptions};

use crate::folder;

async fn produce(server: &Kafka, value: &str) {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", server.bootstrap_servers())
        .set("acks", "all")
        .create()
        .expect("a producer");
    let record = FutureRecord::<str, str>::to("orders").payload(value);
    producer.send(record, Duration::from_secs(30)).await.expect("acknowledged");
}

fn messages(server: &Kafka) -> i64 {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", server.bootstrap_servers())
        .create()
        .expect("a consumer");
    // A leader may still be in election right after a restart.
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        match consumer.fetch_watermarks("orders", 0, Duration::from_secs(5)) {
            Ok((low, high)) => return high - low,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
    }
}

#[tokio::test]
async fn a_message_survives_stop_kill_and_restart() {
    let mut server = Kafka::start(KafkaOptions::new(folder("kafka"))).await.expect("starts").remove_on_drop();
    server.create_topic("orders", 1).await.expect("a topic");
    server.create_topic("orders", 1).await.expect("it exists: no error");
    produce(&server, "one").await;
    assert_eq!(messages(&server), 1);

    let (first, address) = (server.pid(), server.bootstrap_servers());
    server.kill().await.expect("killed");
    assert!(!std::path::Path::new(&format!("/proc/{first}")).exists(), "no zombie remains");
    server.restart().await.expect("starts again");
    assert_eq!(server.bootstrap_servers(), address);
    assert_eq!(messages(&server), 1);
    produce(&server, "two").await;

    server.stop().await.expect("stops");
    server.stop().await.expect("stopped already: no error");
    assert_eq!(server.pid(), 0);
    server.restart().await.expect("starts again");
    assert_eq!(messages(&server), 2);
}

#[tokio::test]
async fn topics_are_not_made_by_naming_them() {
    let options = KafkaOptions::new(folder("kafka")).jvm(Jvm::Throughput);
    let server = Kafka::start(options).await.expect("starts").remove_on_drop();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", server.bootstrap_servers())
        .create()
        .expect("a consumer");
    let metadata = consumer.fetch_metadata(Some("surprise"), Duration::from_secs(10)).expect("metadata");
    assert!(metadata.topics()[0].error().is_some(), "an unknown topic stays unknown");
}
