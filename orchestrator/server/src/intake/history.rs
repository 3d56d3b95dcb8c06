//! The inputs of a history, field by field, for programs and timelines. Shows, decides nothing.

use prost::Message as _;
use skald_core::input::{Act, Answer, Input, Payload, Request, Signal};
use skald_proto::saga::v1 as wire;

use crate::bus::wire::any;

/// What an input is about and what came along with it; the row's own columns are left empty.
pub(super) fn about(input: &Input) -> wire::HistoryEntry {
    let empty = wire::HistoryEntry::default;
    match input {
        Input::Started(_) | Input::DeadlineFired(_) => empty(),
        Input::CancelRequested(c) => wire::HistoryEntry { reason: c.note.clone(), ..empty() },
        Input::Signal(s) => wire::HistoryEntry {
            step: s.name.clone(),
            request_id: s.signal_id.clone(),
            payloads: signal(s),
            ..empty()
        },
        Input::Postponed(p) => wire::HistoryEntry { step: p.participant.clone(), ..empty() },
        Input::Operator(o) => {
            let (step, result) = match &o.act {
                Some(Act::Retry(r)) => (r.step.clone(), None),
                Some(Act::Skip(s)) => (s.step.clone(), s.result.as_ref()),
                Some(Act::Resolve(r)) => (r.step.clone(), None),
                _ => (String::new(), None),
            };
            wire::HistoryEntry {
                step,
                verb: o.act.as_ref().map(Act::name).unwrap_or_default().into(),
                reason: o.reason.clone(),
                request_id: o.request_id.clone(),
                payloads: named("result", result),
                ..empty()
            }
        }
        Input::Outcome(o) => wire::HistoryEntry {
            step: o.step.clone(),
            verb: o.verb().name().into(),
            epoch: o.epoch,
            attempt: o.attempt,
            payloads: match &o.answer {
                Some(Answer::Succeeded(done) | Answer::Undone(done)) => named("result", done.result.as_ref()),
                Some(Answer::Rejected(no)) => named("detail", no.detail.as_ref()),
                _ => Vec::new(),
            },
            ..empty()
        },
    }
}

/// What was submitted: a history's first row has no more than its hash. What can't be read is left out.
pub(super) fn submitted(request: &[u8]) -> Vec<wire::HistoryPayload> {
    let Ok(request) = Request::decode(request) else { return Vec::new() };
    let input = named("input", request.input.as_ref());
    input.into_iter().chain(request.signals.iter().flat_map(signal)).collect()
}

fn signal(signal: &Signal) -> Vec<wire::HistoryPayload> {
    named(&signal.name, signal.payload.as_ref())
}

fn named(name: &str, payload: Option<&Payload>) -> Vec<wire::HistoryPayload> {
    let shown = |p: &Payload| wire::HistoryPayload { name: name.into(), payload: Some(any(p.clone())) };
    payload.map(shown).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use skald_core::input::{Done, Operator, Outcome, Skip, Verb};

    use super::*;

    fn payload(byte: u8) -> Payload {
        Payload { type_url: "t/T".into(), value: vec![byte] }
    }

    #[test]
    fn what_came_along_is_told_by_its_name() {
        let result = Some(payload(1));
        let outcome = Outcome {
            step: "charge".into(),
            verb: Verb::Undo.into(),
            epoch: 2,
            attempt: 3,
            answer: Some(Answer::Undone(Done { result })),
        };
        let entry = about(&Input::Outcome(outcome));
        assert_eq!((&*entry.step, &*entry.verb, entry.epoch, entry.attempt), ("charge", "UNDO", 2, 3));
        assert_eq!((&*entry.payloads[0].name, entry.payloads.len()), ("result", 1));
        let skip = Skip { step: "reserve".into(), result: Some(payload(2)), ..Skip::default() };
        let operator = Operator {
            request_id: "r1".into(),
            reason: "dead".into(),
            act: Some(Act::Skip(skip)),
            ..Operator::default()
        };
        let entry = about(&Input::Operator(operator));
        let told = (&*entry.step, &*entry.verb, &*entry.reason, &*entry.request_id);
        assert_eq!(told, ("reserve", "SKIP", "dead", "r1"));
        assert_eq!(entry.payloads[0].payload.as_ref().map(|any| any.value.clone()), Some(vec![2]));
    }

    #[test]
    fn what_was_submitted_has_its_signals() {
        let pay = Signal { name: "pay".into(), signal_id: "s".into(), payload: Some(payload(2)) };
        let bare = Signal { name: "fulfil".into(), ..Signal::default() };
        let request = Request { input: Some(payload(1)), signals: vec![pay, bare] };
        let names: Vec<_> = submitted(&request.encode_to_vec()).into_iter().map(|p| p.name).collect();
        assert_eq!(names, ["input", "pay"]);
        assert_eq!(submitted(&[0xff]), []);
    }
}
