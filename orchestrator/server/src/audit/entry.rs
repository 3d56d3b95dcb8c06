//! A history row, or an operator's act that is no saga's input, as an event of `orders.audit`. Pure.

use prost::Message as _;
use skald_core::{
    Input,
    input::{self, Operator},
    plan::Write,
};
use skald_kit::outbox;
use skald_proto::{audit::v1::AuditEntry, saga::v1::HistoryEntry};
use uuid::Uuid;

use crate::{
    events::SOURCE,
    intake::view,
    store::{action::Action, audit::Entry},
};

/// A participant's words may be long; bytes.
const LONGEST: usize = 8 * 1024;

/// The number of the row of a write that must come at once: the saga's last one, or an operator's.
pub(super) fn at_once(write: &Write) -> Option<i32> {
    let operator = Input::Operator(Operator::default()).kind();
    let last = write.rows.last().filter(|_| write.state.is_final());
    last.or_else(|| write.rows.iter().rfind(|row| row.kind == operator)).map(|row| row.seq as i32)
}

/// The event: the same bytes whenever it is made.
pub(super) fn row(topic: &str, of: &Entry, definition: &str, traceparent: Option<&str>) -> outbox::Row {
    let Entry { saga, row } = of;
    let mut entry = view::entry(row);
    // What came along is customers' data.
    entry.payloads.clear();
    // A signal's id may be a payment token.
    if let Ok(Input::Signal(signal)) = input::decode(&row.input) {
        entry.summary = format!("signal {}", signal.name);
        entry.request_id.clear();
    }
    entry.reason = cut(entry.reason);
    entry.summary = cut(entry.summary);
    let id = Uuid::new_v5(saga, format!("audit/{}", row.seq).as_bytes());
    let saga_id = saga.to_string();
    let told = AuditEntry { saga_id: saga_id.clone(), definition: definition.to_owned(), entry: Some(entry) };
    let event = event(topic, saga_id, id, row.at, &told);
    outbox::Row { traceparent: traceparent.map(str::to_owned), ..event }
}

/// The event of an operator's act. It has no place among a saga's rows, so it is a subject of its own.
pub(super) fn act(topic: &str, action: &Action, at: i64) -> outbox::Row {
    let Action { request_id, saga, verb, actor, reason, .. } = action;
    let entry = HistoryEntry {
        seq: 1,
        at: Some(view::timestamp(at)),
        kind: Input::kind_name(Input::Operator(Operator::default()).kind()).to_owned(),
        actor: format!("operator:{actor}"),
        summary: cut(verb.clone()),
        verb: verb.split(' ').next().unwrap_or_default().to_owned(),
        reason: cut(reason.clone()),
        request_id: request_id.clone(),
        ..HistoryEntry::default()
    };
    let saga_id = saga.map(|saga| saga.to_string()).unwrap_or_default();
    let subject = format!("act/{request_id}");
    let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, subject.as_bytes());
    event(topic, subject, id, at, &AuditEntry { saga_id, entry: Some(entry), ..AuditEntry::default() })
}

fn event(topic: &str, subject: String, id: Uuid, at: i64, told: &AuditEntry) -> outbox::Row {
    let (kind, seq) = told.entry.as_ref().map_or(("", 0), |entry| (entry.kind.as_str(), entry.seq));
    outbox::Row {
        id,
        topic: topic.to_owned(),
        key: subject.clone(),
        kind: format!("audit.{}", kind.to_lowercase()),
        source: SOURCE.to_owned(),
        subject,
        sequence: format!("{seq:010}"),
        time_ms: at,
        traceparent: None,
        payload: told.encode_to_vec(),
    }
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(LONGEST));
    text
}

#[cfg(test)]
mod tests {
    use skald_core::{
        history,
        input::{Act, Payload, Signal, Unit},
    };

    use super::*;

    fn told(input: &Input, bytes: Option<&[u8]>) -> (outbox::Row, AuditEntry) {
        let encoded = bytes.map_or_else(|| input::encode(input), <[u8]>::to_vec);
        let (kind, actor) = (input.kind(), "ada".to_owned());
        let row = history::Row { seq: 3, at: 1_234, rules: 1, kind, actor, input: encoded, digest: -1 };
        let entry = Entry { saga: Uuid::from_u128(5), row };
        let row = row_of(&entry);
        let payload = AuditEntry::decode(row.payload.as_slice()).unwrap();
        (row, payload)
    }

    fn row_of(entry: &Entry) -> outbox::Row {
        row("orders.audit", entry, "order", Some("00-trace"))
    }

    #[test]
    fn who_acted_and_why_is_in_it() {
        let act = Operator {
            request_id: "r1".into(),
            expected_version: 2,
            reason: "the customer called".into(),
            act: Some(Act::Compensate(Unit {})),
        };
        let (row, told) = told(&Input::Operator(act), None);
        let entry = told.entry.unwrap();
        assert_eq!((entry.actor.as_str(), entry.kind.as_str(), entry.seq), ("ada", "OPERATOR", 3));
        assert_eq!((entry.reason.as_str(), entry.verb.as_str()), ("the customer called", "COMPENSATE"));
        assert_eq!((entry.request_id.as_str(), told.definition.as_str()), ("r1", "order"));
        assert_eq!((row.kind.as_str(), row.sequence.as_str()), ("audit.operator", "0000000003"));
        assert_eq!((row.key.as_str(), row.subject.as_str()), (told.saga_id.as_str(), told.saga_id.as_str()));
        assert_eq!((row.time_ms, row.traceparent.as_deref()), (1_234, Some("00-trace")));
        assert_eq!(row.id, Uuid::new_v5(&Uuid::from_u128(5), b"audit/3"));
    }

    #[test]
    fn a_payment_token_is_not() {
        let payload = Some(Payload { type_url: "t".into(), value: b"tok_secret".to_vec() });
        let signal = Signal { name: "pay".into(), signal_id: "tok_secret".into(), payload };
        let (row, told) = told(&Input::Signal(signal), None);
        assert_eq!(told.entry.unwrap().summary, "signal pay");
        assert!(!String::from_utf8_lossy(&row.payload).contains("tok_secret"));
    }

    #[test]
    fn what_can_not_be_read_is_told_all_the_same() {
        let (row, told) = told(&Input::DeadlineFired(Default::default()), Some(b"\xff\xff"));
        assert_eq!(row.kind, "audit.deadline_fired");
        assert!(told.entry.unwrap().summary.contains("not an input"));
        assert_eq!(cut("é".repeat(LONGEST)).len(), LONGEST);
        assert_eq!(cut(format!("x{}", "é".repeat(LONGEST))).len(), LONGEST - 1);
    }
}
