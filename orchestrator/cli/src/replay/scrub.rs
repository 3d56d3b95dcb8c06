//! Takes customer data out of a recorded saga. Pure. Whatever is not known to be harmless goes; digests and state are
//! computed anew, so what comes out agrees with itself and no longer with what was recorded.

use prost::{Message as _, Name as _};
use skald_core::{
    RULES, State,
    archive::Recorded,
    history::{self, Lineage, Row, digest},
    input::{self, Act, Answer, Input, Payload, Request, Signal},
    state,
    verify::verify,
};
use skald_proto::order::v1::{Fulfilment, OrderInput, PaymentMethod};

/// What stands in place of a text.
pub const SCRUBBED: &str = "scrubbed";

/// The saga without customer data. None: it does not verify, and scrubbing would paint over that.
pub fn scrub<'a>(lineage: impl Into<Lineage<'a>>, saga: &Recorded) -> Option<Recorded> {
    let lineage = lineage.into();
    if !verify(lineage, saga).is_empty() {
        return None;
    }
    let mut request = Request::decode(&*saga.request).ok()?;
    request.input.as_mut().map(payload).unwrap_or_default();
    request.signals.iter_mut().for_each(signal);
    let request = request.encode_to_vec();
    let mut at = lineage.at_first(&saga.rows).ok()?;
    let mut state = State::new(at.definition);
    let mut rows = Vec::with_capacity(saga.rows.len());
    for row in &saga.rows {
        let mut input = input::decode(&row.input).ok()?;
        match &mut input {
            Input::Started(started) => *started = history::started(&request).ok()?,
            other => scrub_input(other),
        }
        let mut row =
            Row { actor: SCRUBBED.into(), rules: RULES, input: input::encode(&input), ..row.clone() };
        let effects = history::fold(at, saga.id, &request, &mut state, &row).ok()?;
        at = at.after(row.seq, &effects).ok()?;
        row.digest = digest(&state::encode(&state), &effects);
        rows.push(row);
    }
    Some(Recorded { request, rows, state: state::encode(&state), format: skald_core::FORMAT, ..saga.clone() })
}

fn scrub_input(input: &mut Input) {
    match input {
        Input::Started(_) | Input::DeadlineFired(_) | Input::Postponed(_) => {}
        Input::CancelRequested(cancel) => text(&mut cancel.note),
        Input::Signal(one) => signal(one),
        Input::Operator(operator) => {
            text(&mut operator.request_id);
            text(&mut operator.reason);
            match &mut operator.act {
                Some(Act::Skip(skip)) => {
                    text(&mut skip.evidence);
                    optional(&mut skip.result);
                }
                Some(Act::Resolve(resolve)) => text(&mut resolve.evidence),
                _ => {}
            }
        }
        Input::Outcome(outcome) => match &mut outcome.answer {
            Some(Answer::Succeeded(done) | Answer::Undone(done)) => optional(&mut done.result),
            Some(Answer::Rejected(no)) => {
                text(&mut no.message);
                optional(&mut no.detail);
            }
            Some(Answer::Failed(failure)) => text(&mut failure.message),
            Some(Answer::Sealed(_) | Answer::NothingToUndo(_) | Answer::Fenced(_)) | None => {}
        },
    }
}

/// Its id goes too: a payment without one has the token for an id.
fn signal(signal: &mut Signal) {
    text(&mut signal.signal_id);
    optional(&mut signal.payload);
}

fn text(text: &mut String) {
    if !text.is_empty() {
        *text = SCRUBBED.into();
    }
}

fn optional(given: &mut Option<Payload>) {
    if let Some(given) = given {
        payload(given);
    }
}

/// Of the order's own messages the harmless fields stay; anything else is emptied. The type stays.
fn payload(payload: &mut Payload) {
    let bytes = payload.value.as_slice();
    let kept = if payload.type_url == OrderInput::type_url() {
        OrderInput::decode(bytes).ok().map(|mut order| {
            text(&mut order.customer_id);
            text(&mut order.note);
            order.lines.iter_mut().for_each(|line| text(&mut line.seller_id));
            order.encode_to_vec()
        })
    } else if payload.type_url == PaymentMethod::type_url() {
        Some(PaymentMethod { token: SCRUBBED.into() }.encode_to_vec())
    } else if payload.type_url == Fulfilment::type_url() {
        Fulfilment::decode(bytes).ok().map(|mut done| {
            text(&mut done.seller_id);
            text(&mut done.reference);
            done.encode_to_vec()
        })
    } else {
        None
    };
    payload.value = kept.unwrap_or_default();
}
