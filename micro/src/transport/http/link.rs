//! The calls to one node.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::StatusCode;
use hyper::body::Incoming;
use tokio::sync::Notify;

use crate::core::descriptor::CallKind;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{Connection, Exchange, Head, Line};
use crate::core::future::BoxFuture;
use crate::core::limits::Limits;
use crate::core::net::Address;
use crate::core::shutdown::TaskTracker;
use crate::core::stream::BoxSource;
use crate::transport::Scope;
use crate::transport::http::answer::{check_row, check_type, failure, relay, whole};
use crate::transport::http::ask::{Ask, Target};
use crate::transport::http::body::too_large;
use crate::transport::http::lane::{Held, Lane};

/// How a node that has no name of its own is called.
const LOCAL: &str = "localhost";

/// A node that is called over HTTP.
#[derive(Debug)]
pub(super) struct Link {
    lane: Lane,
    target: Target,
    limits: Arc<Limits>,
    tasks: TaskTracker,
    /// Never held across a wait.
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    calls: usize,
    /// Whether no more calls are started.
    draining: bool,
}

impl Link {
    /// Makes the link of connections to a node; they end with the scope's lifecycle.
    pub(super) fn new(
        lane: Lane,
        scheme: &'static str,
        address: &Address,
        scope: &Scope,
    ) -> Result<Arc<Self>> {
        let authority = match address {
            Address::Tcp(host) => host.clone(),
            Address::Unix(_) => LOCAL.to_owned(),
            other => {
                let detail = format!("{other} is not reached over HTTP");
                return Err(Error::bad_request("micro.transport", detail).with_retry(Retry::Safe));
            }
        };
        let target = Target {
            scheme,
            authority,
            absolute: lane.is_absolute(),
            message_bytes_max: scope.limits.message.bytes_max,
        };
        Ok(Arc::new(Self {
            lane,
            target,
            limits: Arc::clone(&scope.limits),
            tasks: scope.tasks.clone(),
            state: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the state whole, so a poisoned lock is still sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a call.
    fn enter(self: &Arc<Self>) -> Result<Place> {
        let mut state = self.lock();
        if state.draining || self.lane.is_closed() {
            return Err(ended());
        }
        if state.calls >= self.lane.calls_max() {
            let detail = "as many calls run on the connection as it takes";
            return Err(Error::too_many_requests("micro.transport", detail).with_retry(Retry::Safe));
        }
        state.calls += 1;
        drop(state);
        Ok(Place(Arc::clone(self)))
    }

    fn leave(&self) {
        let over = {
            let mut state = self.lock();
            state.calls -= 1;
            state.draining && state.calls == 0
        };
        if over {
            self.lane.close();
        }
        self.changed.notify_waiters();
    }

    /// Takes no more calls: the node cannot be reached, and whoever comes next dials it anew.
    fn retire(&self) {
        self.lock().draining = true;
        self.changed.notify_waiters();
    }

    /// Waits until `found` has an answer.
    async fn until<T>(&self, mut found: impl FnMut() -> Option<T>) -> T {
        // Progress: each change of the state wakes this.
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(found) = found() {
                return found;
            }
            if self.lane.is_closed() {
                changed.await;
            } else {
                tokio::select! {
                    () = changed => {}
                    () = self.lane.closed() => {}
                }
            }
        }
    }
}

/// A call's place, given back on drop.
struct Place(Arc<Link>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.leave();
    }
}

#[cold]
fn ended() -> Error {
    Error::unavailable("micro.transport", "the connection has ended or drains")
        .with_retry(Retry::Safe)
}

impl Connection for Link {
    fn start(
        self: Arc<Self>,
        head: &Head<'_>,
        body: &Bytes,
        source: Option<BoxSource>,
    ) -> Result<Exchange> {
        if head.route.kind() == CallKind::Bidi && !self.lane.is_duplex() {
            let detail = "streams both ways at once need HTTP/2: dial the node as `h2c://`";
            return Err(Error::unimplemented("micro.transport", detail));
        }
        let bytes_max = self.target.message_bytes_max;
        if body.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        let place = self.enter()?;
        let ask = Ask::new(head, body, source, &self.target)?;
        let (window, deadline) = (self.limits.stream.window_bytes, head.deadline);
        let call = |line| run(place, ask, line);
        Ok(Exchange::relayed(&self.tasks, "http call", window, deadline, call))
    }

    fn is_open(&self) -> bool {
        !self.lock().draining && !self.lane.is_closed()
    }

    fn is_full(&self) -> bool {
        self.lock().calls >= self.lane.calls_max()
    }

    fn ready(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.until(|| match self.is_open() {
            false => Some(Err(ended())),
            true => (!self.is_full()).then_some(Ok(())),
        }))
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.until(|| (!self.is_open() && self.lock().calls == 0).then_some(())))
    }

    fn drain(&self) {
        let over = {
            let mut state = self.lock();
            state.draining = true;
            state.calls == 0
        };
        if over {
            self.lane.close();
        }
        self.changed.notify_waiters();
    }

    fn close(&self) {
        self.lock().draining = true;
        self.lane.close();
        self.changed.notify_waiters();
    }
}

/// Runs one call to its end; dropping the future resets it.
async fn run(place: Place, mut ask: Ask, mut line: Line) {
    let link = Arc::clone(&place.0);
    let Some(row) = ask.responses else {
        let answered = unary(&link, ask).await;
        drop(place);
        return line.reply(answered);
    };
    let fault = ask.fault.clone();
    let opened = open(&link, &mut ask).await;
    let checked =
        opened.and_then(|(body, held, parts)| check_row(&parts, row).map(|()| (body, held)));
    let (mut body, held) = match checked {
        Ok(opened) => opened,
        Err(error) => {
            drop(place);
            return line.reply(Err(error));
        }
    };
    line.open();
    let ended = relay(&mut body, (row, link.limits.message.bytes_max), &fault, &mut line).await;
    if ended.is_ok() {
        held.give_back();
    }
    drop(place);
    line.end(ended);
}

/// Sends a call and waits for its one response.
async fn unary(link: &Link, mut ask: Ask) -> Result<Bytes> {
    let (mut body, held, parts) = open(link, &mut ask).await?;
    check_type(&parts, &ask.content_type)?;
    let message = whole(&mut body, link.limits.message.bytes_max, &ask.fault).await?;
    held.give_back();
    Ok(message)
}

/// Sends a call and waits until it is answered by a success.
async fn open(link: &Link, ask: &mut Ask) -> Result<(Incoming, Held, http::response::Parts)> {
    let empty = http::Request::new(crate::transport::http::body::Outflow::Message(Bytes::new()));
    let request = std::mem::replace(&mut ask.request, empty);
    let sent = link.lane.send(request, &ask.fault).await;
    let (response, held) = sent.inspect_err(|error| {
        if error.retry() == Retry::Safe {
            link.retire();
        }
    })?;
    let (parts, mut body) = response.into_parts();
    if parts.status == StatusCode::OK {
        return Ok((body, held, parts));
    }
    let error = failure(&parts, &mut body, &link.limits).await;
    if hyper::body::Body::is_end_stream(&body) {
        held.give_back();
    }
    Err(error)
}
