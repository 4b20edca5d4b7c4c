//! The half of a connection that commands are written to.

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;

use crate::core::error::{Error, Result};

use super::ERROR_ID;

/// The half of a connection that commands are written to; what is cut in the middle of one goes on
/// with the rest of it.
#[derive(Debug)]
pub(super) struct Writer {
    half: OwnedWriteHalf,
    pending: BytesMut,
}

impl Writer {
    pub(super) fn new(half: OwnedWriteHalf) -> Self {
        Self { half, pending: BytesMut::new() }
    }

    /// Adds a command to what is to be written.
    pub(super) fn put(&mut self, command: &[u8]) {
        self.pending.extend_from_slice(command);
    }

    /// Writes what is to be written; cancel safe.
    ///
    /// # Errors
    /// When the connection has ended.
    pub(super) async fn flush(&mut self) -> Result<()> {
        while self.pending.has_remaining() {
            if self.half.write_buf(&mut self.pending).await? == 0 {
                return Err(Error::unavailable(ERROR_ID, "nsqd takes nothing more"));
            }
        }
        Ok(())
    }

    /// Says that nothing more comes.
    ///
    /// # Errors
    /// When the connection has ended.
    pub(super) async fn shutdown(&mut self) -> Result<()> {
        Ok(self.half.shutdown().await?)
    }
}
