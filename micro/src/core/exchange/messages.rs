//! A stream of messages as its reader sees it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};

use bytes::Bytes;
use futures_core::Stream;

use crate::core::error::Result;
use crate::core::exchange::Driver;
use crate::core::stream::{RawStream, Streaming};

/// The messages of a stream as they arrive, taken from the transport a batch at a time.
#[derive(Debug)]
struct Messages {
    driver: Arc<dyn Driver>,
    id: u32,
    over: bool,
    batch: VecDeque<Bytes>,
    /// The bytes of the batch, for which credit is given when all of it has been read.
    batch_bytes: usize,
}

impl Messages {
    fn new(driver: Arc<dyn Driver>, id: u32) -> Self {
        Self { driver, id, over: false, batch: VecDeque::new(), batch_bytes: 0 }
    }
}

impl Stream for Messages {
    type Item = Result<Bytes>;
    fn poll_next(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(next) = this.batch.pop_front() {
            return Poll::Ready(Some(Ok(next)));
        }
        if this.over {
            return Poll::Ready(None);
        }
        let consumed = std::mem::take(&mut this.batch_bytes);
        let polled = this.driver.poll_messages(this.id, consumed, &mut this.batch, task);
        match std::task::ready!(polled) {
            Some(Ok(())) => {
                this.batch_bytes = this.batch.iter().map(Bytes::len).sum();
                Poll::Ready(this.batch.pop_front().map(Ok))
            }
            Some(Err(error)) => {
                this.over = true;
                Poll::Ready(Some(Err(error)))
            }
            None => {
                this.over = true;
                Poll::Ready(None)
            }
        }
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
    Streaming::from_stream(Messages::new(driver, id))
}
