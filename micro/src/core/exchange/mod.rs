//! The unit of every transport: one call, from its head to its last message.
//!
//! A client starts an [`Exchange`] on a [`Connection`]; a server hands each incoming [`Inbound`]
//! to its [`Dispatch`]. Transports and routers meet here and never name each other.

mod inbox;
mod messages;
mod relay;
mod running;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context as Task, Poll, Waker};

use bytes::Bytes;
use tokio::time::Instant;

use crate::core::content_type::ContentType;
use crate::core::descriptor::CallKind;
use crate::core::error::Result;
use crate::core::future::BoxFuture;
use crate::core::metadata::Metadata;
use crate::core::stream::{BoxSource, RawStream};
use crate::core::trace::Trace;

pub use self::inbox::Inbox;
pub(crate) use self::messages::Messages;
pub use self::messages::messages_of;
pub use self::relay::Line;
#[cfg(feature = "server")]
pub(crate) use self::running::panicked;
pub use self::running::{DONE, Ended, Release, Running, Slot};

/// The name of an endpoint, and a number by which connections remember what they call it.
#[derive(Debug, PartialEq, Eq)]
pub struct Route {
    service: Arc<str>,
    endpoint: Arc<str>,
    kind: CallKind,
    symbol: u32,
}

impl Route {
    /// The symbol of routes that are to have none.
    pub(crate) const NO_SYMBOL: u32 = u32::MAX;

    /// Names an endpoint; make it once, not for each call.
    pub fn new(service: &str, endpoint: &str, kind: CallKind) -> Arc<Self> {
        // Symbols only index per-connection caches: two routes of one name are as good as one.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let symbol = NEXT.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { service: service.into(), endpoint: endpoint.into(), kind, symbol })
    }

    /// Names an endpoint that connections spell out each time, for names that come from outside:
    /// the numbers that connections give are few.
    pub fn unnumbered(service: &str, endpoint: &str, kind: CallKind) -> Arc<Self> {
        let (service, endpoint) = (service.into(), endpoint.into());
        Arc::new(Self { service, endpoint, kind, symbol: Self::NO_SYMBOL })
    }

    /// Returns the name of the service.
    pub fn service(&self) -> &Arc<str> {
        &self.service
    }

    /// Returns the wire name of the endpoint.
    pub fn endpoint(&self) -> &Arc<str> {
        &self.endpoint
    }

    /// Returns how many messages go each way.
    pub fn kind(&self) -> CallKind {
        self.kind
    }

    /// Returns a small number that no other route of this process has; `u32::MAX` for a route
    /// that is to have none.
    pub fn symbol(&self) -> u32 {
        self.symbol
    }
}

/// What goes ahead of the first message of a call.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Head<'a> {
    /// The endpoint.
    pub route: &'a Route,
    /// The time at which the call was started, read once for everything that needs it.
    pub now: Instant,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
    /// How messages are encoded, both ways.
    pub content_type: ContentType,
    /// Whatever a plain call does not have.
    pub extra: Option<Box<Extra>>,
    /// Whom the answer wakes, if it is known already.
    pub waker: Option<&'a Waker>,
}

impl<'a> Head<'a> {
    /// Makes the head of a plain call without a deadline.
    pub fn new(route: &'a Route, now: Instant, content_type: ContentType) -> Self {
        Self { route, now, deadline: None, content_type, extra: None, waker: None }
    }
}

/// The parts of a head that a plain call does not have.
#[derive(Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Extra {
    /// Metadata of this hop.
    pub metadata: Metadata,
    /// Metadata that travels on.
    pub persistent: Metadata,
    /// Transport headers such as `authorization`; never visible as metadata.
    pub headers: Metadata,
    /// The place in the trace.
    pub trace: Option<Trace>,
}

/// Names the headers without their values, which may be credentials.
impl fmt::Debug for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.iter().map(|(key, _)| key).collect();
        f.debug_struct("Extra")
            .field("metadata", &self.metadata)
            .field("persistent", &self.persistent)
            .field("headers", &headers)
            .field("trace", &self.trace)
            .finish()
    }
}

/// Why one side gives up an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reset {
    /// The caller, or the reader of a stream, has gone away.
    Cancelled,
    /// The call was not run and may go elsewhere.
    Refused,
    /// The call was not run because the server is about to stop.
    Draining,
    /// The deadline has passed.
    Deadline,
    /// A message exceeds a limit.
    TooLarge,
    /// The peer broke the protocol.
    Protocol,
    /// The server failed.
    Internal,
}

/// A connection to one node on which calls are started.
pub trait Connection: fmt::Debug + Send + Sync {
    /// Starts a call without waiting.
    ///
    /// `body` is the request, or empty when `source` streams the requests. The connection drains
    /// `source` as fast as the peer grants credit.
    ///
    /// # Errors
    /// `Retry::Safe` when the connection is closed, draining or full: nothing was sent.
    fn start(
        self: Arc<Self>,
        head: &Head<'_>,
        body: &Bytes,
        source: Option<BoxSource>,
    ) -> Result<Exchange>;

    /// Returns whether new calls are accepted.
    fn is_open(&self) -> bool;

    /// Returns whether as many calls are in flight, or as many bytes queued, as allowed.
    fn is_full(&self) -> bool;

    /// Waits until a call can be started.
    ///
    /// # Errors
    /// `Retry::Safe` when the connection is closed or draining.
    fn ready(&self) -> BoxFuture<'_, Result<()>>;

    /// Waits until the connection is closed: no call runs on it and none can be started.
    fn closed(&self) -> BoxFuture<'_, ()>;

    /// Stops accepting calls, lets running ones finish, then closes.
    fn drain(&self);

    /// Closes at once; running calls fail.
    fn close(&self);
}

/// How a transport serves the exchanges it started or accepted; ids are the transport's own.
pub trait Driver: fmt::Debug + Send + Sync {
    /// Polls for the single response; the exchange is over when this is ready.
    fn poll_reply(&self, id: u32, task: &mut Task<'_>) -> Poll<Answer>;

    /// Polls for the beginning of a stream of responses.
    fn poll_opened(&self, id: u32, task: &mut Task<'_>) -> Poll<Result<()>>;

    /// Polls for the next messages of a stream and puts them into the empty `batch`, at least one.
    ///
    /// `consumed` is how many bytes of earlier batches the reader has taken since the last poll,
    /// for which the sender gets new credit. The stream is over after `None` or an error.
    fn poll_messages(
        &self,
        id: u32,
        consumed: usize,
        batch: &mut Inbox,
        task: &mut Task<'_>,
    ) -> Poll<Option<Result<()>>>;

    /// Writes what [`Connection::start`] has queued.
    fn flush(&self);

    /// Gives up an exchange that is not over.
    fn reset(&self, id: u32, reason: Reset);

    /// Tells the sender of a stream that nobody reads it any more.
    ///
    /// For the caller of a stream of responses that ends the exchange; a handler that drops its
    /// stream of requests runs on.
    fn stop_reading(&self, id: u32);
}

/// The single response of a call, with the time of its arrival.
#[non_exhaustive]
pub struct Answer {
    /// When the transport read it, taken once for all that arrived together.
    pub at: Instant,
    /// What the server answered, or why there is no answer.
    pub result: Result<Bytes>,
}

impl Answer {
    /// Makes an answer that arrived at `at`.
    pub fn new(at: Instant, result: Result<Bytes>) -> Self {
        Self { at, result }
    }
}

/// Shows the length of the response, which itself belongs in no log.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let result = self.result.as_ref().map(Bytes::len);
        f.debug_struct("Answer").field("at", &self.at).field("result", &result).finish()
    }
}

/// A call in flight on the client's side. Dropping it resets the call.
#[derive(Debug)]
pub struct Exchange {
    driver: Arc<dyn Driver>,
    id: u32,
    flush: Flush,
    /// Whether the answer wakes the task that polls next, which then need not look yet.
    watched: bool,
    over: bool,
}

/// Who writes what [`Connection::start`] has queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flush {
    /// Somebody else does, or it is done.
    None,
    /// This exchange does, after other ready tasks had their turn to queue theirs.
    Yield,
    /// This exchange does, now.
    Now,
}

impl Exchange {
    /// Makes an exchange of a transport's own id.
    pub(crate) fn new(driver: Arc<dyn Driver>, id: u32, flush: Flush) -> Self {
        Self { driver, id, flush, watched: false, over: false }
    }

    /// States that the answer wakes the task that polls next.
    #[must_use]
    pub(crate) fn watched(mut self, watched: bool) -> Self {
        self.watched = watched;
        self
    }

    /// Makes an exchange for a transport that writes by itself.
    pub fn started(driver: Arc<dyn Driver>, id: u32) -> Self {
        Self::new(driver, id, Flush::None)
    }

    /// Polls for the single response.
    pub fn poll_reply(&mut self, task: &mut Task<'_>) -> Poll<Answer> {
        if self.yield_before_flush(task) || std::mem::take(&mut self.watched) {
            return Poll::Pending;
        }
        let reply = std::task::ready!(self.driver.poll_reply(self.id, task));
        self.over = true;
        Poll::Ready(reply)
    }

    /// Waits for the stream of responses to begin.
    ///
    /// # Errors
    /// What the server answered instead, or why there is no answer.
    pub fn poll_opened(&mut self, task: &mut Task<'_>) -> Poll<Result<()>> {
        if self.yield_before_flush(task) {
            return Poll::Pending;
        }
        let opened = std::task::ready!(self.driver.poll_opened(self.id, task));
        self.over = opened.is_err();
        Poll::Ready(opened)
    }

    /// Turns an opened exchange into its stream of responses.
    #[must_use]
    pub fn into_stream(mut self) -> RawStream {
        // The stream resets the exchange from here on.
        self.over = true;
        messages_of(Arc::clone(&self.driver), self.id)
    }

    /// Lets other ready tasks queue their calls before one of them writes for all.
    fn yield_before_flush(&mut self, task: &mut Task<'_>) -> bool {
        match std::mem::replace(&mut self.flush, Flush::None) {
            Flush::None => false,
            Flush::Yield => {
                self.flush = Flush::Now;
                // The answer may come before the next poll, whose wake-up is this one's too.
                self.watched = false;
                task.waker().wake_by_ref();
                true
            }
            Flush::Now => {
                self.driver.flush();
                false
            }
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.over {
            self.driver.reset(self.id, Reset::Cancelled);
        }
        // Others may count on this exchange to write for them.
        if self.flush != Flush::None {
            self.driver.flush();
        }
    }
}

/// An endpoint of this process, found once for each name on each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Target {
    /// The place in the router's table.
    pub index: u32,
    /// How many messages go each way.
    pub kind: CallKind,
    /// Whether the call runs to its end when the caller goes away.
    pub detached: bool,
}

impl Target {
    /// Makes a target of its place in the router's table; not detached.
    pub fn new(index: u32, kind: CallKind) -> Self {
        Self { index, kind, detached: false }
    }
}

/// A call as it arrives at the server.
#[non_exhaustive]
pub struct Inbound {
    /// The endpoint.
    pub target: Target,
    /// When the transport received it.
    pub now: Instant,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
    /// How messages are encoded, both ways.
    pub content_type: ContentType,
    /// Whatever a plain call does not have.
    pub extra: Option<Box<Extra>>,
    /// The request, or empty when `messages` streams the requests.
    pub body: Bytes,
    /// The stream of requests.
    pub messages: Option<RawStream>,
    /// Where the call came from.
    pub remote: Arc<str>,
}

impl Inbound {
    /// Makes a plain call without a deadline that arrived at `now`.
    pub fn new(
        target: Target,
        now: Instant,
        content_type: ContentType,
        body: Bytes,
        remote: Arc<str>,
    ) -> Self {
        Self {
            target,
            now,
            deadline: None,
            content_type,
            extra: None,
            body,
            messages: None,
            remote,
        }
    }
}

/// Shows the length of the request, which itself belongs in no log.
impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbound")
            .field("target", &self.target)
            .field("deadline", &self.deadline)
            .field("content_type", &self.content_type)
            .field("extra", &self.extra)
            .field("body", &self.body.len())
            .field("remote", &self.remote)
            .finish_non_exhaustive()
    }
}

/// What a handler produced.
#[expect(clippy::exhaustive_enums, reason = "one message or many: every transport handles both")]
pub enum Outgoing {
    /// The single response.
    Message(Bytes),
    /// A stream of responses.
    Stream(BoxSource),
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(body) => f.debug_tuple("Message").field(&body.len()).finish(),
            Self::Stream(_) => f.debug_tuple("Stream").finish_non_exhaustive(),
        }
    }
}

/// Runs calls; the server's router, as transports see it.
pub trait Dispatch: fmt::Debug + Send + Sync {
    /// Finds an endpoint.
    ///
    /// # Errors
    /// 404 that lists what exists.
    fn resolve(&self, service: &str, endpoint: &str) -> Result<Target>;

    /// Begins a call: everything up to the first await of the handler happens when the result is
    /// first polled.
    ///
    /// # Errors
    /// A refusal, in which case no handler runs.
    fn dispatch(&self, call: Inbound) -> Result<Running>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::clock;

    #[test]
    fn debug_shows_neither_payloads_nor_credentials() {
        let now = clock::now();
        let secret = Bytes::from_static(b"secret");
        let mut call = Inbound::new(
            Target::new(0, CallKind::Unary),
            now,
            ContentType::MsgPack,
            secret.clone(),
            "memory".into(),
        );
        let mut extra = Extra::default();
        extra.headers.insert("authorization", "Bearer secret").unwrap();
        call.extra = Some(Box::new(extra));
        for shown in [format!("{call:?}"), format!("{:?}", Answer::new(now, Ok(secret)))] {
            assert!(!shown.contains("secret") && shown.contains('6'), "{shown}");
        }
        assert!(format!("{call:?}").contains("authorization"));
    }
}
