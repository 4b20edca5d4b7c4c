//! Messages one after the other in the body of a request or a response.
//!
//! JSON values stand one a line; MessagePack values follow each other, since each tells its own
//! length. A sequence that fails ends with a failure in the place of a message: the line
//! `{"error": ..}`, or an extension value that holds the same error as JSON.

mod values;

use bytes::{Bytes, BytesMut};

use crate::codec::sequence::values::Values;
use crate::core::content_type::ContentType;
use crate::core::error::Error;

/// The type of the extension value that holds a failure.
const FAILURE: u8 = 101;

/// The marker of an extension value whose length has four bytes, and what stands before its
/// content: marker, length, type.
const EXTENSION: u8 = 0xc9;
#[cfg(feature = "http")]
const EXTENSION_HEAD: usize = 6;

/// How a failure begins as a line; what is called `error` and does not go on so is a message.
#[cfg(feature = "http")]
const FAILED_LINE: &[u8] = br#"{"error":{"id":"#;

/// How messages are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// JSON, one value a line.
    Lines,
    /// MessagePack values.
    Values,
}

impl Row {
    /// Returns how messages of a content type are told apart, if there is a way.
    pub(crate) fn of(content_type: &ContentType) -> Option<Self> {
        match content_type {
            ContentType::Json => Some(Self::Lines),
            ContentType::MsgPack => Some(Self::Values),
            _ => None,
        }
    }

    /// Returns the content type of a body.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Lines => NDJSON,
            Self::Values => "application/msgpack",
        }
    }

    /// Ends a message that begins at `begun`.
    pub(crate) fn close(self, begun: usize, out: &mut Vec<u8>) {
        if self == Self::Lines {
            on_one_line(begun, out);
            out.push(b'\n');
        }
    }

    /// Appends a failure as the last message.
    #[cfg(any(feature = "server", test))]
    pub(crate) fn put_failure(self, error: &Error, out: &mut Vec<u8>) {
        let json = error.to_json();
        match self {
            Self::Lines => {
                out.extend_from_slice(br#"{"error":"#);
                out.extend_from_slice(json.as_bytes());
                out.extend_from_slice(b"}\n");
            }
            Self::Values => {
                // An error's JSON is bounded far below what four bytes count.
                let length = u32::try_from(json.len()).unwrap_or(u32::MAX);
                out.push(EXTENSION);
                out.extend_from_slice(&length.to_be_bytes());
                out.push(FAILURE);
                out.extend_from_slice(json.as_bytes());
            }
        }
    }

    /// Reads a message as a failure, if it is one.
    #[cfg(feature = "http")]
    pub(crate) fn failure(self, message: &[u8]) -> Option<Error> {
        let json = match self {
            Self::Lines => {
                let inner = message.strip_prefix(br#"{"error":"#)?.strip_suffix(b"}")?;
                message.starts_with(FAILED_LINE).then_some(inner)?
            }
            Self::Values => {
                let head = message.get(..EXTENSION_HEAD)?;
                let (marker, kind) = (head.first()?, head.last()?);
                (*marker == EXTENSION && *kind == FAILURE)
                    .then(|| message.get(EXTENSION_HEAD..))??
            }
        };
        std::str::from_utf8(json).ok().map(Error::parse)
    }
}

/// The content type of JSON values, one a line.
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// Takes the line breaks out of a message: within JSON they are white space, and would end a line.
pub(crate) fn on_one_line(begun: usize, out: &mut [u8]) {
    for byte in out.iter_mut().skip(begun).filter(|byte| matches!(byte, b'\n' | b'\r')) {
        *byte = b' ';
    }
}

/// What comes next of a sequence.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A message.
    Message(Bytes),
    /// Nothing before more bytes come, or the end.
    More,
    /// A message past the limit; nothing more can be read.
    TooLarge,
    /// The end in the middle of a message.
    Broken,
}

/// Takes messages out of the bytes of a body as they come.
#[derive(Debug)]
pub(crate) struct Splitter {
    row: Row,
    bytes_max: usize,
    buffer: BytesMut,
    /// Bytes of the buffer that hold no line break.
    scanned: usize,
    values: Values,
}

impl Splitter {
    /// Makes a splitter of messages of at most `bytes_max` bytes.
    pub(crate) fn new(row: Row, bytes_max: usize) -> Self {
        let (buffer, values) = (BytesMut::new(), Values::default());
        Self { row, bytes_max, buffer, scanned: 0, values }
    }

    /// Adds bytes of the body.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next message; `ended` says that no more bytes come.
    pub(crate) fn next(&mut self, ended: bool) -> Next {
        match self.row {
            Row::Lines => self.next_line(ended),
            Row::Values => self.next_value(ended),
        }
    }

    fn next_line(&mut self, ended: bool) -> Next {
        // Progress: each turn takes a line.
        while let Some(line) = self.take_line(ended) {
            let line = line.slice_ref(line.trim_ascii());
            if line.len() > self.bytes_max {
                return Next::TooLarge;
            }
            if !line.is_empty() {
                return Next::Message(line);
            }
        }
        if self.buffer.len() > self.bytes_max { Next::TooLarge } else { Next::More }
    }

    /// Takes a line out of the buffer; the rest counts as one when the body has ended.
    fn take_line(&mut self, ended: bool) -> Option<Bytes> {
        let fresh = self.buffer.get(self.scanned..).unwrap_or_default();
        match fresh.iter().position(|byte| *byte == b'\n') {
            Some(at) => {
                let line = self.buffer.split_to(self.scanned + at + 1).freeze();
                self.scanned = 0;
                Some(line)
            }
            None if ended && !self.buffer.is_empty() => {
                self.scanned = 0;
                Some(self.buffer.split().freeze())
            }
            None => {
                self.scanned = self.buffer.len();
                None
            }
        }
    }

    fn next_value(&mut self, ended: bool) -> Next {
        let whole = self.values.scan(&self.buffer);
        if self.values.length() > self.bytes_max {
            return Next::TooLarge;
        }
        match whole {
            Some(length) => {
                self.values = Values::default();
                Next::Message(self.buffer.split_to(length).freeze())
            }
            None if ended && !self.buffer.is_empty() => Next::Broken,
            None => Next::More,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(row: Row, pieces: &[&[u8]], max: usize) -> (Vec<Vec<u8>>, Next) {
        let (mut splitter, mut all) = (Splitter::new(row, max), Vec::new());
        for (index, piece) in pieces.iter().enumerate() {
            splitter.push(piece);
            loop {
                match splitter.next(index + 1 == pieces.len()) {
                    Next::Message(message) => all.push(message.to_vec()),
                    Next::More => break,
                    end => return (all, end),
                }
            }
        }
        (all, Next::More)
    }

    #[test]
    fn lines_are_values_and_blank_ones_are_none() {
        let (all, end) = split(Row::Lines, &[b"1\n{\"a\": 2}\r\n\n  \n3"], 100);
        assert_eq!(
            (all, end),
            (vec![b"1".to_vec(), b"{\"a\": 2}".to_vec(), b"3".to_vec()], Next::More)
        );
        assert_eq!(split(Row::Lines, &[b""], 100), (vec![], Next::More));
    }

    #[test]
    fn values_are_found_wherever_their_bytes_are_cut() {
        let value =
            serde_json::json!([1, "two", {"three": [4.5, null, true], "x": "y".repeat(300)}]);
        let one = rmp_serde::to_vec(&value).unwrap();
        let all = [one.as_slice(), b"\x07", one.as_slice()].concat();
        for at in 0..=all.len() {
            let (before, after) = all.split_at(at);
            let (found, end) = split(Row::Values, &[before, after], 1000);
            assert_eq!((found.len(), end), (3, Next::More), "{at}");
            assert_eq!((found[0].as_slice(), found[1].as_slice()), (one.as_slice(), &b"\x07"[..]));
        }
        let (found, end) = split(Row::Values, &[&one[..one.len() - 1]], 1000);
        assert_eq!((found.len(), end), (0, Next::Broken));
    }

    #[test]
    fn a_message_past_the_limit_ends_the_sequence() {
        for (length, ends) in [(9, false), (10, false), (11, true), (100, true)] {
            let line = format!("1\n{}\n", "x".repeat(length));
            let (found, end) = split(Row::Lines, &[line.as_bytes()], 10);
            assert_eq!((found.len(), end == Next::TooLarge), (2 - usize::from(ends), ends));
            let mut value = vec![7, 0xa0 | u8::try_from(length - 1).unwrap().min(31)];
            value.resize(value.len() + length - 1, b'x');
            let (found, end) = split(Row::Values, &[&value[..length.min(32) + 1]], 10);
            assert_eq!((found.len(), end == Next::TooLarge), (2 - usize::from(ends), ends));
        }
        // A declared length is refused before its bytes come.
        let declared = [0xdb, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(split(Row::Values, &[&declared], 10).1, Next::TooLarge);
    }

    #[cfg(feature = "http")]
    #[test]
    fn a_failure_is_told_from_every_message() {
        let error = Error::conflict("shop.Orders.Watch", "gone");
        for row in [Row::Lines, Row::Values] {
            let mut out = Vec::new();
            row.put_failure(&error, &mut out);
            let (found, end) = split(row, &[&out], 1000);
            assert_eq!((found.len(), end), (1, Next::More));
            let read = row.failure(&found[0]).unwrap();
            assert_eq!((read.code(), read.detail()), (409, "gone"));
        }
        for message in [r#"{"error":"x"}"#, r#"{"error":{"a":1}}"#, "1", ""] {
            assert!(Row::Lines.failure(message.as_bytes()).is_none(), "{message}");
        }
        for message in [&b"\x01"[..], b"", b"\xc9", b"\xc9\0\0\0\x01\x07x"] {
            assert!(Row::Values.failure(message).is_none());
        }
    }
}
