//! A stream of messages as its reader sees it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;

use crate::core::body::Body;
use crate::core::error::{Error, Result};
use crate::core::exchange::{Driver, Inbox};
use crate::core::stream::{RawStream, Streaming};

/// The messages of a stream as they arrive, taken from the transport a batch at a time.
#[derive(Debug)]
pub(crate) struct Messages {
    driver: Arc<dyn Driver>,
    id: u32,
    over: bool,
    batch: Inbox,
    /// The bytes of the batch, for which credit is given when all of it has been read.
    batch_bytes: usize,
}

impl Messages {
    fn new(driver: Arc<dyn Driver>, id: u32) -> Self {
        Self { driver, id, over: false, batch: Inbox::default(), batch_bytes: 0 }
    }

    /// Polls for the next message and hands it to `read`, whose error leaves the stream open.
    #[inline]
    pub(crate) fn poll_with<R>(
        &mut self,
        task: &mut Task<'_>,
        read: impl FnOnce(&Body<'_>) -> Result<R>,
    ) -> Poll<Option<Result<R>>> {
        if self.batch.is_empty()
            && let Err(end) = ready!(self.poll_batch(task))
        {
            return Poll::Ready(end.map(Err));
        }
        Poll::Ready(self.batch.take(read))
    }

    /// Polls for the next messages; the error is how the stream has ended.
    #[inline(never)]
    fn poll_batch(&mut self, task: &mut Task<'_>) -> Poll<Result<(), Option<Error>>> {
        if self.over {
            return Poll::Ready(Err(None));
        }
        let consumed = std::mem::take(&mut self.batch_bytes);
        let polled = ready!(self.driver.poll_messages(self.id, consumed, &mut self.batch, task));
        let ended = match polled {
            Some(Ok(())) => {
                self.batch_bytes = self.batch.bytes();
                return Poll::Ready(Ok(()));
            }
            Some(Err(error)) => Some(error),
            None => None,
        };
        self.over = true;
        Poll::Ready(Err(ended))
    }
}

impl Stream for Messages {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Self::Item>> {
        self.poll_with(task, |body| Ok(body.share()))
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        if !self.over {
            self.driver.stop_reading(self.id);
        }
    }
}

/// Makes the stream of messages that arrive on an exchange: requests where it was accepted, responses
/// where it was started.
pub fn messages_of(driver: Arc<dyn Driver>, id: u32) -> RawStream {
    Streaming::arriving(Messages::new(driver, id))
}
