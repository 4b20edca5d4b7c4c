//! What nsqd sends: frames of a size, a kind and data.
//!
//! Every length is checked against its limit as soon as it is read, before anything is kept for it.

use std::fmt;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use crate::core::error::{Error, Result};

use super::ERROR_ID;

/// Bytes before the kind of a frame: its size, which does not count itself.
const SIZE_BYTES: usize = 4;
/// Bytes of the kind of a frame.
const KIND_BYTES: usize = 4;
/// Bytes of a message before its body: time, attempts and id.
const MESSAGE_HEAD_BYTES: usize = 8 + 2 + ID_BYTES;
/// Bytes of the id of a message.
const ID_BYTES: usize = 16;
/// Bytes of an answer or an error: nsqd's longest, its settings, have one.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Bytes of the longest frame that is passed over; a longer one is none.
const PASSED_BYTES_MAX: usize = 1 << 30;
/// Bytes of an error's text that is repeated.
const TEXT_BYTES_MAX: usize = 256;

/// The kind of a frame that answers a command, or asks whether the client is there.
const RESPONSE: u32 = 0;
/// The kind of a frame that says what is wrong.
const ERROR: u32 = 1;
/// The kind of a frame that holds a message.
const MESSAGE: u32 = 2;

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// An answer.
    Answer(Bytes),
    /// nsqd asks whether the client is there.
    Heartbeat,
    /// What is wrong: a code, and words for people.
    Error(String),
    Message(Raw),
    /// A message whose body is longer than it may be: so many bytes, which follow.
    TooLong {
        id: MessageId,
        bytes: usize,
    },
}

/// A message as nsqd delivers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Raw {
    /// When nsqd took it, since 1970-01-01 UTC.
    pub(super) taken: Duration,
    /// Counts the deliveries to the channel, from 1.
    pub(super) attempts: u16,
    pub(super) id: MessageId,
    pub(super) body: Bytes,
}

/// The id of a message: hexadecimal digits, so that it can stand in a command as it came.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct MessageId([u8; ID_BYTES]);

impl MessageId {
    fn read(bytes: &mut Bytes) -> Option<Self> {
        let mut id = [0; ID_BYTES];
        bytes.try_copy_to_slice(&mut id).ok()?;
        id.iter().all(u8::is_ascii_hexdigit).then_some(Self(id))
    }
}

#[cfg(test)]
impl MessageId {
    /// Makes the id of a number.
    pub(super) fn of(number: u64) -> Self {
        Self(*format!("{number:016x}").as_bytes().first_chunk().unwrap())
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Invariant: it is ASCII.
        f.write_str(std::str::from_utf8(&self.0).unwrap_or_default())
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Takes a frame off the front of what has come; `None` if it has not come whole. Of a message whose
/// body is longer than `body_bytes_max` it takes all but the body.
///
/// # Errors
/// 500 for what is no frame.
pub(super) fn take(buffer: &mut BytesMut, body_bytes_max: usize) -> Result<Option<Frame>> {
    let Some(size) = number(buffer, 0) else { return Ok(None) };
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if !(KIND_BYTES..=PASSED_BYTES_MAX).contains(&size) {
        return Err(wrong(&format!("a frame of {size} bytes, {PASSED_BYTES_MAX} are allowed")));
    }
    let Some(kind) = number(buffer, SIZE_BYTES) else { return Ok(None) };
    match kind {
        RESPONSE | ERROR if size - KIND_BYTES > ANSWER_BYTES_MAX => {
            return Err(wrong(&format!("a frame of the kind {kind} of {size} bytes")));
        }
        MESSAGE if size - KIND_BYTES > MESSAGE_HEAD_BYTES.saturating_add(body_bytes_max) => {
            return too_long(buffer, size - KIND_BYTES - MESSAGE_HEAD_BYTES);
        }
        RESPONSE | ERROR | MESSAGE => {}
        _ => return Err(wrong(&format!("a frame of the unknown kind {kind}"))),
    }
    if buffer.len() < SIZE_BYTES + size {
        return Ok(None);
    }
    let mut data = buffer.split_to(SIZE_BYTES + size).freeze();
    data.advance(SIZE_BYTES + KIND_BYTES);
    Ok(Some(match kind {
        RESPONSE if data == b"_heartbeat_"[..] => Frame::Heartbeat,
        RESPONSE => Frame::Answer(data),
        ERROR => {
            let text = data.get(..TEXT_BYTES_MAX).unwrap_or(&data);
            Frame::Error(String::from_utf8_lossy(text).into_owned())
        }
        _ => Frame::Message(message(data).ok_or_else(|| wrong("a message without its head"))?),
    }))
}

/// Takes a message without its body of so many bytes.
fn too_long(buffer: &mut BytesMut, bytes: usize) -> Result<Option<Frame>> {
    const HEAD_BYTES: usize = SIZE_BYTES + KIND_BYTES + MESSAGE_HEAD_BYTES;
    if buffer.len() < HEAD_BYTES {
        return Ok(None);
    }
    let mut head = buffer.split_to(HEAD_BYTES).freeze();
    head.advance(SIZE_BYTES + KIND_BYTES);
    let Raw { id, .. } = message(head).ok_or_else(|| wrong("a message without its head"))?;
    Ok(Some(Frame::TooLong { id, bytes }))
}

/// Reads the number at a place, if it has come.
fn number(buffer: &BytesMut, at: usize) -> Option<u32> {
    buffer.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

fn message(mut data: Bytes) -> Option<Raw> {
    let nanos = u64::try_from(data.try_get_i64().ok()?).unwrap_or(0);
    let attempts = data.try_get_u16().ok()?;
    let id = MessageId::read(&mut data)?;
    Some(Raw { taken: Duration::from_nanos(nanos), attempts, id, body: data })
}

fn wrong(what: &str) -> Error {
    Error::internal(ERROR_ID, format!("nsqd sends {what}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the protocol lays out a response, an error and a message.
    const OK: &[u8] = b"\0\0\0\x06\0\0\0\0OK";
    const BEAT: &[u8] = b"\0\0\0\x0f\0\0\0\0_heartbeat_";
    const INVALID: &[u8] = b"\0\0\0\x0d\0\0\0\x01E_INVALID";
    const HELLO: &[u8] = b"\0\0\0\x23\0\0\0\x02\x10\0\0\0\0\0\0\x01\0\x030123456789abcdefhello";

    fn all(bytes: &[u8]) -> Result<Vec<Frame>> {
        let (mut buffer, mut frames) = (BytesMut::from(bytes), Vec::new());
        while let Some(frame) = take(&mut buffer, 100)? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[test]
    fn frames_are_read_as_the_protocol_lays_them_out() {
        let whole = [OK, BEAT, INVALID, HELLO].concat();
        let frames = all(&whole).unwrap();
        let Frame::Message(raw) = &frames[3] else { panic!("{frames:?}") };
        assert_eq!(frames[0], Frame::Answer(Bytes::from_static(b"OK")));
        assert_eq!(frames[1..3], [Frame::Heartbeat, Frame::Error("E_INVALID".into())]);
        assert_eq!((raw.taken.as_nanos(), raw.attempts), ((1 << 60) + 1, 3));
        assert_eq!(
            (raw.id.to_string().as_str(), &raw.body[..]),
            ("0123456789abcdef", &b"hello"[..])
        );
        for length in 0..whole.len() {
            assert!(all(&whole[..length]).unwrap().len() < 4, "{length}");
        }
    }

    #[test]
    fn a_length_is_refused_before_its_bytes_come() {
        for head in [
            &b"\0\0\0\x03"[..],
            b"\0\0\0\0",
            b"\xff\xff\xff\xff",
            b"\x7f\xff\xff\xff",
            b"\x40\0\0\x01",
            b"\x00\x02\0\0\0\0\0\0",
            b"\0\0\0\x06\0\0\0\x03",
            b"\0\0\0\x08\0\0\0\x020000",
            b"\0\0\0\x23\0\0\0\x02\x10\0\0\0\0\0\0\x01\0\x03012345678\n\nbcdefhello",
        ] {
            assert!(all(head).is_err(), "{head:?}");
        }
    }

    #[test]
    fn a_message_is_as_long_as_its_limit_and_no_longer() {
        let framed = |length: usize| {
            let size = u32::try_from(KIND_BYTES + MESSAGE_HEAD_BYTES + length).unwrap();
            [&size.to_be_bytes()[..], &HELLO[4..34], &vec![7; length]].concat()
        };
        let long = ANSWER_BYTES_MAX * 2;
        for (length, fits) in [(long, true), (long + 1, false), (long * 10, false)] {
            let mut buffer = BytesMut::from(&framed(length)[..]);
            match take(&mut buffer, long).unwrap().unwrap() {
                Frame::Message(raw) => assert_eq!((raw.body.len(), fits), (length, true)),
                // Its body is passed over where it comes.
                Frame::TooLong { id, bytes } => {
                    assert_eq!((bytes, buffer.len(), fits), (length, length, false));
                    assert_eq!(id.to_string(), "0123456789abcdef");
                }
                other => panic!("{other:?}"),
            }
        }
        let mut buffer = BytesMut::from(&framed(long + 1)[..33]);
        assert!(take(&mut buffer, long).unwrap().is_none());
        assert_eq!(buffer.len(), 33);
    }

    #[test]
    fn a_frame_that_is_passed_over_has_a_limit() {
        let head = |size: usize| {
            let size = u32::try_from(size).unwrap();
            let mut buffer = BytesMut::from(&size.to_be_bytes()[..]);
            buffer.extend_from_slice(&MESSAGE.to_be_bytes());
            take(&mut buffer, 100).is_ok()
        };
        let most = PASSED_BYTES_MAX;
        assert_eq!((head(most), head(most + 1), head(most * 3)), (true, false, false));
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(all(&bytes));
            let mut framed = b"\0\0\0".to_vec();
            framed.extend(bytes);
            drop(all(&framed));
        }
    }
}
