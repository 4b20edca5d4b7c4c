//! A compressed body as it is read: never more at once, nor in all, than its limits.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use flate2::write::{GzDecoder, ZlibDecoder};
use hyper::body::{Body, Frame, SizeHint};

use crate::core::error::{BoxError, Error, Result};
use crate::server::http::body::Payload;
use crate::server::http::coding::Coding;

/// Compressed bytes that are read at a time: deflate makes at most a thousand times as many of
/// them, so that one step never holds more than a message may have.
const STEP_BYTES: usize = 1024;

/// How many times as long as what was sent a body may become. JSON that repeats itself stays
/// below a hundred; what is made to exhaust its reader is near a thousand.
const RATIO_MAX: usize = 200;

/// Bytes that a body may become whatever was sent: short ones say nothing by their ratio.
const FREE_BYTES: usize = 64 * 1024;

/// A body that may be compressed.
pub(in crate::server::http) enum Unpacked<B> {
    Plain(B),
    Packed(Box<Unpacking<B>>),
}

impl<B: Payload> Unpacked<B> {
    pub(in crate::server::http) fn new(body: B, coding: Option<Coding>) -> Self {
        match coding {
            None => Self::Plain(body),
            Some(coding) => Self::Packed(Box::new(Unpacking {
                body,
                decoder: Decoder::new(coding),
                rest: Bytes::new(),
                taken: 0,
                given: 0,
                ended: false,
            })),
        }
    }
}

impl<B: Payload> Body for Unpacked<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Self::Plain(body) => {
                Pin::new(body).poll_frame(task).map(|frame| frame.map(|f| f.map_err(Into::into)))
            }
            Self::Packed(packed) => {
                packed.poll_data(task).map(|data| data.map(|data| data.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Plain(body) => body.is_end_stream(),
            Self::Packed(packed) => packed.ended && packed.rest.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Plain(body) => body.size_hint(),
            Self::Packed(_) => SizeHint::default(),
        }
    }
}

/// A compressed body on its way.
pub(in crate::server::http) struct Unpacking<B> {
    body: B,
    decoder: Decoder,
    /// Bytes that came and are still to be read.
    rest: Bytes,
    taken: usize,
    given: usize,
    ended: bool,
}

impl<B: Payload> Unpacking<B> {
    fn poll_data(&mut self, task: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        // Progress: each turn takes bytes, or a frame, or ends.
        loop {
            let data = if !self.rest.is_empty() {
                self.step()
            } else if self.ended {
                return Poll::Ready(None);
            } else {
                match std::task::ready!(Pin::new(&mut self.body).poll_frame(task)) {
                    Some(Ok(frame)) => {
                        self.rest = frame.into_data().unwrap_or_default();
                        continue;
                    }
                    Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                    None => self.finish(),
                }
            };
            match data {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Poll::Ready(Some(Ok(data))),
                Err(error) => {
                    self.ended = true;
                    self.rest.clear();
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
        }
    }

    /// Reads some of what came.
    fn step(&mut self) -> Result<Bytes> {
        let step = self.rest.split_to(self.rest.len().min(STEP_BYTES));
        self.taken += step.len();
        let data = self.decoder.decode(&step).map_err(malformed)?;
        self.give(data)
    }

    /// Reads what the decoder still holds, which has to be the end.
    fn finish(&mut self) -> Result<Bytes> {
        self.ended = true;
        let data = self.decoder.finish().map_err(malformed)?;
        self.give(data)
    }

    fn give(&mut self, data: Vec<u8>) -> Result<Bytes> {
        self.given += data.len();
        if self.given > FREE_BYTES.saturating_add(self.taken.saturating_mul(RATIO_MAX)) {
            let detail = format!("the body becomes more than {RATIO_MAX} times as long");
            return Err(Error::too_large("micro.server", detail));
        }
        Ok(data.into())
    }
}

#[cold]
fn malformed(error: std::io::Error) -> Error {
    let detail = format!("the body is not compressed as it says: {error}");
    Error::bad_request("micro.server", detail).with_source(error)
}

enum Decoder {
    Gzip(GzDecoder<Vec<u8>>),
    Deflate(ZlibDecoder<Vec<u8>>),
}

impl Decoder {
    fn new(coding: Coding) -> Self {
        match coding {
            Coding::Gzip => Self::Gzip(GzDecoder::new(Vec::new())),
            Coding::Deflate => Self::Deflate(ZlibDecoder::new(Vec::new())),
        }
    }

    fn decode(&mut self, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Gzip(decoder) => {
                decoder.write_all(bytes)?;
                decoder.flush()?;
                Ok(std::mem::take(decoder.get_mut()))
            }
            Self::Deflate(decoder) => {
                decoder.write_all(bytes)?;
                decoder.flush()?;
                Ok(std::mem::take(decoder.get_mut()))
            }
        }
    }

    fn finish(&mut self) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Gzip(decoder) => {
                decoder.try_finish()?;
                Ok(std::mem::take(decoder.get_mut()))
            }
            Self::Deflate(decoder) => {
                decoder.try_finish()?;
                Ok(std::mem::take(decoder.get_mut()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};
    use http_body_util::Full;

    fn packed(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        match coding {
            Coding::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Coding::Deflate => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    async fn unpacked(coding: Coding, bytes: Vec<u8>) -> Result<Vec<u8>, u16> {
        let mut body = Unpacked::new(Full::new(Bytes::from(bytes)), Some(coding));
        let mut all = Vec::new();
        loop {
            let frame = std::future::poll_fn(|task| Pin::new(&mut body).poll_frame(task)).await;
            match frame {
                None => return Ok(all),
                Some(Ok(frame)) => {
                    let data = frame.into_data().unwrap();
                    assert!(data.len() <= STEP_BYTES * 1100, "{}", data.len());
                    all.extend_from_slice(&data);
                }
                Some(Err(error)) => return Err(error.downcast_ref::<Error>().unwrap().code()),
            }
        }
    }

    #[tokio::test]
    async fn what_was_packed_is_unpacked() {
        let text: Vec<u8> = (0..20_000_u32).flat_map(|n| n.to_string().into_bytes()).collect();
        for coding in [Coding::Gzip, Coding::Deflate] {
            for text in [&b""[..], b"x", &text] {
                assert_eq!(unpacked(coding, packed(coding, text)).await.unwrap(), text);
            }
        }
    }

    #[tokio::test]
    async fn a_bomb_is_refused_while_it_is_read() {
        for (bytes, passes) in [(FREE_BYTES, true), (1 << 20, false), (100 << 20, false)] {
            let bomb = packed(Coding::Gzip, &vec![0; bytes]);
            let read = unpacked(Coding::Gzip, bomb).await;
            assert_eq!(read.map(|all| all.len()), if passes { Ok(bytes) } else { Err(413) });
        }
    }

    #[tokio::test]
    async fn what_is_cut_or_followed_or_no_such_thing_is_refused() {
        for coding in [Coding::Gzip, Coding::Deflate] {
            let whole = packed(coding, b"some text, and more text");
            for at in 0..whole.len() {
                assert_eq!(unpacked(coding, whole[..at].to_vec()).await, Err(400), "{at}");
            }
            assert_eq!(unpacked(coding, b"{\"name\":\"Ada\"}".to_vec()).await, Err(400));
            let followed = [whole.as_slice(), b"garbage behind it"].concat();
            assert_eq!(unpacked(coding, followed).await, Err(400));
        }
    }
}
