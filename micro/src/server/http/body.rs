//! Reads a request's body within its limits.

use std::ops::Deref;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use hyper::body::Body;

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::{BoxError, Error, Result, Retry};
use crate::core::limits::{ConnectionLimits, Limits};
use crate::server::roster::Seat;

/// A body as connections and layers bring it.
pub(in crate::server) trait Payload:
    Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static
{
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static> Payload for B {}

/// How many times as much as came of a body is set aside for the rest of it.
const RESERVED_FACTOR: usize = 4;

/// Reads a whole body; one that came in one piece is not copied.
///
/// # Errors
/// 413 past the limit of a message, 429 past that of all unfinished messages of the connection, 408
/// when the body is too slow or `until` passes, 400 when the peer breaks off.
pub(super) async fn read<B: Payload>(
    body: &mut B,
    limits: &Limits,
    (now, until): (Instant, Instant),
    mut room: Room<&Seat>,
) -> Result<Bytes> {
    let max = limits.message.bytes_max;
    if usize::try_from(body.size_hint().lower()).map_or(true, |declared| declared > max) {
        return Err(too_large(max));
    }
    let mut pace = Pace::new(&limits.connection, now, until);
    let Some(first) = data(body, &mut pace).await? else { return Ok(Bytes::new()) };
    if first.len() > max {
        return Err(too_large(max));
    }
    if body.is_end_stream() {
        return Ok(first);
    }
    room.take(first.len())?;
    let mut whole = BytesMut::from(first);
    // Room for what is declared, as far as what came already vouches for it.
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or_default();
    whole.reserve(declared.min(whole.len().saturating_mul(RESERVED_FACTOR)));
    while let Some(next) = data(body, &mut pace).await? {
        if whole.len() + next.len() > max {
            return Err(too_large(max));
        }
        room.take(next.len())?;
        whole.extend_from_slice(&next);
    }
    Ok(whole.freeze())
}

/// What one unfinished body holds of what all of a connection may; given back on drop.
///
/// An HTTP/2 connection has many bodies at a time, each within its own limit.
pub(in crate::server) struct Room<S: Deref<Target = Seat>> {
    seat: S,
    bytes_max: usize,
    taken: usize,
}

impl<S: Deref<Target = Seat>> Room<S> {
    pub(in crate::server) fn new(seat: S, bytes_max: usize) -> Self {
        Self { seat, bytes_max, taken: 0 }
    }

    /// Takes room for more bytes of the body.
    pub(in crate::server) fn take(&mut self, bytes: usize) -> Result<()> {
        self.taken += bytes;
        let held = self.seat.unfinished.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if held <= self.bytes_max {
            return Ok(());
        }
        let max = self.bytes_max;
        let detail = format!("the unfinished messages of a connection may have {max} bytes in all");
        Err(Error::too_many_requests("micro.server", detail).with_retry(Retry::Safe))
    }

    /// Gives back all of it, for the next message of a stream.
    pub(in crate::server) fn free(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        if taken > 0 {
            self.seat.unfinished.fetch_sub(taken, Ordering::Relaxed);
        }
    }
}

impl<S: Deref<Target = Seat>> Drop for Room<S> {
    fn drop(&mut self) {
        self.free();
    }
}

pub(in crate::server) fn too_large(max: usize) -> Error {
    Error::too_large("micro.server", format!("a message may have {max} bytes, this one has more"))
}

/// Makes the error of a body that ends before it should, or says what is wrong with it itself.
pub(in crate::server) fn broken(error: impl Into<BoxError>) -> Error {
    let error = match error.into().downcast::<Error>() {
        Ok(own) => return *own,
        Err(error) => error,
    };
    Error::bad_request("micro.server", "the body broke off").with_source(error)
}

/// Waits for the next data, not past the pace.
async fn data<B: Payload>(body: &mut B, pace: &mut Pace<'_>) -> Result<Option<Bytes>> {
    // Progress: each turn takes a frame, and only trailers go on.
    loop {
        // What has come already needs no timer.
        let mut poll = |task: &mut Context<'_>| Pin::new(&mut *body).poll_frame(task);
        let frame = match std::future::poll_fn(|task| Poll::Ready(poll(task))).await {
            Poll::Ready(frame) => frame,
            Poll::Pending => clock::timeout_at(pace.end(), std::future::poll_fn(poll))
                .await
                .map_err(|_elapsed| pace.missed())?,
        };
        let Some(frame) = frame else { return Ok(None) };
        if let Ok(data) = frame.map_err(broken)?.into_data() {
            pace.took(data.len());
            return Ok(Some(data));
        }
    }
}

/// How fast a body has to come.
pub(in crate::server) struct Pace<'a> {
    until: Instant,
    window_end: Instant,
    window_left: usize,
    limits: &'a ConnectionLimits,
}

impl<'a> Pace<'a> {
    pub(in crate::server) fn new(
        limits: &'a ConnectionLimits,
        now: Instant,
        until: Instant,
    ) -> Self {
        Self {
            until,
            window_end: clock::after(now, limits.body_progress_timeout),
            window_left: limits.body_progress_bytes,
            limits,
        }
    }

    pub(in crate::server) fn end(&self) -> Instant {
        self.until.min(self.window_end)
    }

    pub(in crate::server) fn took(&mut self, bytes: usize) {
        self.window_left = self.window_left.saturating_sub(bytes);
        if self.window_left == 0 {
            self.window_left = self.limits.body_progress_bytes;
            self.window_end = clock::after(clock::now(), self.limits.body_progress_timeout);
        }
    }

    pub(in crate::server) fn missed(&self) -> Error {
        if self.until <= self.window_end {
            return Error::timeout("micro.server", "the deadline passed while the body came");
        }
        let (bytes, time) = (self.limits.body_progress_bytes, self.limits.body_progress_timeout);
        Error::timeout("micro.server", format!("the body brought less than {bytes} B in {time:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::roster::Roster;
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::time::Duration;

    use hyper::body::{Frame, SizeHint};

    /// Brings a piece at each interval.
    pub(in crate::server::http) struct Slow {
        pieces: VecDeque<Bytes>,
        every: Duration,
        next: Pin<Box<clock::Sleep>>,
        declared: u64,
    }

    fn slow(pieces: usize, bytes: usize, every: Duration) -> Slow {
        let pieces: VecDeque<_> = (0..pieces).map(|_| Bytes::from(vec![b'x'; bytes])).collect();
        Slow { pieces, every, next: Box::pin(clock::sleep(every)), declared: 0 }
    }

    impl Body for Slow {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            task: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            std::task::ready!(self.next.as_mut().poll(task));
            let at = clock::after(clock::now(), self.every);
            self.next.as_mut().reset(at);
            Poll::Ready(self.pieces.pop_front().map(|piece| Ok(Frame::data(piece))))
        }
        fn size_hint(&self) -> SizeHint {
            let mut hint = SizeHint::new();
            hint.set_lower(self.declared);
            hint
        }
    }

    fn seat() -> Arc<Seat> {
        let roster = Arc::new(Roster::default());
        Arc::clone(&roster.join(None, &ConnectionLimits::DEFAULT).unwrap().seat)
    }

    #[tokio::test(start_paused = true)]
    async fn the_unfinished_bodies_of_a_connection_share_a_limit() {
        let (seat, limits, now) = (seat(), Limits::default(), clock::now());
        let until = clock::after(now, Duration::from_secs(3600));
        for (bodies, refused) in [(10, 0), (11, 1), (100, 90)] {
            let mut done = Vec::new();
            for _ in 0..bodies {
                // Complete only after the others have begun.
                let mut body = slow(10, 10, Duration::from_millis(10));
                let (seat, limits) = (&seat, &limits);
                done.push(async move {
                    let room = Room::new(&**seat, 1000);
                    read(&mut body, limits, (now, until), room).await
                });
            }
            let done = futures_util::future::join_all(done).await;
            let failed: Vec<_> = done.into_iter().filter_map(Result::err).collect();
            assert!(failed.iter().all(|e| e.code() == 429 && e.retry() == Retry::Safe));
            assert!(failed.len() >= refused && failed.len() < bodies.max(1), "{}", failed.len());
            assert_eq!(failed.is_empty(), refused == 0);
            assert_eq!(seat.unfinished.load(Ordering::Relaxed), 0);
        }
    }

    async fn outcome(mut body: Slow, max: usize) -> Result<usize> {
        let mut limits = Limits::default();
        limits.message.bytes_max = max;
        let now = clock::now();
        let until = clock::after(now, Duration::from_secs(3600));
        let seat = seat();
        let room = Room::new(&*seat, usize::MAX);
        read(&mut body, &limits, (now, until), room).await.map(|bytes| bytes.len())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_at_the_limit_passes_and_above_it_does_not() {
        for (bytes, code) in [(99, None), (100, None), (101, Some(413)), (1000, Some(413))] {
            let pieces = slow(1, bytes, Duration::ZERO);
            assert_eq!(outcome(pieces, 100).await.err().map(|e| e.code()), code, "{bytes}");
            let pieces = slow(bytes, 1, Duration::ZERO);
            assert_eq!(outcome(pieces, 100).await.err().map(|e| e.code()), code, "{bytes}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_declared_length_is_refused_before_anything_is_read() {
        for declared in [101, 1 << 32, u64::MAX] {
            let body = Slow { declared, ..slow(1, 1, Duration::from_secs(3600)) };
            let start = clock::now();
            assert_eq!(outcome(body, 100).await.unwrap_err().code(), 413);
            assert_eq!(clock::now(), start);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_has_to_make_progress() {
        let max = 4 * 1024 * 1024;
        let steady = slow(20, 64 * 1024, Duration::from_secs(9));
        assert_eq!(outcome(steady, max).await.unwrap(), 20 * 64 * 1024);
        let dripping = slow(100, 1, Duration::from_secs(1));
        let start = clock::now();
        assert_eq!(outcome(dripping, max).await.unwrap_err().code(), 408);
        assert_eq!(clock::now() - start, Duration::from_secs(10));
    }
}
