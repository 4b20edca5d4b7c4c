//! Drains a stream of messages into the connection, as fast as the peer gives credit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::core::error::{Error, Result};
use crate::core::stream::BoxSource;
use crate::transport::native::frame::{self, FLAG_ERROR, HEADER_BYTES, Kind};
use crate::transport::native::hello::FRAME_BYTES_LEAST;
use crate::transport::native::inbound::MESSAGE_COST;
use crate::transport::native::link::{Link, Need};
use crate::transport::native::varint;

/// Encoded bytes after which a batch is handed to the connection.
const BATCH_BYTES: usize = 32 * 1024;

/// Messages in a batch, so that many small ones do not hold up other streams.
const BATCH_MESSAGES: usize = 1024;

/// A payload of this length fits the frames of every peer.
const FRAME_SURE_BYTES: usize = 1024;

/// How a source came to its pause or end.
enum Ended {
    /// More may come.
    No,
    /// All was sent.
    Done,
    /// It failed.
    Failed(Error),
}

/// Sends the requests of a call; the server may end it at any time, which aborts the pump.
pub(super) async fn requests(link: Arc<Link>, id: u32, mut source: BoxSource) {
    match messages(&link, id, &mut source).await {
        Ok(()) => send(&link, id, |out| frame::put(out, Kind::End, 0, id, &[])).await,
        Err(error) => {
            let error = error_payload(&error);
            send(&link, id, |out| frame::put(out, Kind::End, FLAG_ERROR, id, &error)).await;
        }
    }
}

/// Returns the payload of an end frame that carries an error; it fits the frames of every peer.
pub(super) fn error_payload(error: &Error) -> Vec<u8> {
    let mut out = Vec::new();
    let after = error.retry_after().map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(0));
    varint::put(&mut out, after);
    let head = out.len();
    out.extend_from_slice(error.to_json().as_bytes());
    if out.len() > FRAME_BYTES_LEAST {
        // The payload of the error is what makes it so long; it is left out.
        out.truncate(head);
        let plain = Error::new(error.id().to_owned(), error.code(), error.detail());
        out.extend_from_slice(plain.to_json().as_bytes());
    }
    out
}

async fn send(link: &Link, id: u32, put: impl FnOnce(&mut Vec<u8>)) {
    let flush = {
        let mut state = link.lock();
        if state.streams.get(id).is_none() {
            return;
        }
        put(&mut state.out);
        link.plan(&mut state)
    };
    link.settle(flush).await;
}

/// Sends the messages of a source until it ends.
///
/// # Errors
/// The source's error, or why the peer gets no more.
pub(super) async fn messages(link: &Arc<Link>, id: u32, source: &mut BoxSource) -> Result<()> {
    let mut pump = Pump { link, id, source, batch: Vec::new(), cost: 0 };
    // Progress: each turn sends a batch, waits for the source or for credit, or ends.
    loop {
        let credit = std::future::poll_fn(|task| poll_credit(link, id, task)).await?;
        let ended = std::future::poll_fn(|task| pump.fill(credit, task)).await;
        pump.send().await?;
        match ended {
            Ended::No => {}
            Ended::Done => return Ok(()),
            Ended::Failed(error) => return Err(error),
        }
    }
}

fn over() -> Error {
    Error::cancelled("micro.transport", "nobody reads the stream any more")
}

/// Waits until the peer takes more bytes.
fn poll_credit(link: &Link, id: u32, task: &mut Context<'_>) -> Poll<Result<usize>> {
    let mut state = link.lock();
    if state.closed.is_some() {
        return Poll::Ready(Err(over()));
    }
    let Some(flow) = state.streams.get(id).and_then(|stream| stream.flow.as_mut()) else {
        return Poll::Ready(Err(over()));
    };
    match usize::try_from(flow.credit) {
        Ok(credit) if credit > 0 => Poll::Ready(Ok(credit)),
        _ => {
            flow.pump = Some(task.waker().clone());
            Poll::Pending
        }
    }
}

struct Pump<'a> {
    link: &'a Link,
    id: u32,
    source: &'a mut BoxSource,
    batch: Vec<u8>,
    /// What the messages of the batch cost of the credit.
    cost: usize,
}

impl Pump<'_> {
    /// Hands the batch to the connection.
    async fn send(&mut self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        // Progress: each turn waits for room in the queue, or sends.
        let flush = loop {
            self.link.room(Need::Queue).await?;
            let mut guard = self.link.lock();
            let state = &mut *guard;
            // Others may have filled the queue since.
            if state.is_full(&self.link.limits, Need::Queue) {
                continue;
            }
            let Some(stream) = state.streams.get(self.id) else { return Err(over()) };
            if let Some(flow) = &mut stream.flow {
                flow.credit -= i64::try_from(self.cost).unwrap_or(i64::MAX);
            }
            state.out.extend_from_slice(&self.batch);
            break self.link.plan(state);
        };
        self.batch.clear();
        self.cost = 0;
        self.link.settle(flush).await;
        Ok(())
    }

    /// Encodes messages until the batch is full, the credit used up, or the source pauses or ends.
    ///
    /// Pending only while the batch is empty: what was encoded is sent before waiting.
    fn fill(&mut self, credit: usize, task: &mut Context<'_>) -> Poll<Ended> {
        for _ in 0..BATCH_MESSAGES {
            let start = frame::begin(&mut self.batch, Kind::Data, 0, self.id);
            let polled = self.poll_source(task);
            if let Poll::Ready(Some(Ok(()))) = polled {
                if let Err(error) = self.finish(start) {
                    return Poll::Ready(Ended::Failed(error));
                }
            } else {
                self.batch.truncate(start);
                return match polled {
                    Poll::Ready(Some(Err(error))) => Poll::Ready(Ended::Failed(error)),
                    Poll::Ready(_) => Poll::Ready(Ended::Done),
                    Poll::Pending if start == 0 => Poll::Pending,
                    Poll::Pending => Poll::Ready(Ended::No),
                };
            }
            if self.batch.len() >= BATCH_BYTES || self.cost >= credit {
                break;
            }
        }
        Poll::Ready(Ended::No)
    }

    /// Polls the source, which is code of users; a panic ends the stream and nothing else.
    fn poll_source(&mut self, task: &mut Context<'_>) -> Poll<Option<Result<()>>> {
        let poll = || self.source.as_mut().poll_encode(task, &mut self.batch);
        // The source is never polled again after it unwound, so no broken state is seen.
        catch_unwind(AssertUnwindSafe(poll)).unwrap_or_else(|_panic| {
            tracing::error!(remote = %self.link.remote, "the source of a stream panicked");
            let detail = "the source of a stream panicked";
            Poll::Ready(Some(Err(Error::internal("micro.transport", detail))))
        })
    }

    /// Ends the frame of the message that begins at `start`, or cuts it into several.
    fn finish(&mut self, start: usize) -> Result<()> {
        let length = self.batch.len().saturating_sub(start + HEADER_BYTES);
        self.cost += length + MESSAGE_COST;
        if length <= FRAME_SURE_BYTES {
            frame::finish(&mut self.batch, start);
            return Ok(());
        }
        let peer = self.link.lock().peer;
        let limit = peer.message_bytes_max;
        if length > limit {
            self.batch.truncate(start);
            let detail =
                format!("a message of the stream has {length} bytes, the limit is {limit}");
            return Err(Error::too_large("micro.transport", detail));
        }
        let whole = self.batch.split_off(start);
        let body = whole.get(HEADER_BYTES..).unwrap_or_default();
        frame::put_message(&mut self.batch, 0, self.id, body, peer.frame_bytes_max);
        Ok(())
    }
}
