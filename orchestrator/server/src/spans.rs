//! What happens to a sampled saga, as spans of one trace: from its submission, through each command to a participant and
//! back, re-sendings and later signals included. A saga that is not sampled costs a look at one byte.

use std::collections::HashMap;

use skald_core::{Input, input::Outcome};
use skald_kit::{
    telemetry,
    trace::{self, Traceparent},
};
use tracing::Span;
use uuid::Uuid;

use crate::{
    bus::Outgoing,
    job::{Ask, Job, Origin},
};

/// The stored trace contexts of a batch's sampled sagas.
pub(crate) type Sampled = HashMap<Uuid, Traceparent>;

/// The context, when it is sampled.
pub(crate) fn sampled(traceparent: &str) -> Option<Traceparent> {
    // The flags stand at the end.
    let flagged =
        matches!(traceparent.as_bytes().last(), Some(b'1' | b'3' | b'5' | b'7' | b'9' | b'b' | b'd' | b'f'));
    flagged.then(|| Traceparent::parse(traceparent)).flatten().filter(Traceparent::is_sampled)
}

/// A saga begins: under the caller's span, or as a trace of its own.
pub(crate) fn begun(saga: Uuid, definition: &str, caller: Option<&Traceparent>) -> Span {
    if !telemetry::exporting() || caller.is_some_and(|parent| !parent.is_sampled()) {
        return Span::none();
    }
    let span = tracing::info_span!("submit", otel.kind = "server", %saga, definition);
    if let Some(parent) = caller {
        parent.adopt(&span);
    }
    span
}

/// What a batch did, after its commit: a span for each input, and for each command one whose context goes with it.
pub(crate) fn record(jobs: &[Job], sampled: &Sampled, sends: &mut [Outgoing]) {
    if sampled.is_empty() || !telemetry::exporting() {
        return;
    }
    let mut causes = sampled.clone();
    for job in jobs {
        let Some(root) = sampled.get(&job.saga) else { continue };
        if let Some(span) = input(job, root) {
            causes.extend(Traceparent::of(&span).map(|own| (job.saga, own)));
        }
    }
    for send in sends {
        let Some(cause) = causes.get(&send.saga) else { continue };
        let (verb, resend) = (send.command.verb().as_str_name(), send.resend);
        let Outgoing { saga, participant, command, .. } = &*send;
        let span = tracing::info_span!(
            "send", otel.kind = "producer", %saga, participant, step = command.step, verb, attempt = command.attempt, resend
        );
        cause.adopt(&span);
        if let Some(own) = Traceparent::of(&span) {
            send.traceparent = Some(own.to_string());
        }
    }
}

/// The trace context that came with a job.
fn carried(origin: &Origin) -> Option<&str> {
    match origin {
        Origin::Message(message) => message.header_str(trace::HEADER),
        Origin::Stream { traceparent } => traceparent.as_deref(),
        Origin::Caller(_) | Origin::Nobody => None,
    }
}

/// An input's span, under what caused it.
fn input(job: &Job, root: &Traceparent) -> Option<Span> {
    let (span, parent) = match (&job.ask, &job.origin) {
        (Ask::Input(Input::Outcome(outcome)), origin @ (Origin::Message(_) | Origin::Stream { .. })) => {
            let Outcome { step, epoch, attempt, .. } = outcome;
            let verb = outcome.verb().name();
            let saga = job.saga;
            let span =
                tracing::info_span!("outcome", otel.kind = "consumer", %saga, step, verb, epoch, attempt);
            (span, carried(origin).and_then(Traceparent::parse))
        }
        (Ask::Input(Input::Signal(signal)), _) => {
            (tracing::info_span!("signal", saga = %job.saga, name = signal.name, actor = job.actor), None)
        }
        (Ask::Input(Input::CancelRequested(_)), _) => {
            (tracing::info_span!("cancel", saga = %job.saga, actor = job.actor), None)
        }
        (Ask::Operate(operation), _) => {
            let verb = operation.operator.act.as_ref().map_or("", |act| act.name());
            (tracing::info_span!("operate", saga = %job.saga, verb, actor = operation.record.actor), None)
        }
        _ => return None,
    };
    parent.as_ref().unwrap_or(root).adopt(&span);
    Some(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_sampled_is_read() {
        let text = |flags: &str| format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
        assert!(sampled(&text("01")).is_some() && sampled(&text("03")).is_some());
        assert!(sampled(&text("00")).is_none() && sampled(&text("02")).is_none());
        assert!(sampled("").is_none() && sampled("1").is_none());
    }
}
