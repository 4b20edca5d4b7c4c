//! The socket of an HTTP connection: notes what it reads and bounds how long it writes.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::core::clock;
use crate::core::future::BoxFuture;
use crate::core::net::Prefixed;
use crate::server::roster::Seat;

/// A stream whose peer is closed as slow when a write makes no progress in time.
pub(in crate::server) struct Paced {
    stream: Prefixed,
    seat: Arc<Seat>,
    write_timeout: Duration,
    /// Runs while a write waits for the peer.
    stalled: Option<Pin<Box<clock::Sleep>>>,
    /// Waits for the order to close once nobody but the holder of the stream looks after it.
    cut: Option<BoxFuture<'static, ()>>,
}

impl Paced {
    pub(in crate::server) fn new(
        stream: Prefixed,
        seat: Arc<Seat>,
        write_timeout: Duration,
    ) -> Self {
        Self { stream, seat, write_timeout, stalled: None, cut: None }
    }

    /// Fails when an upgraded connection is told to close; wakes the task when it is.
    fn poll_cut(&mut self, task: &mut Context<'_>) -> io::Result<()> {
        if !self.seat.is_cut_off() {
            return Ok(());
        }
        let seat = &self.seat;
        let cut = self.cut.get_or_insert_with(|| {
            let seat = Arc::clone(seat);
            Box::pin(async move { seat.cut().await })
        });
        match cut.as_mut().poll(task) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => {
                self.cut = None;
                Err(io::ErrorKind::ConnectionAborted.into())
            }
        }
    }

    /// Fails when the peer turns out to be gone, if the seat has asked.
    fn probe(&self) -> io::Result<()> {
        if self.seat.is_to_probe() && self.stream.is_severed() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }

    fn bounded<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        task: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let timeout = self.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(clock::sleep(timeout)));
        match stalled.as_mut().poll(task) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl fmt::Debug for Paced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Paced").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        self.seat.release();
    }
}

impl AsyncRead for Paced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_cut(task)?;
        self.probe()?;
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(task, buffer))?;
        if buffer.filled().len() > before && !self.seat.is_active() {
            self.seat.note_head();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Paced {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_cut(task)?;
        let written = Pin::new(&mut self.stream).poll_write(task, bytes);
        self.bounded(written, task)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.probe()?;
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::limits::ConnectionLimits;
    use crate::core::net::{Pipe, Stream};
    use crate::server::roster::Roster;
    use bytes::BytesMut;
    use tokio::io::AsyncWriteExt;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_is_given_up() {
        let (here, _there) = Pipe::pair();
        let member = Arc::new(Roster::default()).join(None, &ConnectionLimits::default()).unwrap();
        let prefixed = Prefixed::new(BytesMut::new(), Stream::Pipe(here));
        let mut paced = Paced::new(prefixed, Arc::clone(&member.seat), Duration::from_secs(10));
        let start = clock::now();
        let error = paced.write_all(&vec![0; 1024 * 1024]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(clock::now() - start, Duration::from_secs(10));
    }
}
