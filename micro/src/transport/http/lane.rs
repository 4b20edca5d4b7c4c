//! How a request gets to a node and its response back.

use std::error::Error as _;
use std::future::Future;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;

use crate::core::error::{Error, Result, Retry};
use crate::core::limits::METADATA_BYTES_MAX;
use crate::core::net::Address;
use crate::core::shutdown::TaskTracker;
use crate::transport::Scope;
use crate::transport::dialing::{Dialing, HTTP2};
use crate::transport::http::body::{Fault, Outflow};
use crate::transport::http::pool::{self, CONNECTIONS_MAX, Pool, Track};

/// How often a request is given another connection because the one it had turned out to be closed
/// before anything was sent: each time for one of those that were kept.
const STALE_MAX: usize = CONNECTIONS_MAX;

/// The connections to one node.
#[derive(Debug)]
pub(super) struct Lane {
    way: Way,
    /// Tells the tasks of the connections to end, and those who wait that they have.
    closed: Arc<watch::Sender<bool>>,
}

#[derive(Debug)]
enum Way {
    One(Arc<Pool>),
    Two {
        sender: SendRequest<Outflow>,
        calls_max: usize,
        /// Ends the connection under the calls that still run on it.
        cut: Arc<watch::Sender<bool>>,
    },
}

/// What a call holds of a connection until its response has been read.
#[derive(Debug)]
pub(super) enum Held {
    One(Arc<Pool>, Track),
    Two,
}

impl Held {
    /// Gives the connection back; a call that does not come to its end closes it.
    pub(super) fn give_back(self) {
        if let Self::One(pool, track) = self {
            pool.give(track);
        }
    }
}

impl Lane {
    /// Reaches a node over HTTP/1.1.
    pub(super) async fn one(address: &Address, scope: &Scope, dialing: &Dialing) -> Result<Self> {
        let (sender, closed) = watch::channel(false);
        let pool = Pool::dial(address, scope, dialing, closed).await?;
        Ok(Self { way: Way::One(pool), closed: Arc::new(sender) })
    }

    /// Reaches a node over HTTP/2.
    pub(super) async fn two(address: &Address, scope: &Scope, dialing: &Dialing) -> Result<Self> {
        let stream = pool::connect(address, scope, dialing, HTTP2).await?;
        let limits = &scope.limits;
        let saturated = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let cut = Arc::new(watch::Sender::new(false));
        let owner = Owner { tasks: scope.tasks.clone(), cut: cut.subscribe() };
        let mut builder = http2::Builder::new(owner);
        builder
            .timer(TokioTimer::new())
            .max_header_list_size(saturated(METADATA_BYTES_MAX))
            .max_frame_size(saturated(limits.message.http2_frame_bytes_max))
            .initial_stream_window_size(saturated(limits.stream.window_bytes))
            .initial_connection_window_size(saturated(limits.connection.outbound_bytes_max))
            .keep_alive_interval(limits.connection.keepalive_interval)
            .keep_alive_timeout(limits.connection.keepalive_timeout);
        let unmade = |e| pool::unreached(address, &format!("{e}"));
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(unmade)?;
        let closed = Arc::new(watch::Sender::new(false));
        let (told, shutdown) = (Arc::clone(&closed), scope.shutdown.clone());
        let (cutter, mut cut_off) = (Arc::clone(&cut), cut.subscribe());
        let task = async move {
            let taking = async {
                // What went wrong concerns the calls on it, which are told.
                let _ended = connection.await;
                // After the goodbye of the node, the calls that run there come to their end.
                told.send_replace(true);
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = taking => {}
                _cut = cut_off.wait_for(|cut| *cut) => {}
                () = shutdown.closed() => {}
            }
            told.send_replace(true);
            cutter.send_replace(true);
        };
        scope.tasks.spawn("http connection", task).detach();
        let calls_max = limits.stream.http2_max;
        Ok(Self { way: Way::Two { sender, calls_max, cut }, closed })
    }

    /// Returns whether requests name the node in their target.
    pub(super) fn is_absolute(&self) -> bool {
        matches!(self.way, Way::Two { .. })
    }

    /// Returns whether a call can have a stream each way at once.
    pub(super) fn is_duplex(&self) -> bool {
        matches!(self.way, Way::Two { .. })
    }

    /// Returns how many calls may run at a time.
    pub(super) fn calls_max(&self) -> usize {
        match &self.way {
            Way::One(_) => CONNECTIONS_MAX,
            Way::Two { calls_max, .. } => *calls_max,
        }
    }

    /// Returns whether the way to the node has ended.
    pub(super) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Waits until the way to the node has ended.
    pub(super) async fn closed(&self) {
        let mut closed = self.closed.subscribe();
        // The sender lives as long as `self`.
        let _closed = closed.wait_for(|closed| *closed).await;
    }

    /// Ends every connection; calls on them fail.
    pub(super) fn close(&self) {
        self.closed.send_replace(true);
        match &self.way {
            Way::One(pool) => pool.clear(),
            Way::Two { cut, .. } => drop(cut.send_replace(true)),
        }
    }

    /// Sends a request and waits for the head of its response. Dropping the future resets the call.
    ///
    /// # Errors
    /// `Retry::Safe` when nothing was sent; a 503 that may have run when the connection broke.
    pub(super) async fn send(
        &self,
        request: Request<Outflow>,
        fault: &Fault,
    ) -> Result<(Response<Incoming>, Held)> {
        match &self.way {
            Way::One(pool) => self.send_one(pool, request, fault).await,
            Way::Two { sender, .. } => {
                let mut sender = sender.clone();
                sender.ready().await.map_err(|e| unsent(&e))?;
                match sender.try_send_request(request).await {
                    Ok(response) => Ok((response, Held::Two)),
                    Err(mut failed) => match failed.take_message() {
                        Some(_) => Err(unsent(failed.error())),
                        None if is_refused(failed.error()) => Err(unsent(failed.error())),
                        None => Err(broken(fault, failed.into_error())),
                    },
                }
            }
        }
    }

    async fn send_one(
        &self,
        pool: &Arc<Pool>,
        mut request: Request<Outflow>,
        fault: &Fault,
    ) -> Result<(Response<Incoming>, Held)> {
        for _ in 0..STALE_MAX {
            let (mut track, used) = pool.take().await?;
            let mut failed = match track.sender.try_send_request(request).await {
                Ok(response) => return Ok((response, Held::One(Arc::clone(pool), track))),
                Err(failed) => failed,
            };
            match failed.take_message() {
                // The node had closed it while nobody used it.
                Some(again) if used => request = again,
                Some(_) => return Err(unsent(failed.error())),
                None => return Err(broken(fault, failed.into_error())),
            }
        }
        Err(Error::unavailable("micro.transport", "no connection took the request")
            .with_retry(Retry::Safe))
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.close();
    }
}

#[cold]
fn unsent(error: &hyper::Error) -> Error {
    let detail = format!("the connection ended before the request was sent: {error}");
    Error::unavailable("micro.transport", detail).with_retry(Retry::Safe)
}

/// Returns whether a node says of a request that it did not run: it refused the stream, or said
/// goodbye before the stream had begun there (RFC 9113, 6.8 and 8.7).
fn is_refused(error: &hyper::Error) -> bool {
    let found = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    found.filter(|error| error.is_remote()).is_some_and(|error| match error.reason() {
        Some(h2::Reason::REFUSED_STREAM) => error.is_reset(),
        Some(h2::Reason::NO_ERROR) => error.is_go_away(),
        _ => false,
    })
}

/// Makes the error of a call whose connection broke, or of its stream of requests if that failed.
#[cold]
pub(super) fn broken(fault: &Fault, error: hyper::Error) -> Error {
    fault.take().unwrap_or_else(|| {
        let detail = format!("the connection broke: {error}");
        Error::unavailable("micro.transport", detail).with_retry(Retry::Unknown).with_source(error)
    })
}

/// Gives the tasks of an HTTP/2 connection to the owner of all tasks, and ends them with it: the
/// one that drives the connection would otherwise go on until the last of its calls is answered.
#[derive(Clone, Debug)]
struct Owner {
    tasks: TaskTracker,
    cut: watch::Receiver<bool>,
}

impl<F> hyper::rt::Executor<F> for Owner
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        let mut cut = self.cut.clone();
        let until_cut = async move {
            tokio::select! {
                _done = future => {}
                _cut = cut.wait_for(|cut| *cut) => {}
            }
        };
        self.tasks.spawn("http stream", until_cut).detach();
    }
}
