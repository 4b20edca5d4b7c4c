//! Waiting for room on any of several full connections.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};

use crate::core::error::Result;
use crate::core::exchange::Connection;
use crate::core::future::BoxFuture;

/// The first of some connections to take calls; `None` when all have closed.
pub(super) struct Room<'a> {
    waiting: Vec<Waiting<'a>>,
}

/// A connection and its word that it takes calls.
type Waiting<'a> = (&'a Arc<dyn Connection>, BoxFuture<'a, Result<()>>);

/// Waits for room on any of these connections. Cancel safe; may be polled after its end.
pub(super) fn room(open: &[Arc<dyn Connection>]) -> Room<'_> {
    Room { waiting: open.iter().map(|connection| (connection, connection.ready())).collect() }
}

impl Future for Room<'_> {
    type Output = Option<Arc<dyn Connection>>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Self::Output> {
        let mut found = None;
        self.waiting.retain_mut(|(connection, ready)| match ready.as_mut().poll(task) {
            Poll::Pending => true,
            Poll::Ready(Ok(())) => {
                found.get_or_insert_with(|| Arc::clone(connection));
                false
            }
            Poll::Ready(Err(_)) => false,
        });
        if found.is_some() || self.waiting.is_empty() {
            return Poll::Ready(found);
        }
        Poll::Pending
    }
}
