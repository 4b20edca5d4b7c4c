//! The frame of gRPC: a flag, a length, the message.

use bytes::Bytes;

use crate::codec::envelope::{length, malformed, part};
use crate::core::error::Result;

const NAME: &str = "gRPC";

pub(super) fn seal(body: &[u8], out: &mut Vec<u8>) -> Result<()> {
    out.push(0);
    length(body.len(), out)?;
    out.extend_from_slice(body);
    Ok(())
}

/// Reads the one frame of a message. No body at all is an empty message.
pub(super) fn open(bytes: &Bytes) -> Result<Bytes> {
    let mut rest = bytes.clone();
    match rest.first() {
        None => return Ok(rest),
        Some(0) => {}
        Some(_) => return Err(malformed(NAME, "is compressed, which was not asked for")),
    }
    let _flag = rest.split_to(1);
    let message = part(&mut rest).ok_or_else(|| malformed(NAME, "is shorter than it says"))?;
    if !rest.is_empty() {
        return Err(malformed(NAME, "is followed by more bytes"));
    }
    Ok(message)
}
