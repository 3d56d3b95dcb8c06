//! W3C trace context (https://www.w3.org/TR/trace-context/, version 00): read, written, derived. Sampling is
//! decided elsewhere.

use std::fmt;
use std::str::FromStr;

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use uuid::Uuid;

/// The name of the header, in gRPC metadata and in Kafka.
pub const HEADER: &str = "traceparent";

/// A `traceparent`: which trace, which span in it, and whether it is sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Traceparent {
    /// Never zero.
    pub trace_id: u128,
    /// The span that caused what follows; never zero.
    pub span_id: u64,
    /// Bit 0: sampled. Other bits are carried along.
    pub flags: u8,
}

/// The text is no `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no W3C traceparent")]
pub struct Malformed;

impl Traceparent {
    /// Reads the header. A version above 00 is read by its first four fields, as the standard asks.
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.splitn(5, '-');
        let version = fields.next().filter(|f| f.len() == 2).and_then(hex)?;
        let trace_id = fields.next().filter(|f| f.len() == 32).and_then(hex)?;
        let span_id = fields.next().filter(|f| f.len() == 16).and_then(hex)?;
        let flags = fields.next().filter(|f| f.len() == 2).and_then(hex)?;
        let more = fields.next().is_some();
        if version == 0xff || (version == 0 && more) || trace_id == 0 || span_id == 0 {
            return None;
        }
        Some(Self { trace_id, span_id: u64::try_from(span_id).ok()?, flags: u8::try_from(flags).ok()? })
    }

    /// Derives an unsampled context whose trace id is the uuid, for work that came without one: all that
    /// belongs to an order is then found under its id.
    pub fn for_id(id: Uuid) -> Self {
        let trace_id = id.as_u128();
        let low = trace_id as u64;
        Self { trace_id: trace_id.max(1), span_id: low.max(1), flags: 0 }
    }

    /// The trace is recorded by whoever takes part.
    pub fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }

    /// The context of the present span, when spans are exported.
    pub fn current() -> Option<Self> {
        Self::of(&Span::current())
    }

    /// The context of a span, when spans are exported.
    pub fn of(span: &Span) -> Option<Self> {
        let context = span.context();
        let span = context.span().span_context().clone();
        span.is_valid().then(|| Self {
            trace_id: u128::from_be_bytes(span.trace_id().to_bytes()),
            span_id: u64::from_be_bytes(span.span_id().to_bytes()),
            flags: span.trace_flags().to_u8(),
        })
    }

    /// Makes `span` a child of this context.
    pub fn adopt(&self, span: &Span) {
        let context = SpanContext::new(
            TraceId::from_bytes(self.trace_id.to_be_bytes()),
            SpanId::from_bytes(self.span_id.to_be_bytes()),
            TraceFlags::new(self.flags),
            true,
            TraceState::default(),
        );
        // Without an exporter there is no parent to set; that is no error.
        let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(context));
    }
}

/// Lower-case hexadecimal only, as the standard asks.
fn hex(text: &str) -> Option<u128> {
    let lower = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if lower { u128::from_str_radix(text, 16).ok() } else { None }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

impl FromStr for Traceparent {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        Self::parse(text).ok_or(Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints_the_standards_example() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parsed = Traceparent::parse(text).unwrap();
        assert!(parsed.is_sampled());
        assert_eq!(parsed.to_string(), text);
    }

    #[test]
    fn refuses_what_the_standard_refuses() {
        for text in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(Traceparent::parse(text), None, "{text}");
        }
        assert!(Traceparent::parse("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more").is_some());
    }

    #[test]
    fn an_order_without_a_trace_gets_its_own_id() {
        let id = Uuid::now_v7();
        let derived = Traceparent::for_id(id);
        assert_eq!(derived.trace_id, id.as_u128());
        assert!(!derived.is_sampled());
        assert_eq!(Traceparent::parse(&derived.to_string()), Some(derived));
    }
}
