//! What is left to do once the lock of a connection is released.

use std::task::Waker;

use crate::core::shutdown::TaskHandle;
use crate::transport::native::link::Link;
use crate::transport::native::streams::Stream;

/// Whom to wake, and what to drop: either may run code of users, which must not hold the lock.
#[derive(Debug, Default)]
pub(super) struct After {
    pub(super) wakers: Vec<Waker>,
    pub(super) tasks: Vec<TaskHandle>,
    pub(super) streams: Vec<Stream>,
    /// Whether the peer says that this side broke the protocol.
    pub(super) accused: bool,
}

impl After {
    /// Does what was left; to be called without the lock.
    pub(super) fn run(&mut self, link: &Link) {
        self.wakers.drain(..).for_each(Waker::wake);
        self.tasks.clear();
        self.streams.clear();
        if std::mem::take(&mut self.accused) {
            tracing::warn!(remote = %link.remote, "the peer closes for a breach of the protocol");
        }
    }
}
