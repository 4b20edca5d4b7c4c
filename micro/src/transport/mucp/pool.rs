//! The connections to one node that carry no call at present.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::core::clock::{self, Instant};
use crate::core::error::{Error, Result, Retry};
use crate::core::limits::{METADATA_BYTES_MAX, METADATA_CLOSE_FACTOR};
use crate::core::net::Stream;
use crate::transport::mucp::ID;

/// Bytes of the head of an answer: as many as the port's HTTP takes.
const HEAD_BYTES_MAX: usize = METADATA_BYTES_MAX * METADATA_CLOSE_FACTOR;

/// A connection that carries one call at a time.
pub(super) struct Lane {
    pub(super) http: http1::SendRequest<Full<Bytes>>,
    driver: http1::Connection<TokioIo<Stream>, Full<Bytes>>,
    over: bool,
}

impl Lane {
    /// Takes a connected stream for calls.
    pub(super) async fn new(stream: Stream) -> Result<Self> {
        let mut builder = http1::Builder::new();
        // Go writes and expects its names so, though HTTP does not care.
        builder.title_case_headers(true).max_buf_size(HEAD_BYTES_MAX);
        let made = builder.handshake(TokioIo::new(stream)).await;
        let (http, driver) = made.map_err(|error| {
            Error::unavailable(ID, "the connection broke off")
                .with_retry(Retry::Safe)
                .with_source(error)
        })?;
        Ok(Self { http, driver, over: false })
    }

    /// Runs a future that waits for this connection, which makes progress meanwhile.
    pub(super) async fn run<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|task| {
            if let Poll::Ready(done) = future.as_mut().poll(task) {
                return Poll::Ready(done);
            }
            if self.over || Pin::new(&mut self.driver).poll(task).is_pending() {
                return Poll::Pending;
            }
            // What the end of the connection means for the future it says itself.
            self.over = true;
            future.as_mut().poll(task)
        })
        .await
    }

    /// Returns whether the connection takes another call; looks for an end that came meanwhile.
    pub(super) async fn is_ready(&mut self) -> bool {
        poll_fn(|task| {
            self.over = self.over || Pin::new(&mut self.driver).poll(task).is_ready();
            Poll::Ready(())
        })
        .await;
        !self.over && self.http.is_ready()
    }
}

/// Connections that wait for their next call, the one used last on top.
pub(super) struct Pool {
    idle: Mutex<Vec<(Lane, Instant)>>,
    idle_timeout: Duration,
}

impl Pool {
    pub(super) fn new(idle_timeout: Duration) -> Self {
        Self { idle: Mutex::default(), idle_timeout }
    }

    /// Takes the connection that was used last, if one is still good.
    pub(super) async fn take(&self) -> Option<Lane> {
        // Progress: each turn takes one off the pool.
        loop {
            self.sweep();
            let (mut lane, _) = self.lock().pop()?;
            if lane.is_ready().await {
                return Some(lane);
            }
        }
    }

    /// Keeps a connection for the next call.
    pub(super) fn put(&self, lane: Lane) {
        self.lock().push((lane, clock::now()));
    }

    /// Closes what was idle for too long.
    pub(super) fn sweep(&self) {
        let now = clock::now();
        let fresh = |since: Instant| now.saturating_duration_since(since) < self.idle_timeout;
        let old = {
            let mut idle = self.lock();
            let first = idle.iter().position(|(_, since)| fresh(*since)).unwrap_or(idle.len());
            idle.drain(..first).collect::<Vec<_>>()
        };
        drop(old);
    }

    /// Closes all.
    pub(super) fn clear(&self) {
        let all = std::mem::take(&mut *self.lock());
        drop(all);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Lane, Instant)>> {
        // Every critical section leaves the list whole, so a poisoned lock is still sound.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("idle", &self.lock().len()).finish_non_exhaustive()
    }
}
