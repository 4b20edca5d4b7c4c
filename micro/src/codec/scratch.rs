//! Space to encode in, kept by each thread.

use std::cell::RefCell;

use bytes::Bytes;

use crate::core::error::Result;

/// Bytes of space that a thread keeps between messages.
pub(crate) const SCRATCH_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Encodes into space that the thread keeps, so that a message costs one exact allocation; one that
/// is longer than what a thread keeps is handed on as it is, not copied.
///
/// # Errors
/// What `encode` fails with.
pub(crate) fn scratch(encode: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<Bytes> {
    // Taken, not borrowed: an encoder is user code and may come back here.
    let mut out = SCRATCH.with(RefCell::take);
    out.clear();
    let encoded = encode(&mut out);
    if out.len() > SCRATCH_BYTES_MAX {
        return encoded.map(|()| Bytes::from(out));
    }
    let bytes = encoded.map(|()| Bytes::copy_from_slice(&out));
    if out.capacity() <= SCRATCH_BYTES_MAX {
        SCRATCH.with(|kept| kept.replace(out));
    }
    bytes
}
