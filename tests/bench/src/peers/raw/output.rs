//! A server connection's unwritten answers.

use std::io::ErrorKind;

use serde::Serialize;
use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::WriteHalf;

use super::{FLUSH_AT, frame};
use crate::outcome::Outcome;

/// Bytes that may wait for a full socket before the connection stops reading.
const QUEUED: usize = 1 << 20;

/// Encoded frames, of which the first `written` bytes are on their way.
#[derive(Debug, Default)]
pub(super) struct Output {
    frames: Vec<u8>,
    written: usize,
}

impl Output {
    /// Appends a frame, and writes what the socket takes once the batch is large enough.
    pub(super) fn push<T: Serialize>(
        &mut self,
        socket: &WriteHalf<'_>,
        id: u64,
        message: &T,
    ) -> Outcome<()> {
        frame::append(&mut self.frames, id, message)?;
        if self.frames.len() - self.written >= FLUSH_AT { self.try_flush(socket) } else { Ok(()) }
    }

    /// Writes what the socket takes without waiting.
    pub(super) fn try_flush(&mut self, socket: &WriteHalf<'_>) -> Outcome<()> {
        while !self.is_empty() {
            match socket.try_write(self.rest()) {
                Ok(more) => self.advance(more),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits until the socket takes a part. Safe to cancel.
    pub(super) async fn write_some(&mut self, socket: &mut WriteHalf<'_>) -> Outcome<()> {
        let more = socket.write(self.rest()).await?;
        self.advance(more);
        Ok(())
    }

    /// Whether everything is written.
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether the client must read before it may send more.
    pub(super) fn is_full(&self) -> bool {
        self.frames.len() - self.written >= QUEUED
    }

    fn rest(&self) -> &[u8] {
        self.frames.get(self.written..).unwrap_or_default()
    }

    fn advance(&mut self, more: usize) {
        self.written += more;
        if self.written >= self.frames.len() {
            self.frames.clear();
            self.written = 0;
        } else if self.written >= QUEUED {
            self.frames.drain(..self.written);
            self.written = 0;
        }
    }
}
