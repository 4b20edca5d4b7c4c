//! A response as it is compressed: piece by piece, streams so that each piece can be read at once.

use std::fmt;
use std::io::Write;
use std::task::{Context, Poll};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use crate::server::http::coding::Coding;
use crate::server::http::pump::Pump;

/// Bytes that are compressed at a time: about a millisecond.
const PIECE_BYTES: usize = 64 * 1024;

/// What is compressed.
#[derive(Debug)]
pub(in crate::server::http) enum Source {
    Full(Bytes),
    Pump(Box<Pump>),
}

/// A body that is compressed as it is sent.
pub(in crate::server::http) struct Packed {
    source: Source,
    encoder: Option<Encoder>,
}

impl Packed {
    pub(in crate::server::http) fn new(source: Source, coding: Coding) -> Self {
        Self { source, encoder: Some(Encoder::new(coding)) }
    }

    /// Compresses what is short at once; `None` when it is not short.
    pub(in crate::server::http) fn at_once(bytes: &Bytes, coding: Coding) -> Option<Bytes> {
        let mut encoder =
            Some(bytes).filter(|bytes| bytes.len() <= PIECE_BYTES).map(|_| Encoder::new(coding))?;
        let mut out = encoder.encode(bytes, Flush::No).ok()?;
        out.extend_from_slice(&encoder.finish().ok()?);
        Some(out.into())
    }

    /// Polls for the next piece.
    pub(in crate::server::http) fn poll_piece(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<Bytes>>> {
        // Progress: each turn takes a piece of the source, or ends.
        loop {
            let Some(encoder) = &mut self.encoder else { return Poll::Ready(None) };
            let (piece, flush) = match &mut self.source {
                Source::Full(bytes) => {
                    let piece = bytes.split_to(bytes.len().min(PIECE_BYTES));
                    (Some(piece).filter(|piece| !piece.is_empty()), Flush::No)
                }
                Source::Pump(pump) => (std::task::ready!(pump.poll_chunk(task)), Flush::Yes),
            };
            let packed = match piece {
                Some(piece) => encoder.encode(&piece, flush),
                None => self.encoder.take().map_or_else(|| Ok(Vec::new()), Encoder::finish),
            };
            match packed {
                Ok(packed) if packed.is_empty() => {}
                packed => return Poll::Ready(Some(packed.map(Bytes::from))),
            }
        }
    }
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packed").field("source", &self.source).finish_non_exhaustive()
    }
}

/// Whether what was compressed can be read before the rest comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flush {
    Yes,
    No,
}

enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Deflate(ZlibEncoder<Vec<u8>>),
}

impl Encoder {
    fn new(coding: Coding) -> Self {
        // The fastest level: a server has better things to do, and most of the gain is there.
        match coding {
            Coding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), Compression::fast())),
            Coding::Deflate => Self::Deflate(ZlibEncoder::new(Vec::new(), Compression::fast())),
        }
    }

    fn encode(&mut self, bytes: &[u8], flush: Flush) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Gzip(encoder) => {
                encoder.write_all(bytes)?;
                if flush == Flush::Yes {
                    encoder.flush()?;
                }
                Ok(std::mem::take(encoder.get_mut()))
            }
            Self::Deflate(encoder) => {
                encoder.write_all(bytes)?;
                if flush == Flush::Yes {
                    encoder.flush()?;
                }
                Ok(std::mem::take(encoder.get_mut()))
            }
        }
    }

    fn finish(self) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Deflate(encoder) => encoder.finish(),
        }
    }
}
