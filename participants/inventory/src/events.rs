//! Events on `inventory.updated`: one per SKU and kind of change, key and subject the SKU, sequence its version.

use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;
use skald_kit::{ids, outbox};
use skald_proto::inventory::v1::StockEvent;

use crate::allocation::{Change, Kind};

/// The topic, without the installation's prefix.
pub(crate) const TOPIC: &str = "inventory.updated";
const SOURCE: &str = "/skald/inventory";

/// Makes events.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    topic: String,
}

impl Events {
    /// For a topic with its full name.
    pub(crate) fn new(topic: String) -> Self {
        Self { topic }
    }

    /// One row per change.
    pub(crate) fn rows(&self, changes: &[Change]) -> Vec<outbox::Row> {
        let time_ms = now_ms();
        changes.iter().map(|change| self.row(change, time_ms)).collect()
    }

    fn row(&self, change: &Change, time_ms: i64) -> outbox::Row {
        let Change { sku, kind, after } = change;
        let event = StockEvent {
            sku: sku.clone(),
            stocked: after.stocked,
            available: after.available,
            reserved: after.reserved,
            committed: after.committed,
            version: after.version,
        };
        outbox::Row {
            id: ids::mint(time_ms),
            topic: self.topic.clone(),
            key: sku.clone(),
            kind: name(*kind).to_owned(),
            source: SOURCE.to_owned(),
            subject: sku.clone(),
            sequence: format!("{:020}", after.version),
            time_ms,
            // A wave's change belongs to many orders.
            traceparent: None,
            payload: event.encode_to_vec(),
        }
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Released => "inventory.released",
        Kind::Committed => "inventory.committed",
        Kind::Reserved => "inventory.reserved",
        Kind::Restocked => "inventory.restocked",
        Kind::Adjusted => "inventory.adjusted",
    }
}

/// When it happened, for people; order comes from the version.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocation::Counters;

    #[test]
    fn the_event_says_what_changed_and_in_which_order() {
        let after = Counters { stocked: 10, available: 7, reserved: 2, committed: 1, version: 42 };
        let change = Change { sku: "a".to_owned(), kind: Kind::Reserved, after };
        let rows = Events::new("t.inventory.updated".to_owned()).rows(&[change]);
        assert_eq!(rows.len(), 1);
        let row = &rows[0];
        assert_eq!((row.topic.as_str(), row.key.as_str()), ("t.inventory.updated", "a"));
        assert_eq!((row.kind.as_str(), row.subject.as_str()), ("inventory.reserved", "a"));
        assert_eq!(row.sequence, "00000000000000000042");
        let event = StockEvent::decode(row.payload.as_slice()).expect("decodes");
        let expected = StockEvent {
            sku: "a".to_owned(),
            stocked: 10,
            available: 7,
            reserved: 2,
            committed: 1,
            version: 42,
        };
        assert_eq!(event, expected);
    }
}
