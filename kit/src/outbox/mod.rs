//! The event outbox: rows are written in the transaction that caused them and relayed after it. Knows no
//! event.

mod cloudevents;
mod memory;
mod relay;
mod table;
mod worker;

use uuid::Uuid;

pub use relay::Relay;
pub use table::{Columns, insert};

/// One event, as it stands in `skald.outbox` and as it will be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// `ce_id`; the row's key.
    pub id: Uuid,
    /// Full name, prefix included.
    pub topic: String,
    /// The record's key; it decides the partition.
    pub key: String,
    /// `ce_type`, for example `skald.order.created`.
    pub kind: String,
    /// `ce_source`.
    pub source: String,
    /// `ce_subject`.
    pub subject: String,
    /// `ce_sequence`: zero-padded, so that it sorts as a string. Consumers drop what is not newer.
    pub sequence: String,
    /// `ce_time`, Unix milliseconds.
    pub time_ms: i64,
    /// W3C trace context, if there is one.
    pub traceparent: Option<String>,
    /// Protobuf bytes.
    pub payload: Vec<u8>,
}

impl Row {
    /// About what it takes in memory, in bytes.
    fn size(&self) -> usize {
        let texts = [&self.topic, &self.key, &self.kind, &self.source, &self.subject, &self.sequence];
        texts.iter().map(|text| text.len()).sum::<usize>() + self.payload.len() + size_of::<Self>()
    }
}
