//! What the world outside is told: core's events as rows of the outbox. Today that is the order saga's public events;
//! sagas of other definitions have none.

use prost::{Message, Name};
use skald_core::{Definition, Event, effects::Why, input::Request};
use skald_kit::outbox;
use skald_proto::order::v1::{OrderEvent, OrderInput, OrderStatus};
use uuid::Uuid;

use crate::intake::view;

/// CloudEvents' `source`.
pub(crate) const SOURCE: &str = "/skald/orchestrator";

/// What an event tells beside the saga's state.
pub struct About<'a> {
    /// Whose saga it is.
    pub customer_id: &'a str,
    /// The encoded request.
    pub request: &'a [u8],
    /// W3C trace context.
    pub traceparent: Option<&'a str>,
    /// What the saga follows.
    pub definition: &'a Definition,
}

/// The outbox rows of events, each with the version at which it happened: all of a version must be there, in order.
/// `at` tells when a version was decided, ms. The same events give the same rows whenever they are made.
pub fn rows(
    topic: &str,
    saga: Uuid,
    events: &[(u32, Event)],
    at: impl Fn(u32) -> i64,
    about: &About<'_>,
) -> Vec<outbox::Row> {
    if events.is_empty() || about.definition.input != OrderInput::full_name() {
        return Vec::new();
    }
    let input = Request::decode(about.request).ok().and_then(|r| r.input);
    let order = input.and_then(|i| OrderInput::decode(i.value.as_slice()).ok()).unwrap_or_default();
    let mut rows = Vec::new();
    for (n, (version, event)) in events.iter().enumerate() {
        let Some((kind, status, why)) = public(event) else { continue };
        let at = at(*version);
        let created = matches!(event, Event::Started(_));
        let payload = OrderEvent {
            order_id: saga.to_string(),
            status: status.into(),
            reason: why.map(|w| w.reason.clone()).unwrap_or_default(),
            missing: why.and_then(|w| w.detail.as_ref()).map(view::missing).unwrap_or_default(),
            customer_id: about.customer_id.to_owned(),
            lines: if created { order.lines.clone() } else { Vec::new() },
            currency: order.currency.clone(),
            total_minor: order.total_minor,
            occurred_at: Some(view::timestamp(at)),
            version: *version as i32,
        };
        // Several events of one version keep their order; the same event has the same id whenever it is made.
        let nth = events[..n].iter().filter(|(v, _)| v == version).count();
        rows.push(outbox::Row {
            id: Uuid::new_v5(&saga, format!("event/{version}/{nth}").as_bytes()),
            topic: topic.to_owned(),
            key: saga.to_string(),
            kind: kind.into(),
            source: SOURCE.into(),
            subject: saga.to_string(),
            sequence: format!("{version:010}.{nth:02}"),
            time_ms: at,
            traceparent: about.traceparent.map(str::to_owned),
            payload: payload.encode_to_vec(),
        });
    }
    rows
}

/// One event per stage change; `order.status.changed` only where no own type exists.
fn public(event: &Event) -> Option<(&'static str, OrderStatus, Option<&Why>)> {
    match event {
        Event::Started(_) => Some(("order.created", OrderStatus::Pending, None)),
        Event::Stage(named) => match named.stage.as_str() {
            "RESERVED" => Some(("order.reserved", OrderStatus::Reserved, None)),
            "PAID" => Some(("order.paid", OrderStatus::Paid, None)),
            "FULFILLED" => Some(("order.fulfilled", OrderStatus::Fulfilled, None)),
            "COMPLETED" => Some(("order.completed", OrderStatus::Completed, None)),
            _ => None,
        },
        Event::Turned(why) => Some(("order.status.changed", OrderStatus::Cancelling, Some(why))),
        Event::Compensated(why) => Some(("order.cancelled", OrderStatus::Cancelled, Some(why))),
        // The stage COMPLETED said it.
        Event::Completed(_) => None,
    }
}
