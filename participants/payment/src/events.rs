//! Events on `payments.events`: key is the order's id, subject our reference, sequence the stage.

use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;
use skald_kit::{ids, outbox};
use skald_proto::payment::v1::PaymentEvent;

use crate::store::{Charge, State};

/// The topic, without the installation's prefix.
pub(crate) const TOPIC: &str = "payments.events";
const SOURCE: &str = "/skald/payment";

/// Makes events.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    topic: String,
}

/// One change of a charge that others are told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// As it is now.
    pub charge: Charge,
    /// Empty unless it was declined.
    pub decline_code: String,
    /// W3C trace context of the command.
    pub traceparent: Option<String>,
}

impl Events {
    /// For a topic with its full name.
    pub(crate) fn new(topic: String) -> Self {
        Self { topic }
    }

    /// One row for each of those whose state is worth an event.
    pub(crate) fn rows(&self, told: &[Told]) -> Vec<outbox::Row> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // When it happened, for people; order comes from the sequence.
        let time_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        told.iter().filter_map(|told| self.row(told, time_ms)).collect()
    }

    fn row(&self, told: &Told, time_ms: i64) -> Option<outbox::Row> {
        let charge = &told.charge;
        let (kind, stage, reference) = match charge.state {
            State::Captured => ("payment.charged", 1, charge.gateway_ref.clone()),
            State::Declined => ("payment.declined", 1, None),
            State::Refunded => ("payment.refunded", 2, charge.refund_ref.clone()),
            State::Intent | State::Void | State::Unresolved => return None,
        };
        let key = &charge.key;
        let event = PaymentEvent {
            order_id: key.saga.to_string(),
            amount_minor: charge.amount_minor,
            currency: charge.currency.clone(),
            reference: reference.unwrap_or_default(),
            decline_code: told.decline_code.clone(),
        };
        Some(outbox::Row {
            id: ids::mint(time_ms),
            topic: self.topic.clone(),
            key: event.order_id.clone(),
            kind: kind.to_owned(),
            source: SOURCE.to_owned(),
            subject: format!("{}/{}/{}", key.saga, key.step, key.epoch),
            sequence: format!("{stage:020}"),
            time_ms,
            traceparent: told.traceparent.clone(),
            payload: event.encode_to_vec(),
        })
    }
}
