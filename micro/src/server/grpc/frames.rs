//! The body of a response: messages, then the trailers that say how the call ended.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue};
use hyper::body::Frame;

use crate::codec::grpc::{Encoding, STATUS, begin, finish, write_status};
use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::{BoxError, Error, Result};
use crate::core::stream::BoxSource;

/// Bytes after which a chunk is sent.
const CHUNK_BYTES: usize = 32 * 1024;

/// Messages after which a chunk is sent, so that many small ones do not hold up other connections.
const CHUNK_MESSAGES: usize = 1024;

/// Writes the messages of one call. Dropping it before its end cancels the call.
#[derive(Debug)]
pub(in crate::server) struct Frames(Kind);

#[derive(Debug)]
enum Kind {
    /// One message, already framed.
    Message(Bytes),
    /// Many, as the peer reads them.
    Stream(Box<Pump>),
    /// Nothing but the trailers is left.
    End(Option<HeaderMap>),
}

/// How a call ends that goes well.
fn success() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(STATUS, HeaderValue::from_static("0"));
    trailers
}

fn failure(error: &Error) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(4);
    write_status(error, &mut trailers);
    trailers
}

impl Frames {
    /// Makes the body of a call with one response.
    pub(super) fn message(framed: Bytes) -> Self {
        Self(Kind::Message(framed))
    }

    /// Makes the body of a call with a stream of responses, which ends at the caller's deadline.
    pub(super) fn stream(
        source: BoxSource,
        encoding: Encoding,
        bytes_max: usize,
        deadline: Option<Instant>,
    ) -> Self {
        let until = deadline.map(|at| Box::pin(clock::sleep_until(at)));
        Self(Kind::Stream(Box::new(Pump { source, encoding, bytes_max, until, ended: None })))
    }

    /// Polls for the next frame of the body.
    pub(in crate::server) fn poll_frame(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::Message(framed) => {
                let framed = std::mem::take(framed);
                self.0 = Kind::End(Some(success()));
                Poll::Ready(Some(Ok(Frame::data(framed))))
            }
            Kind::Stream(pump) => {
                let chunk = std::task::ready!(pump.poll_chunk(task));
                if let Some(chunk) = chunk {
                    return Poll::Ready(Some(Ok(Frame::data(chunk))));
                }
                let trailers = pump.ended.take().unwrap_or_else(success);
                self.0 = Kind::End(None);
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Kind::End(trailers) => Poll::Ready(trailers.take().map(Frame::trailers).map(Ok)),
        }
    }
}

/// Drains a stream as fast as the peer reads.
struct Pump {
    source: BoxSource,
    encoding: Encoding,
    bytes_max: usize,
    /// Rings when the caller waits no longer.
    until: Option<Pin<Box<clock::Sleep>>>,
    ended: Option<HeaderMap>,
}

impl Pump {
    /// Polls for the next chunk of messages; `None` once there are only trailers left.
    fn poll_chunk(&mut self, task: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(until) = &mut self.until
            && self.ended.is_none()
            && until.as_mut().poll(task).is_ready()
        {
            let detail = "the deadline of the call passed in its stream";
            self.ended = Some(failure(&Error::timeout("micro.server", detail)));
        }
        let mut out = Vec::new();
        for _ in 0..CHUNK_MESSAGES {
            if self.ended.is_some() || out.len() >= CHUNK_BYTES {
                break;
            }
            if self.poll_message(task, &mut out).is_pending() {
                if out.is_empty() {
                    return Poll::Pending;
                }
                break;
            }
        }
        // An empty message has a prefix, so that whatever was polled is seen here.
        Poll::Ready((!out.is_empty()).then(|| out.into()))
    }

    /// Appends one message, or notes the end.
    fn poll_message(&mut self, task: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<()> {
        let start = out.len();
        begin(out);
        let Poll::Ready(next) = self.source.as_mut().poll_encode(task, out) else {
            out.truncate(start);
            return Poll::Pending;
        };
        let done = match next {
            Some(Ok(())) => finish(out, start, self.bytes_max, self.encoding),
            Some(Err(error)) => Err(error),
            None => {
                out.truncate(start);
                self.ended = Some(success());
                Ok(())
            }
        };
        if let Err(error) = done {
            out.truncate(start);
            self.ended = Some(failure(&error));
        }
        Poll::Ready(())
    }
}

impl fmt::Debug for Pump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pump").field("encoding", &self.encoding).finish_non_exhaustive()
    }
}
