//! CloudEvents 1.0 in Kafka, binary mode
//! (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md), with the
//! `sequence` extension.

use uuid::Uuid;

use super::Row;
use crate::civil::rfc3339;
use crate::kafka::{Producer, Record, SendError};
use crate::trace;

/// Hands a row to the producer as a CloudEvent.
pub(super) fn send<T: Send + 'static>(
    producer: &Producer<T>,
    row: &Row,
    token: T,
) -> Result<(), (SendError, T)> {
    let mut id = Uuid::encode_buffer();
    let id: &str = row.id.hyphenated().encode_lower(&mut id);
    let time = rfc3339(row.time_ms);
    let headers: [(&str, &[u8]); 9] = [
        ("ce_specversion", b"1.0"),
        ("ce_id", id.as_bytes()),
        ("ce_source", row.source.as_bytes()),
        ("ce_type", row.kind.as_bytes()),
        ("ce_subject", row.subject.as_bytes()),
        ("ce_time", time.as_bytes()),
        ("ce_sequence", row.sequence.as_bytes()),
        ("content-type", b"application/protobuf"),
        (trace::HEADER, row.traceparent.as_deref().unwrap_or_default().as_bytes()),
    ];
    let headers = if row.traceparent.is_some() { &headers[..] } else { &headers[..8] };
    let record = Record {
        topic: &row.topic,
        partition: None,
        key: row.key.as_bytes(),
        payload: &row.payload,
        headers,
    };
    producer.send(record, token)
}
