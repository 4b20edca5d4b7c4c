//! A connection that breaks where it does not come to its end.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::core::net::Stream;

/// A stream whose peer sees it break when it is dropped, unless all was said before: a peer that
/// does not read what is under way would never come to the end of it.
pub(super) struct Fragile<'a> {
    stream: Stream,
    /// Whether all was said.
    is_whole: &'a AtomicBool,
}

impl<'a> Fragile<'a> {
    pub(super) fn new(stream: Stream, is_whole: &'a AtomicBool) -> Self {
        Self { stream, is_whole }
    }
}

impl Drop for Fragile<'_> {
    fn drop(&mut self) {
        if !self.is_whole.load(Ordering::Relaxed) {
            self.stream.sever();
        }
    }
}

impl AsyncRead for Fragile<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(task, buffer)
    }
}

impl AsyncWrite for Fragile<'_> {
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
