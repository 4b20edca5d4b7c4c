//! Spans: what one part of a trace was and how long it took.

use serde::{Deserialize, Serialize};

use crate::core::trace::Trace;

/// Which side of what a span is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SpanKind {
    /// A call that was served.
    #[default]
    Server,
    /// One try of a call that was made.
    Client,
    /// An event that was handled.
    Subscriber,
}

/// A part of a trace that is over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Span {
    /// The id of the trace, in 32 hex digits.
    pub trace: String,
    /// The id of the span, in 16 hex digits.
    pub id: String,
    /// The id of the span that this one is part of; empty if it is the first.
    pub parent: String,
    /// What was done: `service.Type.Method`, or the topic of an event.
    pub name: String,
    /// Which side of it this is.
    #[serde(rename = "type")]
    pub kind: SpanKind,
    /// When it began: microseconds since 1970-01-01 UTC.
    pub started_us: u64,
    /// How long it took, in nanoseconds.
    pub duration_ns: u64,
    /// How it ended: the code of its error, or 200.
    pub code: u16,
}

impl Span {
    /// Makes a span of a place in a trace, without times.
    pub fn new(trace: Trace, name: impl Into<String>, kind: SpanKind) -> Self {
        Self {
            trace: format!("{:032x}", trace.trace_id()),
            id: hex(trace.span_id()),
            parent: trace.parent_id().map(hex).unwrap_or_default(),
            name: name.into(),
            kind,
            code: 200,
            ..Self::default()
        }
    }
}

fn hex(id: u64) -> String {
    format!("{id:016x}")
}

/// Which spans are wanted; what is not set is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SpanQuery {
    /// Those of a trace, given as 32 hex digits.
    #[serde(rename = "id")]
    pub trace: Option<String>,
    /// How many at most, the latest; 0 means as many as there are.
    pub count: usize,
}

impl SpanQuery {
    /// Asks for the spans of a trace, given as 32 hex digits.
    pub fn of(trace: impl Into<String>) -> Self {
        Self { trace: Some(trace.into()), ..Self::default() }
    }

    /// Asks for the latest `count` spans.
    pub fn last(count: usize) -> Self {
        Self { count, ..Self::default() }
    }

    /// Returns whether a span is wanted, however many there are.
    pub fn fits(&self, span: &Span) -> bool {
        self.trace.as_ref().is_none_or(|trace| *trace == span.trace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_names_its_place_in_the_trace() {
        let root = Trace::from_parts(0xab, 0xcd, 1).unwrap();
        let span = Span::new(root, "shop.Orders.Place", SpanKind::Server);
        assert_eq!(span.trace, "000000000000000000000000000000ab");
        assert_eq!((span.id.as_str(), span.parent.as_str()), ("00000000000000cd", ""));
        let child = Span::new(root.child(), "stock.Stock.Take", SpanKind::Client);
        assert_eq!((child.trace, child.parent), (span.trace, span.id));
    }
}
