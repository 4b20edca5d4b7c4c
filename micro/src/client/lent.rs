//! A stream of requests that comes back from a connection which does not take it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use crate::core::error::Result;
use crate::core::stream::{BoxSource, MessageSource};

/// A source that one try hands to a connection: once it was polled it is the connection's, before
/// that it can be taken back.
pub(super) struct Lent(Arc<Mutex<Option<BoxSource>>>);

impl Lent {
    pub(super) fn new(source: BoxSource) -> Self {
        Self(Arc::new(Mutex::new(Some(source))))
    }

    /// Returns what the connection is given.
    pub(super) fn handed(&self) -> BoxSource {
        Box::pin(Borrowed::Waiting(Arc::clone(&self.0)))
    }

    /// Takes the source back; `false` when the connection has read from it. A call without one has
    /// nothing to lose.
    pub(super) fn give_back(lent: Option<Self>, source: &mut Option<BoxSource>) -> bool {
        let Some(Self(slot)) = lent else { return true };
        *source = take(&slot);
        source.is_some()
    }
}

enum Borrowed {
    Waiting(Arc<Mutex<Option<BoxSource>>>),
    Own(BoxSource),
    Gone,
}

impl MessageSource for Borrowed {
    fn poll_encode(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<Option<Result<()>>> {
        if let Self::Waiting(slot) = &*self {
            *self = take(slot).map_or(Self::Gone, Self::Own);
        }
        match &mut *self {
            Self::Own(source) => source.as_mut().poll_encode(cx, out),
            // Taken back, so nobody waits for these requests.
            Self::Waiting(_) | Self::Gone => Poll::Ready(None),
        }
    }
}

fn take(slot: &Mutex<Option<BoxSource>>) -> Option<BoxSource> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Format, encoded};
    use crate::core::stream::{Streaming, next_encoded};

    fn requests() -> BoxSource {
        encoded(Streaming::from_iter([1_u8, 2]), Format::default(), |_, byte, out| {
            out.push(*byte);
            Ok(())
        })
    }

    #[tokio::test]
    async fn requests_come_back_until_the_first_was_read() {
        let lent = Lent::new(requests());
        drop(lent.handed());
        let mut source = None;
        assert!(Lent::give_back(Some(lent), &mut source));
        let lent = Lent::new(source.take().unwrap());
        let mut handed = lent.handed();
        assert_eq!(next_encoded(&mut handed).await.unwrap().unwrap(), [1][..]);
        assert!(!Lent::give_back(Some(lent), &mut source));
        assert_eq!(next_encoded(&mut handed).await.unwrap().unwrap(), [2][..]);
        assert!(next_encoded(&mut handed).await.is_none());
        assert!(Lent::give_back(None, &mut source));
    }
}
