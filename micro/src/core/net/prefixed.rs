//! A stream whose first bytes were read already.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::core::net::Stream;

/// Gives back the bytes that were read to recognise a protocol, then the stream itself.
#[derive(Debug)]
pub struct Prefixed {
    prefix: BytesMut,
    stream: Stream,
}

impl Prefixed {
    /// Puts `prefix` in front of `stream`.
    pub fn new(prefix: BytesMut, stream: Stream) -> Self {
        Self { prefix, stream }
    }

    /// Returns whether the peer is known to be gone for good, found without reading.
    pub fn is_severed(&self) -> bool {
        self.stream.is_severed()
    }
}

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.stream).poll_read(task, buffer);
        }
        let count = self.prefix.len().min(buffer.remaining());
        buffer.put_slice(self.prefix.get(..count).unwrap_or_default());
        self.prefix.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}
