//! Room in a read buffer.

use bytes::BytesMut;

use super::frame::{self, HEADER};
use crate::outcome::Outcome;

/// Bytes of a fresh buffer.
const BUFFER: usize = 256 << 10;

/// Spare bytes below which a buffer is exchanged, as further reads would be small.
const LITTLE: usize = 32 << 10;

/// Makes sure that the next read is worth its system call and that an incomplete frame, which a
/// fresh buffer begins with, fits.
pub(super) fn make_room(buffer: &mut BytesMut) -> Outcome<()> {
    let needed = frame::body_length(buffer)?.unwrap_or(0) + HEADER;
    let spare = buffer.capacity() - buffer.len();
    if spare < LITTLE || buffer.capacity() < needed {
        buffer.reserve(BUFFER.max(needed));
    }
    Ok(())
}
