//! The bytes of one message, as a decoder sees them.

use std::fmt;
use std::ops::{Deref, Range};

use bytes::Bytes;

/// A message as a part of the bytes that it arrived with.
///
/// Reading it costs nothing. Whoever keeps it takes a share of the bytes, which keeps all that
/// arrived with the message in memory.
#[derive(Clone, Copy)]
pub struct Body<'a> {
    whole: &'a Bytes,
    part: &'a [u8],
    start: usize,
}

impl<'a> Body<'a> {
    /// Makes the view of a part of `whole`; empty where there is no such part.
    #[inline]
    pub(crate) fn part(whole: &'a Bytes, at: Range<usize>) -> Self {
        let start = at.start;
        Self { whole, part: whole.get(at).unwrap_or_default(), start }
    }

    /// Returns the message as bytes of its own, without copying it.
    pub fn share(&self) -> Bytes {
        if self.part.is_empty() {
            return Bytes::new();
        }
        self.whole.slice(self.start..self.start + self.part.len())
    }
}

impl Deref for Body<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.part
    }
}

impl<'a> From<&'a Bytes> for Body<'a> {
    fn from(whole: &'a Bytes) -> Self {
        Self { whole, part: whole, start: 0 }
    }
}

/// Shows the length of the message, which itself belongs in no log.
impl fmt::Debug for Body<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Body").field(&self.part.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_the_part_and_no_copy() {
        let whole = Bytes::from_static(b"head body tail");
        let body = Body::part(&whole, 5..9);
        assert_eq!(&*body, b"body");
        assert_eq!(body.share(), b"body".as_slice());
        assert_eq!(body.share().as_ptr(), whole[5..].as_ptr());
        assert_eq!(Body::from(&whole).share(), whole);
    }

    #[test]
    fn what_is_no_part_of_the_bytes_is_empty() {
        let whole = Bytes::from_static(b"abc");
        for at in [2..4, 4..4, 3..3, Range { start: 2, end: 1 }] {
            assert!(Body::part(&whole, at.clone()).share().is_empty(), "{at:?}");
        }
    }

    #[test]
    fn debug_shows_no_payload() {
        let whole = Bytes::from_static(b"secret");
        assert_eq!(format!("{:?}", Body::from(&whole)), "Body(6)");
    }
}
