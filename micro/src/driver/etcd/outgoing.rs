//! The messages of this side of a stream.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio::sync::mpsc;

/// A queue as a stream; it ends when nobody can put anything into the queue.
#[derive(Debug)]
pub(super) struct Outgoing<T>(mpsc::Receiver<T>);

impl<T> Outgoing<T> {
    pub(super) fn new(queue: mpsc::Receiver<T>) -> Self {
        Self(queue)
    }
}

impl<T> Stream for Outgoing<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll_recv(task)
    }
}
