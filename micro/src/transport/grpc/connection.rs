//! One connection to a server, which carries many calls at a time.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;

use crate::codec::grpc::Encoding;
use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{Connection, Exchange, Head};
use crate::core::future::BoxFuture;
use crate::core::limits::METADATA_BYTES_MAX;
use crate::core::net::Stream;
use crate::core::shutdown::{Shutdown, TaskTracker};
use crate::core::stream::BoxSource;
use crate::transport::Scope;
use crate::transport::grpc::call::{Call, one};
use crate::transport::grpc::cut::Cut;
use crate::transport::grpc::request::{Base, request};
use crate::transport::grpc::requests::Requests;

/// Silence before a ping while calls run: servers of gRPC hang up on those who ping more often than
/// every five minutes.
const PING_INTERVAL: Duration = Duration::from_secs(301);

/// Looks at whether the connection is idle, in the time after which it is to be closed.
const IDLE_LOOKS: u32 = 4;

/// A connection as calls see it.
pub(super) struct Link {
    sender: Mutex<Option<SendRequest<Requests>>>,
    /// One for each call in flight.
    slots: Arc<Semaphore>,
    calls_max: usize,
    life: Shutdown,
    /// What the URLs of requests begin with.
    base: Base,
    encoding: Encoding,
    scope: Scope,
}

impl Link {
    /// Makes a link that is not connected.
    pub(super) fn new(base: Base, encoding: Encoding, scope: &Scope) -> Self {
        let calls_max = scope.limits.stream.http2_max.min(Semaphore::MAX_PERMITS);
        Self {
            sender: Mutex::default(),
            slots: Arc::new(Semaphore::new(calls_max)),
            calls_max,
            life: Shutdown::new(),
            base,
            encoding,
            scope: scope.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<SendRequest<Requests>>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what sends calls, while any are taken.
    fn sender(&self) -> Option<SendRequest<Requests>> {
        let sender = self.lock();
        sender.as_ref().filter(|sender| !sender.is_closed()).cloned()
    }

    fn in_flight(&self) -> usize {
        self.calls_max.saturating_sub(self.slots.available_permits())
    }
}

/// Begins to speak HTTP/2 on a stream.
pub(super) async fn connect(stream: Stream, link: Link) -> Result<Arc<Link>, hyper::Error> {
    let limits = &link.scope.limits;
    let io = TokioIo::new(Cut::new(stream, link.life.clone()));
    let (sender, connection) = Builder::new(Owner(link.scope.tasks.clone()))
        .timer(TokioTimer::new())
        .max_frame_size(saturated(limits.message.http2_frame_bytes_max))
        .max_header_list_size(saturated(METADATA_BYTES_MAX))
        .initial_stream_window_size(saturated(limits.stream.window_bytes))
        .initial_connection_window_size(saturated(limits.connection.outbound_bytes_max))
        .max_send_buf_size(limits.stream.window_bytes)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(limits.connection.keepalive_timeout)
        .handshake(io)
        .await?;
    *link.lock() = Some(sender);
    let link = Arc::new(link);
    link.scope.tasks.spawn("grpc connection", follow(Arc::clone(&link), connection));
    Ok(link)
}

/// Runs a connection until it ends, is told to, or is idle for too long.
async fn follow<C: Future>(link: Arc<Link>, connection: C) {
    tokio::select! {
        _ended = connection => {}
        () = link.scope.shutdown.closed() => link.close(),
        () = drained(&link) => {}
    }
    link.drain();
    // Calls on it may go on although no more are taken; each holds a slot.
    let all = u32::try_from(link.calls_max).unwrap_or(u32::MAX);
    tokio::select! {
        _over = link.slots.acquire_many(all) => {}
        () = link.scope.shutdown.closed() => {}
        () = link.life.closed() => {}
    }
    link.life.close();
}

/// Drains when the process does or nobody has called for a while, and waits for the end then.
async fn drained(link: &Link) {
    let look = link.scope.limits.connection.client_idle_timeout / IDLE_LOOKS;
    let mut idle = 0;
    // Progress: each turn takes its time, and ends after as many without a call.
    while idle < IDLE_LOOKS {
        tokio::select! {
            () = clock::sleep(look) => {}
            () = link.scope.shutdown.draining() => break,
        }
        idle = if link.in_flight() == 0 { idle + 1 } else { 0 };
    }
    link.drain();
    std::future::pending().await
}

impl Connection for Link {
    fn start(
        self: Arc<Self>,
        head: &Head<'_>,
        body: &Bytes,
        source: Option<BoxSource>,
    ) -> Result<Exchange> {
        let sender = self.sender().ok_or_else(closed)?;
        let slot =
            Arc::clone(&self.slots).try_acquire_owned().map_err(|_taken| full(self.calls_max))?;
        let bytes_max = self.scope.limits.message.bytes_max;
        let failure = Arc::default();
        let body = match source {
            Some(source) => {
                Requests::stream(source, self.encoding, bytes_max, Arc::clone(&failure))
            }
            None => one(body, self.encoding, bytes_max)?,
        };
        let request = request(head, &self.base, self.encoding, body)?;
        let call = Call {
            sender,
            kind: head.route.kind(),
            bytes_max,
            failure,
            id: format!("{}.{}", head.route.service(), head.route.endpoint()),
        };
        let window = self.scope.limits.stream.window_bytes;
        Ok(Exchange::relayed(
            &self.scope.tasks,
            "grpc call",
            window,
            head.deadline,
            |line| async move {
                call.run(request, line).await;
                drop(slot);
            },
        ))
    }

    fn is_open(&self) -> bool {
        self.sender().is_some()
    }

    fn is_full(&self) -> bool {
        self.slots.available_permits() == 0
    }

    fn ready(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            tokio::select! {
                _slot = self.slots.acquire() => {}
                () = self.life.draining() => {}
            }
            if self.is_open() { Ok(()) } else { Err(closed()) }
        })
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.life.closed())
    }

    fn drain(&self) {
        self.life.drain();
        // With the last of its senders the connection ends.
        let _last = self.lock().take();
    }

    fn close(&self) {
        self.drain();
        self.life.close();
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("authority", &self.base.1)
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

fn closed() -> Error {
    Error::unavailable("micro.transport", "the connection is closed").with_retry(Retry::Safe)
}

fn full(calls_max: usize) -> Error {
    let detail = format!("the connection has {calls_max} calls in flight, as many as it may");
    Error::too_many_requests("micro.transport", detail).with_retry(Retry::Safe)
}

fn saturated(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// Gives the tasks of the connection to the owner of all tasks.
#[derive(Clone, Debug)]
struct Owner(TaskTracker);

impl<F> hyper::rt::Executor<F> for Owner
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn("grpc stream", future);
    }
}
