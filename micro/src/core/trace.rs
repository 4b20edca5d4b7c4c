//! The place of a call in a distributed trace, as the W3C Trace Context recommendation defines it.

use std::fmt;
use std::num::NonZeroU64;

/// A trace id, a span id and flags, copied freely; knows the span it was made in.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Trace {
    /// The upper and the lower half of the trace's id; every context holds one of these, so that
    /// its size counts.
    trace: [u64; 2],
    span: NonZeroU64,
    /// The span that this one is part of; 0 if there is none or nobody knows.
    parent: u64,
    flags: u8,
}

/// The name of the header and of the metadata that carry a trace between processes.
#[cfg(feature = "client")]
pub(crate) const TRACE_KEY: &str = "traceparent";

/// The flag of a trace that is recorded.
const SAMPLED: u8 = 1;

impl Trace {
    /// Starts a trace with random ids, sampled.
    pub fn root() -> Self {
        Self { trace: halves(fastrand::u128(1..)), span: random(), parent: 0, flags: SAMPLED }
    }

    /// Makes the trace of a call made within this one: same trace, another span.
    #[must_use]
    pub fn child(self) -> Self {
        Self { span: random(), parent: self.span.get(), ..self }
    }

    /// Joins the parts; `None` when an id is zero, which the recommendation forbids.
    pub fn from_parts(trace: u128, span: u64, flags: u8) -> Option<Self> {
        let span = NonZeroU64::new(span).filter(|_| trace != 0)?;
        Some(Self { trace: halves(trace), span, parent: 0, flags })
    }

    /// Returns the id that all spans of the trace share.
    pub fn trace_id(self) -> u128 {
        let [upper, lower] = self.trace;
        u128::from(upper) << 64 | u128::from(lower)
    }

    /// Returns the id of this span.
    pub fn span_id(self) -> u64 {
        self.span.get()
    }

    /// Returns the id of the span that this one is part of; `None` for a trace that begins here
    /// or has just been read from the wire.
    pub fn parent_id(self) -> Option<u64> {
        (self.parent != 0).then_some(self.parent)
    }

    /// Returns whether the spans of the trace are recorded, as whoever began it has decided.
    pub fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Returns the flags; bit 0 is `sampled`.
    pub fn flags(self) -> u8 {
        self.flags
    }

    /// Reads a `traceparent` header; `None` when it is not well formed.
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.trim().split('-');
        let version = parts.next()?;
        let (trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?);
        let extra = parts.next().is_some();
        let lengths =
            version.len() == 2 && trace.len() == 32 && span.len() == 16 && flags.len() == 2;
        let hex = |s: &str| s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !lengths || version == "ff" || (version == "00" && extra) {
            return None;
        }
        if ![version, trace, span, flags].into_iter().all(hex) {
            return None;
        }
        Self::from_parts(
            u128::from_str_radix(trace, 16).ok()?,
            u64::from_str_radix(span, 16).ok()?,
            u8::from_str_radix(flags, 16).ok()?,
        )
    }
}

fn random() -> NonZeroU64 {
    NonZeroU64::new(fastrand::u64(1..)).unwrap_or(NonZeroU64::MIN)
}

fn halves(id: u128) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, lower @ ..] = id.to_be_bytes();
    [u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes(lower)]
}

/// The `traceparent` header.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id(), self.span, self.flags)
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_a_round_trip() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(Trace::parse(text).unwrap().to_string(), text);
    }

    #[test]
    fn malformed_headers_are_refused() {
        for text in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            assert_eq!(Trace::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_child_shares_the_trace_and_has_its_own_span() {
        let root = Trace::root();
        let child = root.child();
        assert_eq!(root.trace_id(), child.trace_id());
        assert_ne!(root.span_id(), child.span_id());
        assert_eq!((root.parent_id(), child.parent_id()), (None, Some(root.span_id())));
    }
}
