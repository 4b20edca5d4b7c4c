//! The end of a session that the native protocol reads and writes.

use std::io;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::BytesMut;

use crate::core::net::{Pipe, Socket};

/// Why a session broke, if it did; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Fate(Arc<OnceLock<String>>);

impl Fate {
    /// Says why; what was said first stands.
    pub(super) fn seal(&self, why: String) {
        self.0.get_or_init(|| why);
    }

    fn error(&self, kind: io::ErrorKind) -> Option<io::Error> {
        self.0.get().map(|why| io::Error::new(kind, why.clone()))
    }
}

/// A pipe whose end is an error where the session behind it broke.
#[derive(Debug)]
pub(super) struct Carried {
    pub(super) pipe: Pipe,
    pub(super) fate: Fate,
}

impl Socket for Carried {
    fn poll_read_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pipe.poll_read_ready(task)
    }

    fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self.pipe.try_read(buffer) {
            Ok(0) => self.fate.error(io::ErrorKind::ConnectionAborted).map_or(Ok(0), Err),
            read => read,
        }
    }

    fn poll_write_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pipe.poll_write_ready(task)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let ended = |error: io::Error| self.fate.error(error.kind()).unwrap_or(error);
        self.pipe.try_write(bytes).map_err(ended)
    }

    fn shutdown(&self) -> io::Result<()> {
        self.pipe.shutdown()
    }
}
