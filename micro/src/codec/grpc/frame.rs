//! Messages within a body: a flag, a length of four bytes, then the message.

use bytes::{BufMut, Bytes, BytesMut};

use crate::codec::grpc::gzip;
use crate::core::error::{Error, Result};

/// Bytes before each message.
const PREFIX_BYTES: usize = 5;

/// The flag of a message that is compressed.
const COMPRESSED: u8 = 1;

/// Shorter messages are sent as they are: compressed they would hardly be shorter.
const COMPRESSED_FROM_BYTES: usize = 1024;

/// How the messages of one direction may be compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// They are not.
    #[default]
    Identity,
    /// Each as a gzip file of its own.
    Gzip,
}

impl Encoding {
    /// Reads the value of `grpc-encoding`.
    ///
    /// # Errors
    /// 501 for one that is not known.
    pub(crate) fn parse(value: &[u8]) -> Result<Self> {
        match value {
            b"" | b"identity" => Ok(Self::Identity),
            b"gzip" => Ok(Self::Gzip),
            other => {
                let other = String::from_utf8_lossy(other).escape_debug().to_string();
                let detail = format!("messages encoded as `{other}` cannot be read; use gzip");
                Err(Error::unimplemented("micro.grpc", detail))
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Prefix {
    compressed: bool,
    length: usize,
}

/// Takes messages out of the chunks of a body.
///
/// A message that lies within a chunk is a slice of it; only one that spans chunks is copied.
#[derive(Debug)]
pub(crate) struct Decoder {
    bytes_max: usize,
    encoding: Encoding,
    prefix: Option<Prefix>,
    chunk: Bytes,
    /// The beginning of a prefix or message whose end has not come.
    held: BytesMut,
}

impl Decoder {
    /// Makes a decoder of messages of at most `bytes_max` bytes, inflated.
    pub(crate) fn new(bytes_max: usize, encoding: Encoding) -> Self {
        Self { bytes_max, encoding, prefix: None, chunk: Bytes::new(), held: BytesMut::new() }
    }

    /// Adds a chunk; what came before it has been taken, up to a part of a message.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        if !self.chunk.is_empty() {
            let mut whole = BytesMut::from(std::mem::take(&mut self.chunk));
            whole.extend_from_slice(&chunk);
            self.chunk = whole.freeze();
            return;
        }
        self.chunk = chunk;
    }

    /// Takes the next message that is complete.
    ///
    /// # Errors
    /// 413 for a message past the limit, told by its prefix alone; 500 for one that breaks the
    /// format or cannot be inflated. Nothing sensible follows an error.
    pub(crate) fn take(&mut self) -> Result<Option<Bytes>> {
        let prefix = match self.prefix {
            Some(prefix) => prefix,
            None => {
                let Some(bytes) = self.gather(PREFIX_BYTES) else { return Ok(None) };
                let prefix = self.check(&bytes)?;
                self.prefix = Some(prefix);
                prefix
            }
        };
        let Some(message) = self.gather(prefix.length) else { return Ok(None) };
        self.prefix = None;
        if prefix.compressed {
            return gzip::inflate(&message, self.bytes_max).map(Some);
        }
        Ok(Some(message))
    }

    /// Returns how many bytes of an unfinished message are kept.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// Checks that the body may end here.
    ///
    /// # Errors
    /// 500 within a message.
    pub(crate) fn end(&self) -> Result<()> {
        if self.prefix.is_none() && self.held.is_empty() && self.chunk.is_empty() {
            return Ok(());
        }
        Err(Error::internal("micro.grpc", "the body ends within a message"))
    }

    /// Takes the next `count` bytes once they are there.
    fn gather(&mut self, count: usize) -> Option<Bytes> {
        if self.held.is_empty() && self.chunk.len() >= count {
            return Some(self.chunk.split_to(count));
        }
        let missing = count.saturating_sub(self.held.len());
        let taken = self.chunk.split_to(missing.min(self.chunk.len()));
        self.held.extend_from_slice(&taken);
        (self.held.len() >= count).then(|| self.held.split().freeze())
    }

    fn check(&self, bytes: &[u8]) -> Result<Prefix> {
        let broken = |detail| Error::internal("micro.grpc", detail);
        let &[flag, a, b, c, d] = bytes else {
            return Err(broken("a prefix has five bytes"));
        };
        let compressed = match (flag, self.encoding) {
            (0, _) => false,
            (COMPRESSED, Encoding::Gzip) => true,
            (COMPRESSED, Encoding::Identity) => {
                return Err(broken("a message is compressed and no `grpc-encoding` says how"));
            }
            _ => return Err(broken("a message has a flag that gRPC does not know")),
        };
        let max = self.bytes_max;
        match usize::try_from(u32::from_be_bytes([a, b, c, d])) {
            Ok(length) if length <= max => Ok(Prefix { compressed, length }),
            _ => {
                let detail = format!("a message may have {max} bytes, this one has more");
                Err(Error::too_large("micro.grpc", detail))
            }
        }
    }
}

/// Makes the frame of one message.
///
/// # Errors
/// 413 when the message is longer than the format can say.
pub(crate) fn framed(message: &[u8], encoding: Encoding) -> Result<Bytes> {
    let packed = packed(message, encoding);
    let (flag, body) = match &packed {
        Some(packed) => (COMPRESSED, packed.as_slice()),
        None => (0, message),
    };
    let mut out = BytesMut::with_capacity(PREFIX_BYTES + body.len());
    out.put_u8(flag);
    out.put_u32(length(body)?);
    out.put_slice(body);
    Ok(out.freeze())
}

/// Leaves room for a prefix at the end of `out`; the message is to be appended, then [`finish`]ed.
pub(crate) fn begin(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0; PREFIX_BYTES]);
}

/// Returns the length of the message that [`begin`] began at `start`.
fn message_at(out: &[u8], start: usize) -> &[u8] {
    out.get(start + PREFIX_BYTES..).unwrap_or_default()
}

/// Writes the prefix of a message that was begun at `start`.
///
/// # Errors
/// 413 when the message is longer than `bytes_max`; `out` ends before it then.
pub(crate) fn finish(
    out: &mut Vec<u8>,
    start: usize,
    bytes_max: usize,
    encoding: Encoding,
) -> Result<()> {
    let message = message_at(out, start);
    if message.len() > bytes_max {
        out.truncate(start);
        let detail = format!("a message may have {bytes_max} bytes, this one has more");
        return Err(Error::too_large("micro.grpc", detail));
    }
    let packed = packed(message, encoding);
    let flag = u8::from(packed.is_some());
    if let Some(packed) = packed {
        out.truncate(start + PREFIX_BYTES);
        out.extend_from_slice(&packed);
    }
    let [a, b, c, d] = length(message_at(out, start))?.to_be_bytes();
    if let Some(prefix) = out.get_mut(start..start + PREFIX_BYTES) {
        prefix.copy_from_slice(&[flag, a, b, c, d]);
    }
    Ok(())
}

/// Compresses a message if that is asked for and worth it.
fn packed(message: &[u8], encoding: Encoding) -> Option<Vec<u8>> {
    let worth = encoding == Encoding::Gzip && message.len() >= COMPRESSED_FROM_BYTES;
    worth.then(|| gzip::deflate(message)).filter(|packed| packed.len() < message.len())
}

fn length(message: &[u8]) -> Result<u32> {
    u32::try_from(message.len()).map_err(|e| {
        Error::too_large("micro.grpc", "a message may have 4 GiB, this one has more").with_source(e)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wire() -> (Vec<Vec<u8>>, Vec<u8>) {
        let messages = vec![b"one".to_vec(), Vec::new(), vec![7; 300], b"z".to_vec()];
        let mut bytes = Vec::new();
        for message in &messages {
            bytes.extend_from_slice(&framed(message, Encoding::Identity).unwrap());
        }
        (messages, bytes)
    }

    fn decoded(chunks: &[&[u8]], encoding: Encoding) -> Result<Vec<Vec<u8>>> {
        let mut decoder = Decoder::new(2000, encoding);
        let mut all = Vec::new();
        for chunk in chunks {
            decoder.push(Bytes::copy_from_slice(chunk));
            while let Some(message) = decoder.take()? {
                all.push(message.to_vec());
            }
        }
        decoder.end()?;
        Ok(all)
    }

    #[test]
    fn messages_are_the_same_however_the_body_is_cut() {
        let (messages, bytes) = wire();
        for at in 0..=bytes.len() {
            let (a, b) = bytes.split_at(at);
            assert_eq!(decoded(&[a, b], Encoding::Identity).unwrap(), messages, "{at}");
        }
        for size in 1..20 {
            let chunks: Vec<_> = bytes.chunks(size).collect();
            assert_eq!(decoded(&chunks, Encoding::Identity).unwrap(), messages, "{size}");
        }
    }

    #[test]
    fn a_body_that_ends_within_a_message_is_told() {
        let (messages, bytes) = wire();
        let ends = [0, 8, 13, 13 + 305, bytes.len()];
        for at in 0..bytes.len() {
            let (a, _) = bytes.split_at(at);
            let whole = decoded(&[a], Encoding::Identity);
            assert_eq!(whole.is_ok(), ends.contains(&at), "{at}");
            if let Err(error) = whole {
                assert_eq!(error.code(), 500);
            }
        }
        assert_eq!(messages.len(), ends.len() - 1);
    }

    #[test]
    fn an_overlong_message_is_refused_by_its_prefix_alone() {
        for (length, code) in [(99u32, None), (100, None), (101, Some(413)), (u32::MAX, Some(413))]
        {
            let mut decoder = Decoder::new(100, Encoding::Identity);
            let [a, b, c, d] = length.to_be_bytes();
            decoder.push(Bytes::copy_from_slice(&[0, a, b, c, d]));
            let taken = decoder.take();
            assert_eq!(taken.as_ref().err().map(Error::code), code, "{length}");
            assert_eq!(decoder.held(), 0);
        }
    }

    #[test]
    fn flags_that_nothing_explains_are_refused() {
        for (flag, encoding) in
            [(1, Encoding::Identity), (2, Encoding::Gzip), (255, Encoding::Gzip)]
        {
            let error = decoded(&[&[flag, 0, 0, 0, 0]], encoding).unwrap_err();
            assert_eq!(error.code(), 500, "{flag}");
        }
    }

    #[test]
    fn long_messages_are_compressed_and_short_ones_are_not() {
        for (length, flag) in [(1023, 0), (1024, 1)] {
            let message = vec![b'x'; length];
            let bytes = framed(&message, Encoding::Gzip).unwrap();
            assert_eq!(bytes[0], flag, "{length}");
            assert_eq!(decoded(&[&bytes], Encoding::Gzip).unwrap(), [message.as_slice()]);
            let mut out = b"before".to_vec();
            begin(&mut out);
            out.extend_from_slice(&message);
            finish(&mut out, 6, 2000, Encoding::Gzip).unwrap();
            assert_eq!(out, [b"before", &bytes[..]].concat());
        }
    }

    #[test]
    fn a_message_past_the_limit_is_taken_back() {
        for (length, passes) in [(9, true), (10, true), (11, false), (100, false)] {
            let mut out = b"before".to_vec();
            begin(&mut out);
            out.resize(out.len() + length, 7);
            let finished = finish(&mut out, 6, 10, Encoding::Identity);
            assert_eq!(finished.is_ok(), passes, "{length}");
            assert_eq!(out.len(), if passes { 6 + 5 + length } else { 6 });
        }
    }

    proptest! {
        #[test]
        fn no_body_panics_and_its_cut_never_matters(
            frames in prop::collection::vec((0u8..3, 0u8..9, prop::collection::vec(any::<u8>(), 0..9)), 0..6),
            size in 1usize..20,
        ) {
            let mut bytes = Vec::new();
            for (flag, length, body) in frames {
                bytes.extend_from_slice(&[flag, 0, 0, 0, length]);
                bytes.extend_from_slice(&body);
            }
            let whole = decoded(&[&bytes], Encoding::Gzip).ok();
            let chunks: Vec<_> = bytes.chunks(size).collect();
            prop_assert_eq!(decoded(&chunks, Encoding::Gzip).ok(), whole);
        }
    }

    #[test]
    fn unknown_encodings_are_not_implemented() {
        assert_eq!(Encoding::parse(b"gzip").unwrap(), Encoding::Gzip);
        assert_eq!(Encoding::parse(b"identity").unwrap(), Encoding::Identity);
        for name in ["zstd", "deflate", "GZIP", "\u{1b}[2J"] {
            let error = Encoding::parse(name.as_bytes()).unwrap_err();
            assert_eq!(error.code(), 501);
            assert!(!error.detail().contains('\u{1b}'));
        }
    }
}
