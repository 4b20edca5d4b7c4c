//! A node of go-micro's as the client sees it: one connection that is many.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{Connection, Exchange, Head};
use crate::core::future::BoxFuture;
use crate::core::net::{Address, Stream};
use crate::core::stream::BoxSource;
use crate::transport::Scope;
use crate::transport::dialing::HTTP1;
use crate::transport::mucp::pool::{Lane, Pool};
use crate::transport::mucp::request::{self, Request};
use crate::transport::mucp::{CONNECTIONS_MAX, ID, Mucp, stream, too_large, unary};

/// How often idle connections are looked after.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// Whether a node takes calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Open,
    /// Running calls end, then it is closed.
    Draining,
    Closed,
}

/// All connections to one address.
pub(super) struct Node {
    transport: Mucp,
    address: Address,
    pub(super) scope: Scope,
    pub(super) pool: Pool,
    permits: Arc<Semaphore>,
    state: watch::Sender<State>,
}

impl Node {
    /// Connects once, to learn whether the node can be reached.
    pub(super) async fn dial(
        transport: &Mucp,
        address: &Address,
        scope: &Scope,
    ) -> Result<Arc<Self>> {
        let node = Arc::new(Self {
            transport: transport.clone(),
            address: address.clone(),
            scope: scope.clone(),
            pool: Pool::new(scope.limits.connection.client_idle_timeout),
            permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            state: watch::Sender::new(State::Open),
        });
        let first = node.connect().await?;
        node.pool.put(Lane::new(first).await?);
        let kept = Arc::downgrade(&node);
        let mut state = node.state.subscribe();
        let shutdown = scope.shutdown.clone();
        scope.tasks.spawn("mucp pool", async move {
            // Progress: each turn takes its time, up to the end of the node.
            loop {
                let over = tokio::select! {
                    biased;
                    _closed = state.wait_for(|state| *state == State::Closed) => return,
                    () = shutdown.closed() => true,
                    () = clock::sleep(SWEEP_INTERVAL) => false,
                };
                let Some(node) = kept.upgrade() else { return };
                if over {
                    return node.set(State::Closed);
                }
                node.pool.sweep();
            }
        });
        Ok(node)
    }

    /// Makes a connection of its own.
    ///
    /// # Errors
    /// `Retry::Safe`; the node takes no more calls then, so that it is dialed again.
    pub(super) async fn connect(&self) -> Result<Stream> {
        let within = self.scope.limits.connection.dial_timeout;
        let connecting = self.transport.dialing.connect(&self.address, within, HTTP1);
        let stream = clock::timeout(within, connecting).await;
        let address = &self.address;
        let unreachable = |why: &dyn fmt::Display| {
            self.set(State::Draining);
            Error::unavailable(ID, format!("cannot reach {address}: {why}")).with_retry(Retry::Safe)
        };
        match stream {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(unreachable(&error).with_source(error)),
            Err(_elapsed) => Err(unreachable(&format_args!("no answer within {within:?}"))),
        }
    }

    /// Returns a connection for one call.
    pub(super) async fn lane(&self) -> Result<Lane> {
        match self.pool.take().await {
            Some(lane) => Ok(lane),
            None => Lane::new(self.connect().await?).await,
        }
    }

    /// Returns what a request names as its host.
    pub(super) fn host(&self) -> String {
        match &self.address {
            Address::Tcp(host) => host.clone(),
            // As curl names the host behind a Unix socket.
            _ => "localhost".to_owned(),
        }
    }

    /// Waits until the node is closed.
    pub(super) async fn cut(&self) {
        let mut state = self.state.subscribe();
        // The sender is this node's own.
        let _closed = state.wait_for(|state| *state == State::Closed).await;
    }

    fn set(&self, to: State) {
        self.state.send_if_modified(|state| {
            let further = *state < to;
            *state = (*state).max(to);
            further
        });
        if to == State::Closed {
            self.pool.clear();
        }
    }

    fn is(&self, state: State) -> bool {
        *self.state.borrow() == state
    }

    /// Closes a node that drains, once no call runs.
    fn settle(&self) {
        if self.is(State::Draining) && self.permits.available_permits() == CONNECTIONS_MAX {
            self.set(State::Closed);
        }
    }
}

/// A call's right to a connection.
pub(super) struct Turn {
    permit: Option<OwnedSemaphorePermit>,
    node: Arc<Node>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop(self.permit.take());
        self.node.settle();
    }
}

impl Connection for Node {
    fn start(
        self: Arc<Self>,
        head: &Head<'_>,
        body: &Bytes,
        source: Option<BoxSource>,
    ) -> Result<Exchange> {
        if !self.is_open() {
            return Err(refused("the connection is closed"));
        }
        let bytes_max = self.scope.limits.message.bytes_max;
        if body.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        let permit = permit.map_err(|error| {
            refused(&format!("{CONNECTIONS_MAX} calls run on the node")).with_source(error)
        })?;
        let turn = Turn { permit: Some(permit), node: Arc::clone(&self) };
        let form = request::form(self.transport.envelope, &head.content_type);
        let request = Request::new(head, form, self.transport.number());
        let body = request.seal(body)?;
        let window = self.scope.limits.stream.window_bytes;
        let (kind, deadline) = (head.route.kind(), head.deadline);
        let tasks = self.scope.tasks.clone();
        if request::is_stream(kind) {
            let call = stream::Call { request, body, source, kind };
            return Ok(Exchange::relayed(
                &tasks,
                "mucp stream",
                window,
                deadline,
                |line| async move {
                    let _turn = turn;
                    stream::run(&self, call, line).await;
                },
            ));
        }
        Ok(Exchange::relayed(&tasks, "mucp call", window, deadline, |line| async move {
            let _turn = turn;
            line.reply(unary::call(&self, &request, body).await);
        }))
    }

    fn is_open(&self) -> bool {
        self.is(State::Open)
    }

    fn is_full(&self) -> bool {
        self.permits.available_permits() == 0
    }

    fn ready(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            tokio::select! {
                biased;
                () = self.left() => Err(refused("the connection is closed")),
                // Taken only to be given back: whoever comes first starts a call.
                permit = self.permits.acquire() => {
                    permit.map(drop).map_err(|error| refused("it is closed").with_source(error))
                }
            }
        })
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.cut())
    }

    fn drain(&self) {
        self.set(State::Draining);
        self.pool.clear();
        self.settle();
    }

    fn close(&self) {
        self.set(State::Closed);
    }
}

impl Node {
    /// Waits until no call can be started.
    async fn left(&self) {
        let mut state = self.state.subscribe();
        // The sender is this node's own.
        let _left = state.wait_for(|state| *state != State::Open).await;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.set(State::Closed);
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Node");
        out.field("address", &self.address).field("state", &*self.state.borrow());
        out.field("pool", &self.pool).finish_non_exhaustive()
    }
}

fn refused(why: &str) -> Error {
    Error::unavailable(ID, why.to_owned()).with_retry(Retry::Safe)
}
