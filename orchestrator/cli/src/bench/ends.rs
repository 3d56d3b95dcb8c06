//! Sees orders end: reads the final events of `orders.events` on a thread of its own.
//!
//! Why the events and not WatchOrder: the events are written and published anyway, so reading them costs one more
//! fetch per burst and the orchestrator nothing, while each watch makes it read the order again at every change. And it
//! is the truer measure of what the world outside waits for: it counts the commit, the relay and one hop through the
//! broker (a millisecond or less) on top of the moment at which the order was final.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use prost::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use skald_kit::config;
use skald_proto::order::v1::OrderEvent;
use uuid::Uuid;

use super::book::{Book, End};
use super::mix::Fate;

/// How long a poll waits; only a stop is that late.
const POLL: Duration = Duration::from_millis(100);
/// Events that are told to the book at once.
const BURST: usize = 4_096;

/// The thread that reads.
#[derive(Debug)]
pub(super) struct Ends {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ends {
    /// Reads all partitions of the topic, which must be there, from their beginning. No group is joined.
    pub(super) fn read(kafka: &config::Kafka, book: Arc<Book>) -> Result<Self> {
        let mut settings = skald_kit::kafka::client_config(kafka);
        settings
            .set("group.id", kafka.topic("bench"))
            .set("enable.auto.commit", "false")
            .set("queued.min.messages", "20000")
            .set("fetch.queue.backoff.ms", "2");
        let consumer: BaseConsumer = settings.create().context("a Kafka consumer for order events")?;
        let mut all = TopicPartitionList::new();
        for partition in 0..kafka.partitions {
            all.add_partition_offset(&kafka.topic("orders.events"), partition, Offset::Beginning)?;
        }
        consumer.assign(&all).context("order events")?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("order-events".to_owned()).spawn(move || {
            while !stopping.load(Ordering::Relaxed) {
                let ends = burst(&consumer);
                if !ends.is_empty() {
                    book.ended(ends);
                }
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The first event, waited for, and all that are queued behind it.
fn burst(consumer: &BaseConsumer) -> Vec<(Uuid, End)> {
    let mut ends = Vec::new();
    let mut wait = POLL;
    for _ in 0..BURST {
        match consumer.poll(wait) {
            Some(Ok(message)) => ends.extend(end(&message)),
            // Brokers that go away are seen by the services.
            Some(Err(_)) => {}
            None => break,
        }
        wait = Duration::ZERO;
    }
    ends
}

fn end(message: &BorrowedMessage<'_>) -> Option<(Uuid, End)> {
    let headers = message.headers()?;
    let kind = headers.iter().find(|header| header.key == "ce_type")?.value?;
    let end = match kind {
        b"order.completed" => End::As(Fate::Completed),
        b"order.cancelled" => cancelled(message.payload().unwrap_or_default()),
        _ => return None,
    };
    Some((Uuid::try_parse_ascii(message.key()?).ok()?, end))
}

fn cancelled(payload: &[u8]) -> End {
    match OrderEvent::decode(payload).map(|event| event.reason) {
        Ok(reason) if reason == "PAYMENT_DECLINED" => End::As(Fate::Declined),
        Ok(reason) if reason == "OUT_OF_STOCK" => End::As(Fate::OutOfStock),
        Ok(reason) => End::Otherwise(reason),
        Err(error) => End::Otherwise(format!("its event can't be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_told_apart() {
        let of = |reason: &str| {
            cancelled(&OrderEvent { reason: reason.to_owned(), ..OrderEvent::default() }.encode_to_vec())
        };
        assert_eq!(of("PAYMENT_DECLINED"), End::As(Fate::Declined));
        assert_eq!(of("OUT_OF_STOCK"), End::As(Fate::OutOfStock));
        assert_eq!(of("EXPIRED"), End::Otherwise("EXPIRED".to_owned()));
        assert!(matches!(cancelled(&[255]), End::Otherwise(_)));
    }
}
