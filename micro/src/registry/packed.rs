//! Texts as go-micro packs them into records of other makers: deflated with a zlib header, in
//! lower-case hex.

use flate2::Compress;
use flate2::Compression;
use flate2::Decompress;
use flate2::FlushCompress;
use flate2::FlushDecompress;
use flate2::Status;

/// Packs a text.
pub(super) fn pack(bytes: &[u8]) -> Vec<u8> {
    hex(&deflate(bytes))
}

/// Unpacks a text of at most `bytes_max` bytes; `None` if it is longer or none.
pub(super) fn unpack(text: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    inflate(&unhex(text)?, bytes_max)
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut compress = Compress::new(Compression::default(), true);
    let mut packed = Vec::with_capacity(bytes.len().saturating_add(64));
    loop {
        let read = usize::try_from(compress.total_in()).unwrap_or(usize::MAX);
        let rest = bytes.get(read..).unwrap_or_default();
        let status = compress.compress_vec(rest, &mut packed, FlushCompress::Finish);
        if !matches!(status, Ok(Status::Ok | Status::BufError)) {
            return packed;
        }
        packed.reserve(1024);
    }
}

fn inflate(bytes: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(bytes_max);
    // One call with all of the input and all of the room: whatever does not end in it is refused.
    let status =
        Decompress::new(true).decompress_vec(bytes, &mut text, FlushDecompress::Finish).ok()?;
    (status == Status::StreamEnd).then_some(text)
}

fn hex(bytes: &[u8]) -> Vec<u8> {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + (nibble - 10) };
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_comes_back_up_to_the_limit() {
        let limit = 64 * 1024;
        for (bytes, fits) in [(0, true), (limit, true), (limit + 1, false), (limit * 10, false)] {
            let text = vec![b' '; bytes];
            let unpacked = unpack(&pack(&text), limit);
            assert_eq!(unpacked.is_some(), fits, "{bytes}");
            assert!(unpacked.is_none_or(|unpacked| unpacked == text));
        }
    }

    #[test]
    fn what_is_no_packed_text_is_refused() {
        for text in ["", "7", "zz", "789c", "00", "789c0dcab10a"] {
            assert_eq!(unpack(text.as_bytes(), 64), None, "{text}");
        }
    }
}
