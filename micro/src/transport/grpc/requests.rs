//! The body of a call: its messages, as fast as the server takes them.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};

use crate::codec::grpc::{Encoding, begin, finish};
use crate::core::error::{BoxError, Error, Result};
use crate::core::stream::BoxSource;

/// Bytes after which a chunk is sent.
const CHUNK_BYTES: usize = 32 * 1024;

/// Messages after which a chunk is sent, so that many small ones do not hold up other calls.
const CHUNK_MESSAGES: usize = 1024;

/// Why the stream of requests failed, kept for the answer of the call.
pub(super) type Failure = Arc<Mutex<Option<Error>>>;

/// The requests of one call.
#[derive(Debug)]
pub(super) enum Requests {
    /// The one there is, already framed.
    One(Bytes),
    /// As many as there will be.
    Many(Box<Pump>),
    /// No more.
    Over,
}

/// Drains a stream of requests.
pub(super) struct Pump {
    source: BoxSource,
    encoding: Encoding,
    bytes_max: usize,
    failure: Failure,
}

impl Requests {
    pub(super) fn stream(
        source: BoxSource,
        encoding: Encoding,
        bytes_max: usize,
        failure: Failure,
    ) -> Self {
        Self::Many(Box::new(Pump { source, encoding, bytes_max, failure }))
    }
}

impl Body for Requests {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Self::One(framed) => {
                let framed = std::mem::take(framed);
                *self = Self::Over;
                Poll::Ready(Some(Ok(Frame::data(framed))))
            }
            Self::Many(pump) => {
                let (chunk, over) = std::task::ready!(pump.poll_chunk(task));
                if over {
                    *self = Self::Over;
                }
                Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data).map_err(Into::into)))
            }
            Self::Over => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Over)
    }
}

/// A chunk of messages, and whether it is the last.
type Chunk = (Option<Result<Bytes>>, bool);

impl Pump {
    fn poll_chunk(&mut self, task: &mut Context<'_>) -> Poll<Chunk> {
        let mut out = Vec::new();
        let mut over = false;
        for _ in 0..CHUNK_MESSAGES {
            if out.len() >= CHUNK_BYTES {
                break;
            }
            match self.poll_message(task, &mut out) {
                Poll::Pending if out.is_empty() => return Poll::Pending,
                Poll::Pending => break,
                Poll::Ready(Some(Ok(()))) => {}
                Poll::Ready(Some(Err(error))) => {
                    // The server learns of it by a reset, the caller by the answer.
                    let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                    *failure = Some(error.clone());
                    return Poll::Ready((Some(Err(error)), true));
                }
                Poll::Ready(None) => {
                    over = true;
                    break;
                }
            }
        }
        let chunk = (!out.is_empty()).then(|| Ok(out.into()));
        Poll::Ready((chunk, over))
    }

    /// Appends one message; `None` at the end.
    fn poll_message(
        &mut self,
        task: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<Option<Result<()>>> {
        let start = out.len();
        begin(out);
        let source = &mut self.source;
        let poll = || source.as_mut().poll_encode(task, out);
        // The source is never polled again after it unwound, so no broken state is seen.
        let polled = catch_unwind(AssertUnwindSafe(poll)).unwrap_or_else(|_panic| {
            let detail = "the source of a stream panicked";
            Poll::Ready(Some(Err(Error::internal("micro.transport", detail))))
        });
        let done = match polled {
            Poll::Ready(Some(Ok(()))) => {
                return Poll::Ready(Some(finish(out, start, self.bytes_max, self.encoding)));
            }
            other => other,
        };
        out.truncate(start);
        done
    }
}

impl fmt::Debug for Pump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pump").field("encoding", &self.encoding).finish_non_exhaustive()
    }
}
