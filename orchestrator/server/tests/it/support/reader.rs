//! What stands in a topic.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use prost::Message as _;
use skald_kit::{
    config::Kafka,
    kafka::{Consumer, Message, Options},
};
use skald_proto::order::v1::OrderEvent;

/// Everything in a topic so far, from the beginning.
pub(crate) struct Reader {
    pub(crate) messages: Arc<Mutex<Vec<Message>>>,
    _consumer: Consumer,
}

impl Reader {
    pub(crate) fn of(kafka: &Kafka, topic: &str) -> Reader {
        let group = skald_harness::unique("reader");
        let (consumer, mut batches) =
            Consumer::start(kafka, Options::new(group, vec![kafka.topic(topic)])).unwrap();
        let messages = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&messages);
        tokio::spawn(async move {
            while let Some(batch) = batches.recv().await {
                into.lock().unwrap().extend(batch.messages);
            }
        });
        Reader { messages, _consumer: consumer }
    }

    /// CloudEvents types per key, in order.
    pub(crate) fn kinds(&self, key: &str) -> Vec<String> {
        let messages = self.messages.lock().unwrap();
        let about = messages.iter().filter(|m| m.key.as_deref() == Some(key.as_bytes()));
        about.map(|m| m.header_str("ce_type").unwrap_or_default().to_owned()).collect()
    }

    /// Order events of a key, in order.
    pub(crate) fn order_events(&self, key: &str) -> Vec<OrderEvent> {
        let messages = self.messages.lock().unwrap();
        let about = messages.iter().filter(|m| m.key.as_deref() == Some(key.as_bytes()));
        about.map(|m| OrderEvent::decode(m.payload.as_slice()).unwrap()).collect()
    }

    /// How often each event id came.
    pub(crate) fn ids(&self) -> HashMap<String, usize> {
        let mut ids = HashMap::new();
        for message in self.messages.lock().unwrap().iter() {
            *ids.entry(message.header_str("ce_id").unwrap_or_default().to_owned()).or_default() += 1;
        }
        ids
    }
}
