//! The event outbox: rows are written in the transaction that caused them and relayed after it. Knows no
//! event.

mod cloudevents;
mod memory;
mod publisher;
mod relay;
mod table;
mod worker;

use uuid::Uuid;

pub use publisher::{Publisher, Unpublished};
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

#[cfg(test)]
mod tests {
    use super::*;

    /// One with a payload of so many bytes.
    pub(super) fn row(payload: usize) -> Row {
        Row {
            id: Uuid::now_v7(),
            topic: "t".to_owned(),
            key: "k".to_owned(),
            kind: "e".to_owned(),
            source: "s".to_owned(),
            subject: "u".to_owned(),
            sequence: "001".to_owned(),
            time_ms: 0,
            traceparent: None,
            payload: vec![0; payload],
        }
    }
}
