//! Commands over Kafka, and the events on `inventory.updated`.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use prost::Message as _;
use skald_harness::eventually;
use skald_kit::kafka::{Consumer, Message, Options, Producer, Record};
use skald_proto::{
    inventory::v1::StockEvent,
    participant::v1::{Outcome, outcome::Answer},
};
use tokio::sync::mpsc::Receiver;

use crate::support::{Installation, SOON, commit, order, release, reserve};

struct Listener {
    _consumer: Consumer,
    batches: Receiver<skald_kit::kafka::Batch>,
    seen: Vec<Message>,
}

impl Listener {
    fn new(installation: &Installation, topic: &str) -> Self {
        let kafka = &installation.config.kafka;
        let options = Options::new(skald_harness::unique("listener"), vec![kafka.topic(topic)]);
        let (consumer, batches) = Consumer::start(kafka, options).expect("a consumer");
        Self { _consumer: consumer, batches, seen: Vec::new() }
    }

    /// Waits until so many messages came in all.
    async fn until(&mut self, count: usize) -> &[Message] {
        let Self { batches, seen, .. } = self;
        tokio::time::timeout(SOON, async {
            while seen.len() < count {
                seen.extend(batches.recv().await.expect("a batch").messages);
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{} messages of {count}", seen.len()));
        seen
    }
}

fn event(message: &Message) -> (String, StockEvent) {
    let kind = message.header_str("ce_type").expect("a type").to_owned();
    (kind, StockEvent::decode(message.payload.as_slice()).expect("an event"))
}

#[tokio::test]
async fn every_change_is_told_once_in_rising_versions() {
    let installation = Installation::new().await;
    let inventory = installation.start().await;
    let kafka = &installation.config.kafka;
    let mut events = Listener::new(&installation, "inventory.updated");
    let mut outcomes = Listener::new(&installation, "skald.inventory.outcomes");
    inventory.restock("r1", "apple", 10).await.expect("restocked");
    inventory.restock("r2", "pear", 10).await.expect("restocked");

    let producer: Producer<()> = Producer::new(kafka, |(), _| {}).expect("a producer");
    let send = |command: &skald_proto::participant::v1::Command| {
        let topic = kafka.topic("skald.inventory.commands");
        let record = Record {
            topic: &topic,
            partition: None,
            key: command.saga_id.as_bytes(),
            payload: &command.encode_to_vec(),
            headers: &[],
        };
        producer.send(record, ()).map_err(|(error, ())| error).expect("sent");
    };
    let (a, b) = (order(), order());
    send(&reserve(a, &[("apple", 2), ("pear", 1)]));
    send(&reserve(b, &[("apple", 3)]));
    outcomes.until(2).await;
    send(&commit(a));
    send(&release(b));
    let answers = outcomes.until(4).await;
    for message in answers {
        let outcome = Outcome::decode(message.payload.as_slice()).expect("an outcome");
        let good = matches!(outcome.answer, Some(Answer::Succeeded(_) | Answer::Undone(_)));
        assert!(good, "{outcome:?}");
        assert_eq!(outcome.participant, "inventory");
        assert_eq!(message.key.as_deref(), Some(outcome.saga_id.as_bytes()));
    }

    // two restocks; apple: reserved (in one wave or two), committed, released; pear: reserved, committed
    let version = eventually("the stock to settle", SOON, async || {
        let request = skald_proto::inventory::v1::GetStockRequest { sku: "apple".into() };
        inventory.api().get_stock(request).await.map(|r| r.into_inner().stock.expect("stock").version)
    })
    .await;
    let expected = usize::try_from(version).expect("small") + 3;
    let mut by_sku: BTreeMap<String, Vec<(String, StockEvent)>> = BTreeMap::new();
    for message in events.until(expected).await {
        let (kind, event) = event(message);
        assert_eq!(message.key.as_deref(), Some(event.sku.as_bytes()));
        assert_eq!(message.header_str("ce_subject"), Some(event.sku.as_str()));
        assert_eq!(message.header_str("ce_sequence"), Some(format!("{:020}", event.version).as_str()));
        assert_eq!(event.available + event.reserved + event.committed, event.stocked);
        by_sku.entry(event.sku.clone()).or_default().push((kind, event));
    }
    for (sku, told) in &mut by_sku {
        told.sort_by_key(|(_, event)| event.version);
        let versions: Vec<i64> = told.iter().map(|(_, event)| event.version).collect();
        let all: Vec<i64> = (1..=versions.len() as i64).collect();
        assert_eq!(versions, all, "{sku}: each version once");
        let last = &told.last().expect("events").1;
        assert_eq!((last.stocked, last.available, last.reserved, last.committed), inventory.stock(sku).await);
    }
    let kinds: Vec<&str> = by_sku["pear"].iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["inventory.restocked", "inventory.reserved", "inventory.committed"]);
    inventory.stop().await;
}

/// The API's own events go out with this instance's relay, not when somebody adopts them seconds later.
#[tokio::test]
async fn a_restock_is_told_at_once() {
    let installation = Installation::new().await;
    let inventory = installation.start().await;
    let mut events = Listener::new(&installation, "inventory.updated");
    inventory.restock("r0", "apple", 1).await.expect("restocked");
    // the listener has found its partitions
    events.until(1).await;
    let began = Instant::now();
    for n in 1..=5 {
        inventory.restock(&format!("r{n}"), "apple", 1).await.expect("restocked");
        let told = events.until(n + 1).await;
        assert_eq!(event(&told[n]).1.stocked, n as i64 + 1);
    }
    let counted = skald_proto::inventory::v1::AdjustRequest {
        sku: "apple".into(),
        delta: -2,
        request_id: "a1".into(),
        actor: "tester".into(),
        reason: "counted".into(),
    };
    inventory.api().adjust(counted).await.expect("adjusted");
    let (kind, last) = event(events.until(7).await.last().expect("an event"));
    assert_eq!((kind.as_str(), last.stocked, last.version), ("inventory.adjusted", 4, 7));
    // a scan for rows to adopt comes every three seconds, and each of these would have waited for its own
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    inventory.stop().await;
}
