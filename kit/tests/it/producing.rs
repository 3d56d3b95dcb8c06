//! Topics and the producer.

use std::sync::{Arc, Mutex};

use rdkafka::mocking::MockCluster;
use skald_harness::eventually;
use skald_kit::config::Kafka;
use skald_kit::kafka::topics::{self, Error};
use skald_kit::kafka::{Consumer, Options, Producer, Record, SendError, Topic, partition_for};

use super::{SOON, kafka, topic};

#[tokio::test]
async fn all_that_is_wrong_with_topics_is_one_error() {
    let kafka = kafka();
    let want = |name: &str, partitions, retention_ms| Topic {
        name: kafka.topic(name),
        partitions,
        retention_ms,
        config: [("cleanup.policy".to_owned(), "delete".to_owned())].into(),
    };
    let (first, second) = (want("first", 3, Some(3_600_000)), want("second", 2, None));
    let error = topics::check(&kafka, &[first.clone(), second.clone()]).await.unwrap_err();
    let Error::Wrong(lines) = error else { panic!("{error}") };
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains(&first.name) && lines[0].contains("missing"), "{lines:?}");

    topics::create_missing(&kafka, &[first.clone(), second.clone()]).await.unwrap();
    topics::create_missing(&kafka, &[first.clone(), second.clone()]).await.unwrap();
    topics::check(&kafka, &[first.clone(), second]).await.unwrap();

    let (more, longer) = (want("second", 5, None), Topic { retention_ms: Some(7_200_000), ..first });
    let error = topics::check(&kafka, &[more, longer]).await.unwrap_err().to_string();
    assert!(error.contains("has 2 partitions; it must have 5"), "{error}");
    assert!(error.contains("has retention.ms 3600000; it must be 7200000 or more"), "{error}");
}

#[tokio::test]
async fn a_broker_without_settings_is_checked_by_metadata_alone() {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("there", 3, 1).unwrap();
    let kafka = Kafka { bootstrap_servers: mock.bootstrap_servers(), ..Kafka::default() };
    let want =
        |name: &str| Topic { name: name.to_owned(), partitions: 3, retention_ms: Some(1), config: [].into() };
    topics::check(&kafka, &[want("there")]).await.unwrap();
    topics::create_missing(&kafka, &[want("there")]).await.unwrap();
    let error = topics::create_missing(&kafka, &[want("not.there")]).await.unwrap_err();
    assert!(matches!(error, Error::Wrong(_)), "{error}");
}

#[tokio::test]
async fn records_arrive_where_their_key_says_with_their_headers() {
    let kafka = kafka();
    let topic = topic(&kafka, "keys", 7).await;
    let delivered = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&delivered);
    let producer =
        Producer::new(&kafka, move |token: usize, result| seen.lock().unwrap().push((token, result)))
            .unwrap();
    let keys: Vec<String> = (0..200).map(|n| format!("key-{n}")).collect();
    for (token, key) in keys.iter().enumerate() {
        let headers: &[(&str, &[u8])] = &[("a", b"1"), ("b", b"")];
        let record =
            Record { topic: &topic, partition: None, key: key.as_bytes(), payload: key.as_bytes(), headers };
        producer.send(record, token).map_err(|(error, _)| error).unwrap();
    }
    let explicit =
        Record { topic: &topic, partition: Some(5), key: b"any", payload: b"explicit", headers: &[] };
    producer.send(explicit, 200).map_err(|(error, _)| error).unwrap();
    producer.flush(SOON).await.unwrap();
    let mut tokens: Vec<_> =
        delivered.lock().unwrap().iter().map(|(token, result)| (*token, result.is_ok())).collect();
    tokens.sort_unstable();
    assert_eq!(tokens, (0..=200).map(|token| (token, true)).collect::<Vec<_>>());

    let (consumer, mut batches) =
        Consumer::start(&kafka, Options::new(kafka.topic("group"), vec![topic])).unwrap();
    let mut messages = Vec::new();
    while messages.len() < 201 {
        messages.extend(
            tokio::time::timeout(SOON, batches.recv()).await.expect("in time").expect("a batch").messages,
        );
    }
    for message in &messages {
        if message.payload == b"explicit" {
            assert_eq!((message.partition, message.headers.len()), (5, 0));
            continue;
        }
        assert_eq!(message.key.as_deref(), Some(&*message.payload));
        assert_eq!(message.partition, partition_for(&message.payload, 7));
        assert_eq!(
            (message.header("a"), message.header("b"), message.header("c")),
            (Some(&b"1"[..]), Some(&b""[..]), None)
        );
        assert!(message.timestamp_ms > 0);
    }
    assert!(consumer.close(SOON).await);
}

#[tokio::test]
async fn a_broker_that_is_away_fails_deliveries_and_bounds_the_queue() {
    let kafka = Kafka {
        bootstrap_servers: "127.0.0.1:1".to_owned(),
        properties: [("delivery.timeout.ms", "300"), ("queue.buffering.max.messages", "10")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..Kafka::default()
    };
    let failed = Arc::new(Mutex::new(0));
    let count = Arc::clone(&failed);
    let producer =
        Producer::new(&kafka, move |_: usize, result| *count.lock().unwrap() += usize::from(result.is_err()))
            .unwrap();
    let record = Record { topic: "nowhere", partition: None, key: b"k", payload: b"p", headers: &[] };
    for token in 0..10 {
        producer.send(record, token).map_err(|(error, _)| error).unwrap();
    }
    let (error, token) = producer.send(record, 10).unwrap_err();
    assert_eq!((error, token), (SendError::QueueFull, 10));
    eventually("all have failed", SOON, async || (*failed.lock().unwrap() == 10).then_some(())).await;
    assert_eq!(producer.in_flight(), 0);
    let large = Record { payload: &vec![0; 2 << 20], ..record };
    assert_eq!(producer.send(large, 11).unwrap_err(), (SendError::TooLarge, 11));
}
