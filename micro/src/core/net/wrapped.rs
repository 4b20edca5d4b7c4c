//! A socket of any kind in the place of a stream.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::core::net::Socket;

/// Bytes that one read of the socket may bring: a TLS record.
const READ_BYTES: usize = 16 * 1024;

/// A stream over a [`Socket`], such as one that encrypts what another carries.
///
/// Whoever writes goes on with the same bytes after `Poll::Pending`, as the socket requires.
pub struct Wrapped {
    socket: Arc<dyn Socket>,
    remote: Arc<str>,
    stranger: Option<IpAddr>,
    /// Read from the socket, and not yet by the reader of this.
    read: BytesMut,
}

impl Wrapped {
    /// Wraps a socket; `remote` and `stranger` say of its peer what the stream below it said.
    pub fn new(socket: Arc<dyn Socket>, remote: Arc<str>, stranger: Option<IpAddr>) -> Self {
        Self { socket, remote, stranger, read: BytesMut::new() }
    }

    pub(super) fn socket(&self) -> &dyn Socket {
        self.socket.as_ref()
    }

    /// Gives the socket up to a reader of its own; nothing was read by this one.
    pub(super) fn into_socket(self) -> Arc<dyn Socket> {
        self.socket
    }

    pub(super) fn remote(&self) -> &Arc<str> {
        &self.remote
    }

    pub(super) fn stranger(&self) -> Option<IpAddr> {
        self.stranger
    }
}

impl fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wrapped").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl AsyncRead for Wrapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // Progress: readiness is cleared by each read that would block.
        while this.read.is_empty() {
            ready!(this.socket.poll_read_ready(task))?;
            this.read.reserve(READ_BYTES);
            match this.socket.try_read(&mut this.read) {
                Ok(0) => return Poll::Ready(Ok(())),
                Err(e) if e.kind() != io::ErrorKind::WouldBlock => return Poll::Ready(Err(e)),
                _ => {}
            }
        }
        let count = this.read.len().min(buffer.remaining());
        buffer.put_slice(this.read.get(..count).unwrap_or_default());
        this.read.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wrapped {
    fn poll_write(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // Progress: readiness is cleared by each write that would block.
        loop {
            ready!(self.socket.poll_write_ready(task))?;
            match self.socket.try_write(bytes) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.shutdown())
    }
}
