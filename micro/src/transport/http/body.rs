//! The body of a request.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::codec::sequence::Row;
use crate::core::error::{BoxError, Error};
use crate::core::stream::BoxSource;

/// Bytes after which a chunk of a stream is sent.
const CHUNK_BYTES: usize = 32 * 1024;

/// Messages after which a chunk of a stream is sent, so that others on the thread have their turn.
const CHUNK_MESSAGES: usize = 1024;

/// What failed while a stream of requests was sent.
///
/// Neither side of HTTP says it: the connection or the stream just breaks.
#[derive(Clone, Debug, Default)]
pub(super) struct Fault(Arc<Mutex<Option<Error>>>);

impl Fault {
    fn set(&self, error: Error) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// Returns what failed, if something did.
    pub(super) fn take(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// One message, or a stream of them.
pub(super) enum Outflow {
    Message(Bytes),
    Stream { source: BoxSource, row: Row, bytes_max: usize, over: bool, fault: Fault },
}

impl Outflow {
    /// Streams the messages of a source, none longer than `bytes_max`.
    pub(super) fn stream(source: BoxSource, row: Row, bytes_max: usize, fault: Fault) -> Self {
        Self::Stream { source, row, bytes_max, over: false, fault }
    }
}

type Chunk = Option<Result<Frame<Bytes>, BoxError>>;

impl Body for Outflow {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Chunk> {
        match self.get_mut() {
            Self::Message(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Message(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream { over: true, .. } => Poll::Ready(None),
            Self::Stream { source, row, bytes_max, over, fault } => {
                let mut out = Vec::new();
                for _ in 0..CHUNK_MESSAGES {
                    let begun = out.len();
                    if begun >= CHUNK_BYTES {
                        break;
                    }
                    let failed = match source.as_mut().poll_encode(task, &mut out) {
                        Poll::Pending if out.is_empty() => return Poll::Pending,
                        Poll::Pending => break,
                        Poll::Ready(Some(Ok(()))) if out.len() - begun <= *bytes_max => {
                            row.close(begun, &mut out);
                            continue;
                        }
                        Poll::Ready(Some(Ok(()))) => too_large(*bytes_max),
                        Poll::Ready(Some(Err(error))) => error,
                        Poll::Ready(None) => {
                            *over = true;
                            break;
                        }
                    };
                    *over = true;
                    fault.set(failed.clone());
                    return Poll::Ready(Some(Err(failed.into())));
                }
                let data = (!out.is_empty()).then(|| Ok(Frame::data(out.into())));
                Poll::Ready(data)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Message(bytes) => bytes.is_empty(),
            Self::Stream { over, .. } => *over,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Message(bytes) => {
                SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
            }
            Self::Stream { .. } => SizeHint::default(),
        }
    }
}

pub(super) fn too_large(max: usize) -> Error {
    Error::too_large(
        "micro.transport",
        format!("a message may have {max} bytes, this one has more"),
    )
}
