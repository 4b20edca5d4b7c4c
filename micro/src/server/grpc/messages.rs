//! The messages of a call's body, as they are asked for.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;

use crate::codec::grpc::{Decoder, Encoding};
use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::{Error, Result};
use crate::core::limits::Limits;
use crate::core::stream::{RawStream, Streaming};
use crate::server::http::body::{Pace, Payload, Room, broken};
use crate::server::roster::Seat;

/// Reads messages out of a body. The body is read only as they are: its sender waits.
pub(super) struct Messages<B> {
    body: B,
    decoder: Decoder,
    room: Room<Arc<Seat>>,
    /// Bytes of an unfinished message that count against the room.
    counted: usize,
    /// Bytes that have come.
    arrived: usize,
    over: bool,
}

impl<B: Payload> Messages<B> {
    pub(super) fn new(body: B, encoding: Encoding, seat: &Arc<Seat>, limits: &Limits) -> Self {
        Self {
            body,
            decoder: Decoder::new(limits.message.bytes_max, encoding),
            room: Room::new(Arc::clone(seat), limits.message.reassembly_bytes_max),
            counted: 0,
            arrived: 0,
            over: false,
        }
    }

    /// Reads the one message of a call that has one.
    ///
    /// # Errors
    /// 501 when there is none or more than one, as gRPC asks for; what [`Messages`] fails with; 408
    /// when the body is too slow or `until` passes.
    pub(super) async fn single(
        mut self,
        limits: &Limits,
        now: Instant,
        until: Instant,
    ) -> Result<Bytes> {
        let mut pace = Pace::new(&limits.connection, now, until);
        let one = |found| {
            let detail = format!("the method takes one message, and the call has {found}");
            Error::unimplemented("micro.grpc", detail)
        };
        let message = self.next(&mut pace).await?.ok_or_else(|| one("none"))?;
        match self.next(&mut pace).await? {
            None => Ok(message),
            Some(_) => Err(one("more")),
        }
    }

    /// Turns the body into the stream of its messages.
    pub(super) fn stream(self) -> RawStream {
        Streaming::from_stream(self)
    }

    /// Waits for the next message, not past the pace.
    async fn next(&mut self, pace: &mut Pace<'_>) -> Result<Option<Bytes>> {
        let first = std::future::poll_fn(|task| Poll::Ready(self.poll_message(task))).await;
        if let Poll::Ready(next) = first {
            return next.transpose();
        }
        // Progress: each turn ends at a time that only bytes set ahead.
        loop {
            let before = self.arrived;
            let next = std::future::poll_fn(|task| self.poll_message(task));
            if let Ok(next) = clock::timeout_at(pace.end(), next).await {
                return next.transpose();
            }
            pace.took(self.arrived - before);
            if pace.end() <= clock::now() {
                return Err(pace.missed());
            }
        }
    }

    fn poll_message(&mut self, task: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        // Progress: each turn takes a message or a frame of the body, or ends.
        loop {
            match self.decoder.take() {
                Ok(Some(message)) => {
                    self.room.free();
                    self.counted = 0;
                    return Poll::Ready(Some(Ok(message)));
                }
                Ok(None) if self.over => return Poll::Ready(None),
                Ok(None) => {
                    if let Err(error) = self.count() {
                        return self.fail(error);
                    }
                }
                Err(error) => return self.fail(error),
            }
            match std::task::ready!(Pin::new(&mut self.body).poll_frame(task)) {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    self.arrived += data.len();
                    self.decoder.push(data);
                }
                Some(Err(error)) => return self.fail(broken(error)),
                None => {
                    self.over = true;
                    if let Err(error) = self.decoder.end() {
                        return self.fail(error);
                    }
                }
            }
        }
    }

    /// Takes room for what is kept of an unfinished message.
    fn count(&mut self) -> Result<()> {
        let more = self.decoder.held().saturating_sub(self.counted);
        self.counted += more;
        if more > 0 { self.room.take(more) } else { Ok(()) }
    }

    fn fail(&mut self, error: Error) -> Poll<Option<Result<Bytes>>> {
        self.over = true;
        self.decoder = Decoder::new(0, Encoding::Identity);
        self.room.free();
        Poll::Ready(Some(Err(error)))
    }
}

impl<B: Payload> Stream for Messages<B> {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over && self.decoder.end().is_ok() {
            return Poll::Ready(None);
        }
        self.poll_message(task)
    }
}
