//! The socket of a connection, which ends when the connection is closed.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::core::future::BoxFuture;
use crate::core::net::Stream;
use crate::core::shutdown::Shutdown;

/// A stream that fails as soon as the life of its connection is over, so that whatever drives it
/// ends.
pub(super) struct Cut {
    stream: Stream,
    over: Option<BoxFuture<'static, ()>>,
}

impl Cut {
    pub(super) fn new(stream: Stream, life: Shutdown) -> Self {
        Self { stream, over: Some(Box::pin(async move { life.closed().await })) }
    }

    fn poll_over(&mut self, task: &mut Context<'_>) -> io::Result<()> {
        if let Some(over) = &mut self.over {
            if over.as_mut().poll(task).is_pending() {
                return Ok(());
            }
            self.over = None;
        }
        Err(io::ErrorKind::ConnectionAborted.into())
    }
}

impl fmt::Debug for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cut").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl AsyncRead for Cut {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // The task that reads is the one that writes: it is woken here for both.
        self.poll_over(task)?;
        Pin::new(&mut self.stream).poll_read(task, buffer)
    }
}

impl AsyncWrite for Cut {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.over.is_none() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}
