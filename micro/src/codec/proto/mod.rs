//! Protocol Buffers, for messages that are `prost` types.

use prost::Message;

use crate::core::body::Body;
use crate::core::error::{Error, Result};

/// Decodes one message; `prost` stops at a nesting depth of 100.
pub(super) fn decode<T: Message + Default>(body: &Body<'_>) -> Result<T> {
    T::decode(body.share()).map_err(|e| {
        let detail = format!("the body is not the Protocol Buffers message expected: {e}");
        Error::bad_request("micro.codec", detail).with_source(e)
    })
}

/// Appends one message.
pub(super) fn encode<T: Message>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    value.encode(out).map_err(|e| {
        let detail = format!("cannot encode as Protocol Buffers: {e}");
        Error::internal("micro.codec", detail).with_source(e)
    })
}

#[cfg(test)]
mod tests;
