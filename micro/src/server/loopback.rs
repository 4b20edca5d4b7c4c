//! The way into a server from its own process, past its listeners.

use std::sync::{Arc, Weak};

use crate::core::error::{Error, Result, Retry};
use crate::core::net::{Pipe, Stream};
use crate::server::listen::{Port, admit};

/// What the port is called there, as a host.
const BOUND: &str = "memory";

/// Connects a process to what it serves itself, in memory.
///
/// Such a connection is admitted as one that was accepted on this machine: the same limits, the
/// same policy, the same end. It does not keep the server: values that are served may hold clients,
/// and those this.
#[derive(Clone, Debug)]
pub(crate) struct Loopback {
    port: Weak<Port>,
}

impl Loopback {
    pub(super) fn to(port: &Arc<Port>) -> Self {
        Self { port: Arc::downgrade(port) }
    }

    /// Connects; a connection beyond the limits ends at once, as one that was accepted does.
    ///
    /// # Errors
    /// 503 that is safe to repeat elsewhere, once the server has stopped.
    pub(crate) fn connect(&self) -> Result<Pipe> {
        let port = self.port.upgrade().filter(|port| !port.scope.shutdown.is_closed());
        let Some(port) = port else {
            let stopped = Error::unavailable("micro.transport", "the own server has stopped");
            return Err(stopped.with_retry(Retry::Safe));
        };
        let (ours, theirs) = Pipe::pair();
        admit(&port, Stream::Pipe(theirs), &BOUND.into());
        Ok(ours)
    }
}
