//! Copies and answers as they travel between processes of this crate.
//!
//! A copy: its number (8 bytes, big-endian as all numbers), deliveries that count (4), the id, the
//! topic and the content type as strings (4 bytes of length, then UTF-8), the count of metadata
//! entries (4) and their keys and values as strings; the rest is the body. An answer has 13 bytes:
//! what it says, the number of the copy (8) and deliveries that count (4). One message of the
//! stream holds any number of answers.

use bytes::Buf;
use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;

use crate::broker::message::Message;
use crate::broker::receipt::Settled;
use crate::core::content_type::ContentType;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::metadata::Metadata;

use super::ERROR_ID;

/// Bytes of an answer.
const ANSWER_BYTES: usize = 13;

/// What a receiver says of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It has a place in the queue of the subscription.
    Taken,
    /// There is no room.
    Full,
    /// The subscription has ended.
    Gone,
    /// A copy that was taken is settled.
    Settled(Settled),
}

/// What a receiver says of the copy of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) number: u64,
    pub(super) word: Word,
}

/// A copy as it arrives.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) number: u64,
    pub(super) attempts: u32,
    pub(super) message: Message,
}

/// Encodes a copy.
pub(super) fn copy(number: u64, attempts: u32, message: &Message) -> Bytes {
    let room = message.body.len() + message.metadata.bytes() + message.topic.len() + 256;
    let mut out = BytesMut::with_capacity(room + message.metadata.len() * 8);
    out.put_u64(number);
    out.put_u32(attempts);
    put_text(&mut out, &message.id);
    put_text(&mut out, &message.topic);
    put_text(&mut out, message.content_type.as_str());
    out.put_u32(u32::try_from(message.metadata.len()).unwrap_or_default());
    for (key, value) in &message.metadata {
        put_text(&mut out, key);
        put_text(&mut out, value);
    }
    out.extend_from_slice(&message.body);
    out.freeze()
}

fn put_text(out: &mut BytesMut, text: &str) {
    // Invariant: everything put here has a limit far below 4 GiB.
    out.put_u32(u32::try_from(text.len()).unwrap_or_default());
    out.extend_from_slice(text.as_bytes());
}

/// Decodes a copy; the body is a slice of what arrived.
pub(super) fn arrived(mut bytes: Bytes) -> Result<Arrived> {
    let number = bytes.try_get_u64().map_err(|_short| malformed())?;
    let attempts = bytes.try_get_u32().map_err(|_short| malformed())?;
    let (id, topic) = (text(&mut bytes)?, text(&mut bytes)?);
    let content_type = ContentType::parse(&text(&mut bytes)?);
    let entries = bytes.try_get_u32().map_err(|_short| malformed())?;
    let mut metadata = Metadata::new();
    // The map refuses more entries than it may hold, so that the count is bounded.
    for _ in 0..entries {
        metadata.insert(text(&mut bytes)?, text(&mut bytes)?)?;
    }
    let mut message = Message::new(topic, content_type, bytes).with_metadata(metadata);
    message.id = id;
    message.validate(usize::MAX)?;
    Ok(Arrived { number, attempts, message })
}

fn text(bytes: &mut Bytes) -> Result<String> {
    let length = bytes.try_get_u32().map_err(|_short| malformed())?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > bytes.len() {
        return Err(malformed());
    }
    String::from_utf8(bytes.split_to(length).into()).map_err(|_binary| malformed())
}

impl Answer {
    /// Appends the answer.
    pub(super) fn put(self, out: &mut Vec<u8>) {
        let (kind, attempts) = match self.word {
            Word::Taken => (0, 0),
            Word::Full => (1, 0),
            Word::Gone => (2, 0),
            Word::Settled(Settled::Acked) => (3, 0),
            Word::Settled(Settled::Dead) => (4, 0),
            Word::Settled(Settled::Dropped) => (5, 0),
            Word::Settled(Settled::Returned { attempts }) => (6, attempts),
        };
        out.put_u8(kind);
        out.put_u64(self.number);
        out.put_u32(attempts);
    }

    /// Decodes the answers of one message.
    pub(super) fn read(mut bytes: Bytes) -> Result<Vec<Self>> {
        let mut answers = Vec::with_capacity(bytes.len() / ANSWER_BYTES);
        while !bytes.is_empty() {
            if bytes.len() < ANSWER_BYTES {
                return Err(malformed());
            }
            let (kind, number, attempts) = (bytes.get_u8(), bytes.get_u64(), bytes.get_u32());
            let word = match kind {
                0 => Word::Taken,
                1 => Word::Full,
                2 => Word::Gone,
                3 => Word::Settled(Settled::Acked),
                4 => Word::Settled(Settled::Dead),
                5 => Word::Settled(Settled::Dropped),
                6 => Word::Settled(Settled::Returned { attempts }),
                // A later version may say more: what is not understood changes nothing.
                _ => continue,
            };
            answers.push(Self { number, word });
        }
        Ok(answers)
    }
}

fn malformed() -> Error {
    Error::bad_request(ERROR_ID, "a copy of a message, or an answer to one, is malformed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        let mut metadata = Metadata::new();
        metadata.insert("tenant", "acme & s\u{f6}hne").unwrap();
        let body = Bytes::from_static(&[0, 255, 7]);
        Message::new("orders.created", ContentType::parse("application/x-own"), body)
            .with_metadata(metadata)
    }

    #[test]
    fn a_copy_survives_the_way() {
        let sent = message();
        let came = arrived(copy(7, 2, &sent)).unwrap();
        assert_eq!((came.number, came.attempts, came.message), (7, 2, sent));
    }

    #[test]
    fn no_beginning_of_a_copy_is_one_and_none_panics() {
        let whole = copy(7, 2, &message());
        let fixed = whole.len() - 3;
        for length in 0..fixed {
            assert!(arrived(whole.slice(..length)).is_err(), "{length}");
        }
        for at in 0..fixed {
            let mut changed = whole.to_vec();
            changed[at] ^= 0xff;
            drop(arrived(changed.into()));
        }
    }

    #[test]
    fn answers_survive_the_way_and_unknown_ones_are_passed_over() {
        let words = [
            Word::Taken,
            Word::Full,
            Word::Gone,
            Word::Settled(Settled::Acked),
            Word::Settled(Settled::Dead),
            Word::Settled(Settled::Dropped),
            Word::Settled(Settled::Returned { attempts: 4 }),
        ];
        let sent: Vec<Answer> =
            (0..).zip(words).map(|(number, word)| Answer { number, word }).collect();
        let mut out = vec![99; ANSWER_BYTES];
        sent.iter().for_each(|answer| answer.put(&mut out));
        assert_eq!(Answer::read(out.clone().into()).unwrap(), sent);
        out.pop();
        assert!(Answer::read(out.into()).is_err());
    }
}
