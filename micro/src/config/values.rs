//! The value of a key, and each one that follows it.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::config::snapshot::Snapshot;
use crate::config::tree::Node;
use crate::core::future::BoxFuture;

/// A stream of the values of a key: the present one first, then each that differs.
///
/// A reader that is slow misses those in between, never the last. Ends when nobody can change the
/// settings any more.
pub struct Values<T> {
    /// The next value on its way; `None` after the end.
    next: Option<BoxFuture<'static, (Option<T>, Place)>>,
    _values: PhantomData<fn() -> T>,
}

/// Where a reader is.
struct Place {
    key: String,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    /// What was returned last.
    last: Option<Node>,
}

impl<T: DeserializeOwned + Send + 'static> Values<T> {
    pub(super) fn new(key: &str, mut snapshots: watch::Receiver<Arc<Snapshot>>) -> Self {
        snapshots.mark_changed();
        let place = Place { key: key.to_owned(), snapshots, last: None };
        Self { next: Some(Box::pin(place.next())), _values: PhantomData }
    }

    /// Waits for the next value; cancel safe. `None` at the end.
    pub async fn next(&mut self) -> Option<T> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Place {
    async fn next<T: DeserializeOwned>(mut self) -> (Option<T>, Self) {
        while self.snapshots.changed().await.is_ok() {
            let snapshot = Arc::clone(&self.snapshots.borrow_and_update());
            let node = snapshot.root.find(&self.key);
            if node.is_none() || node == self.last.as_ref() {
                continue;
            }
            // Invariant: settings that do not fit the type were refused before they got here.
            if let Ok(value) = snapshot.get(&self.key) {
                self.last = node.cloned();
                return (Some(value), self);
            }
        }
        (None, self)
    }
}

impl<T: DeserializeOwned + Send + 'static> Stream for Values<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let Some(next) = &mut self.next else { return Poll::Ready(None) };
        let Poll::Ready((value, place)) = next.as_mut().poll(cx) else { return Poll::Pending };
        self.next = value.is_some().then(|| -> BoxFuture<'static, _> { Box::pin(place.next()) });
        Poll::Ready(value)
    }
}

impl<T> fmt::Debug for Values<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Values").field("ended", &self.next.is_none()).finish()
    }
}
