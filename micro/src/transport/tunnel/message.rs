//! What the ends of a session tell each other.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The version of the messages.
const VERSION: u8 = 1;

/// Bytes in front of the bytes of a message of data.
pub(super) const HEAD_BYTES: usize = 10;

/// What the names of the ends of sessions begin with.
const SESSIONS: &str = "micro.session.";

/// The end of a session, by a number that nobody else has made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transport) struct End(u128);

impl End {
    /// Makes up an end whose name nobody can guess, however many others they have seen.
    pub(in crate::transport) fn random() -> Self {
        // Keyed by the system, unlike the numbers of `fastrand`, of which a few tell the next.
        let keyed = RandomState::new();
        let half = |n: u8| u128::from(keyed.hash_one(n));
        Self(half(0) << 64 | half(1))
    }
}

/// Writes the name of its inbox.
impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SESSIONS}{:032x}", self.0)
    }
}

/// Why a session is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The listener has as many sessions as it may.
    Busy,
    /// The listener is about to stop.
    Draining,
    /// A message was lost, came twice, or broke a rule.
    Broken,
    /// All is said.
    Done,
    /// Something that this version does not know.
    Other,
}

/// Codes of reasons.
const REASONS: [(u8, Reason); 4] =
    [(1, Reason::Busy), (2, Reason::Draining), (3, Reason::Broken), (4, Reason::Done)];

impl Reason {
    fn read(code: u8) -> Self {
        REASONS.iter().find(|known| known.0 == code).map_or(Self::Other, |known| known.1)
    }

    fn code(self) -> u8 {
        REASONS.iter().find(|known| known.1 == self).map_or(0, |known| known.0)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "it has too many connections",
            Self::Draining => "it is about to stop",
            Self::Broken => "it missed a message",
            Self::Done => "it has ended the connection",
            Self::Other => "it gave the connection up",
        })
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Open { from: End, window: u32 },
    Accept { from: End, window: u32 },
    Reset(Reason),
    Numbered { number: u64, word: Word },
}

/// What a message within a session says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Data(Bytes),
    Credit { total: u64 },
    Beat,
    End,
}

impl Message {
    /// Reads a message; `None` for what is none of this version.
    pub(super) fn read(mut bytes: Bytes) -> Option<Self> {
        if bytes.try_get_u8().ok()? != VERSION {
            return None;
        }
        let kind = bytes.try_get_u8().ok()?;
        let message = match kind {
            1 | 2 => {
                let (from, window) = (End(bytes.try_get_u128().ok()?), bytes.try_get_u32().ok()?);
                if kind == 1 { Self::Open { from, window } } else { Self::Accept { from, window } }
            }
            3 => Self::Reset(Reason::read(bytes.try_get_u8().ok()?)),
            _ => {
                let number = bytes.try_get_u64().ok()?;
                let word = match kind {
                    4 if !bytes.is_empty() => Word::Data(std::mem::take(&mut bytes)),
                    5 => Word::Credit { total: bytes.try_get_u64().ok()? },
                    6 => Word::Beat,
                    7 => Word::End,
                    _ => return None,
                };
                Self::Numbered { number, word }
            }
        };
        bytes.is_empty().then_some(message)
    }

    /// Writes the message.
    pub(super) fn write(&self) -> Bytes {
        let data = match self {
            Self::Numbered { word: Word::Data(bytes), .. } => bytes.len(),
            _ => 16,
        };
        let mut out = BytesMut::with_capacity(HEAD_BYTES + data);
        out.put_u8(VERSION);
        match self {
            Self::Open { from, window } => put_end(&mut out, 1, *from, *window),
            Self::Accept { from, window } => put_end(&mut out, 2, *from, *window),
            Self::Reset(reason) => out.put_slice(&[3, reason.code()]),
            Self::Numbered { number, word } => {
                out.put_u8(match word {
                    Word::Data(_) => 4,
                    Word::Credit { .. } => 5,
                    Word::Beat => 6,
                    Word::End => 7,
                });
                out.put_u64(*number);
                match word {
                    Word::Data(bytes) => out.put_slice(bytes),
                    Word::Credit { total } => out.put_u64(*total),
                    Word::Beat | Word::End => {}
                }
            }
        }
        out.freeze()
    }
}

fn put_end(out: &mut BytesMut, kind: u8, from: End, window: u32) {
    out.put_u8(kind);
    out.put_u128(from.0);
    out.put_u32(window);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<(Message, Vec<u8>)> {
        let from = End(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
        let name: Vec<u8> = (1..=16).collect();
        let numbered = |word| Message::Numbered { number: 258, word };
        let number = [0, 0, 0, 0, 0, 0, 1, 2];
        let on = |head: [u8; 2], rest: &[&[u8]]| [&head[..], &rest.concat()].concat();
        vec![
            (Message::Open { from, window: 515 }, on([1, 1], &[&name, &[0, 0, 2, 3]])),
            (Message::Accept { from, window: 515 }, on([1, 2], &[&name, &[0, 0, 2, 3]])),
            (Message::Reset(Reason::Draining), vec![1, 3, 2]),
            (numbered(Word::Data(Bytes::from_static(b"abc"))), on([1, 4], &[&number, b"abc"])),
            (numbered(Word::Credit { total: 7 }), on([1, 5], &[&number, &7_u64.to_be_bytes()])),
            (numbered(Word::Beat), on([1, 6], &[&number])),
            (numbered(Word::End), on([1, 7], &[&number])),
        ]
    }

    #[test]
    fn every_message_is_written_as_specified_and_read_back() {
        for (message, bytes) in all() {
            assert_eq!(message.write(), bytes, "{message:?}");
            assert_eq!(Message::read(bytes.into()), Some(message));
        }
        assert_eq!(End(10).to_string(), "micro.session.0000000000000000000000000000000a");
    }

    #[test]
    fn what_is_cut_short_or_too_long_is_no_message() {
        for (message, bytes) in all() {
            let is_data = matches!(message, Message::Numbered { word: Word::Data(_), .. });
            for length in 0..bytes.len() {
                let cut = Message::read(bytes[..length].to_vec().into());
                assert!(cut.is_none() || is_data && length > HEAD_BYTES, "{message:?} {length}");
            }
            let longer = [&bytes[..], b"x"].concat();
            assert_eq!(Message::read(longer.into()).is_some(), is_data, "{message:?}");
        }
    }

    #[test]
    fn other_versions_and_kinds_are_no_message() {
        for (version, kind) in [(0, 6), (2, 6), (1, 0), (1, 8), (1, 255)] {
            let bytes = [&[version, kind][..], &[0; 8]].concat();
            assert_eq!(Message::read(bytes.into()), None, "{version} {kind}");
        }
        assert_eq!(Message::read(vec![1, 3, 99].into()), Some(Message::Reset(Reason::Other)));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic_and_only_as_they_would_be_written(
            bytes: Vec<u8>, kind in 0_u8..9,
        ) {
            let bytes = [&[VERSION, kind], &bytes[..]].concat();
            if let Some(message) = Message::read(bytes.clone().into())
                && message != Message::Reset(Reason::Other)
            {
                proptest::prop_assert_eq!(message.write(), bytes);
            }
        }
    }
}
