//! Frames: encoded in place behind a header that is patched afterwards, parsed from the read
//! buffer.

use serde::Serialize;

use crate::outcome::{Outcome, ensure};

/// Bytes before the body.
pub(super) const HEADER: usize = 12;

/// Bytes a body has at most.
const MAX_BODY: usize = 4 << 20;

/// Appends a frame; leaves the buffer as it was when that fails.
pub(super) fn append<T: Serialize>(to: &mut Vec<u8>, id: u64, message: &T) -> Outcome<()> {
    let start = to.len();
    to.extend_from_slice(&[0; 4]);
    to.extend_from_slice(&id.to_le_bytes());
    let encoded = rmp_serde::encode::write_named(to, message);
    let length = u32::try_from(to.len() - start - HEADER).unwrap_or(u32::MAX);
    if let Some(field) = to.get_mut(start..start + 4) {
        field.copy_from_slice(&length.to_le_bytes());
    }
    encoded.inspect_err(|_| to.truncate(start))?;
    Ok(())
}

/// The length of the body that a buffer starts with, or `None` while that is incomplete.
pub(super) fn body_length(buffer: &[u8]) -> Outcome<Option<usize>> {
    let Some((length, _)) = buffer.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_le_bytes(*length))?;
    ensure(length <= MAX_BODY, "a frame is longer than allowed")?;
    Ok(Some(length))
}

/// The id and body of the frame that a buffer starts with, or `None` while it is incomplete.
pub(super) fn first(buffer: &[u8]) -> Outcome<Option<(u64, &[u8])>> {
    let Some(length) = body_length(buffer)? else {
        return Ok(None);
    };
    let Some((id, rest)) = buffer.get(4..).and_then(|rest| rest.split_first_chunk::<8>()) else {
        return Ok(None);
    };
    Ok(rest.get(..length).map(|body| (u64::from_le_bytes(*id), body)))
}

#[cfg(test)]
mod tests {
    use super::{HEADER, append, first};

    #[test]
    fn a_frame_is_parsed_only_when_whole() {
        let mut buffer = Vec::new();
        append(&mut buffer, 7, &"body").unwrap();
        append(&mut buffer, 8, &"next").unwrap();
        let whole = HEADER + 5;
        for length in 0..whole {
            assert!(first(&buffer[..length]).unwrap().is_none());
        }
        assert_eq!(first(&buffer[..whole]).unwrap().unwrap(), (7, &b"\xA4body"[..]));
        assert_eq!(first(&buffer[whole..]).unwrap().unwrap().0, 8);
    }

    #[test]
    fn an_oversized_frame_is_an_error() {
        assert!(first(&[0xFF; 12]).is_err());
    }
}
