//! Messages compressed with gzip; what one inflates to is bounded.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;

use bytes::Bytes;

use crate::core::error::{Error, Result};

/// Bytes that are inflated at a time, each time looking at the limit first.
const STEP_BYTES: usize = 8 * 1024;

/// Compresses a message.
pub(super) fn deflate(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing into memory cannot fail.
    let _written = encoder.write_all(message);
    encoder.finish().unwrap_or_default()
}

/// Inflates a message to at most `bytes_max` bytes.
///
/// # Errors
/// 413 past the limit, 500 when the bytes are not gzip, as gRPC asks for.
pub(super) fn inflate(packed: &[u8], bytes_max: usize) -> Result<Bytes> {
    let mut decoder = GzDecoder::new(packed);
    let mut message = Vec::new();
    let mut step = [0; STEP_BYTES];
    // Progress: each turn reads bytes, no more in all than the limit and one step.
    loop {
        let count = decoder.read(&mut step).map_err(|e| {
            Error::internal("micro.grpc", "the message is not gzip as its flag says").with_source(e)
        })?;
        if count == 0 {
            return Ok(message.into());
        }
        if message.len() + count > bytes_max {
            let detail = format!("a message may have {bytes_max} bytes, this one inflates to more");
            return Err(Error::too_large("micro.grpc", detail));
        }
        message.extend_from_slice(step.get(..count).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_inflates_to_its_limit_and_no_further() {
        for (length, passes) in [(0, true), (99, true), (100, true), (101, false), (1000, false)] {
            let message = vec![b'x'; length];
            let inflated = inflate(&deflate(&message), 100);
            assert_eq!(inflated.as_deref().ok(), passes.then_some(&message[..]), "{length}");
            assert!(passes || inflated.unwrap_err().code() == 413);
        }
    }

    #[test]
    fn a_bomb_is_refused_early() {
        let bomb = deflate(&vec![0; 64 * 1024 * 1024]);
        assert!(bomb.len() < 1024 * 1024);
        assert_eq!(inflate(&bomb, 4 * 1024 * 1024).unwrap_err().code(), 413);
    }

    #[test]
    fn what_is_not_gzip_is_an_internal_error() {
        let mut cut = deflate(b"a message");
        cut.truncate(12);
        for bytes in [&b"plain"[..], &cut, b""] {
            let error = inflate(bytes, 100).unwrap_err();
            assert_eq!(error.code(), 500, "{error}");
        }
    }
}
