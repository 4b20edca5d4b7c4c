//! Formats in which a message is one string and nothing around it.

mod read;
mod write;

use std::cell::Cell;

use crate::codec::Visit;
use crate::codec::single::read::Source;
use crate::codec::single::write::Sink;
use crate::core::error::{Error, Result};

/// Which strings are messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Byte strings, and lists of bytes.
    Bytes,
    /// Character strings.
    Text,
}

impl Kind {
    /// Returns what to tell those who send anything else.
    fn refusal(self) -> &'static str {
        match self {
            Self::Bytes => "only byte strings have a form in application/octet-stream",
            Self::Text => "only strings have a form in text/plain",
        }
    }
}

/// Appends a string.
pub(super) fn encode(
    kind: Kind,
    value: &dyn erased_serde::Serialize,
    out: &mut Vec<u8>,
) -> Result<()> {
    erased_serde::serialize(value, Sink::new(kind, out))
        .map_err(|error| Error::new("micro.codec", 415, error))
}

/// Hands a string to `visit`.
pub(super) fn decode(kind: Kind, bytes: &[u8], visit: &mut Visit<'_>) -> Result<()> {
    let refused = Cell::new(false);
    let source = Source::new(kind, bytes, &refused);
    visit(&mut <dyn erased_serde::Deserializer<'_>>::erase(source)).map_err(|error| {
        let code = if refused.get() { 415 } else { 400 };
        Error::new("micro.codec", code, error)
    })
}

#[cfg(test)]
mod tests;
