//! Protocols that this crate does not know, on the one port.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::core::clock;
use crate::core::error::{Error, Result};
use crate::core::exchange::{Dispatch, Inbound, Outgoing, Running, Target};
use crate::core::future::BoxFuture;
use crate::core::net::Prefixed;
use crate::core::stream::{BoxSource, MessageSource};
use crate::server::http::{Paced, Watch, drive};
use crate::server::roster::{Busy, Seat};
use crate::server::router::Door;
use crate::transport::Scope;

/// How many first bytes of a connection a [`Protocol`] is shown at most.
///
/// Enough for every preface there is; a peer cannot have more kept before it is known what it
/// speaks.
pub const FIRST_BYTES_MAX: usize = 64;

/// A protocol that is served on the one port beside those that this crate knows.
///
/// Its connections are ordinary ones: they are counted, their limits on number, time and age hold,
/// they are closed first where they are idle and the port is full, and a stop waits for their
/// calls. What they call meets the policy, the limits and the layers of every other call.
///
/// A client of it speaks first, and by bytes with which neither TLS, nor the native transport, nor
/// a request of HTTP begins: upper case letters and a space are taken for HTTP. Inside of TLS it is
/// recognised in the same way, where the client agrees on no protocol in the handshake.
///
/// ```
/// use std::sync::Arc;
///
/// use micro::core::exchange::Dispatch;
/// use micro::core::future::BoxFuture;
/// use micro::server::{Accepted, Protocol, Recognised};
/// use tokio::io::AsyncWriteExt;
///
/// /// Greets whoever begins by a tilde.
/// #[derive(Debug)]
/// struct Greeting;
///
/// impl Protocol for Greeting {
///     fn name(&self) -> &'static str {
///         "greeting"
///     }
///
///     fn recognise(&self, first: &[u8]) -> Recognised {
///         if first.starts_with(b"~") { Recognised::Yes } else { Recognised::No }
///     }
///
///     fn serve(self: Arc<Self>, at: Accepted, _: Arc<dyn Dispatch>) -> BoxFuture<'static, ()> {
///         let mut stream = at.stream;
///         Box::pin(async move { drop(stream.write_all(b"hello\n").await) })
///     }
/// }
///
/// let service = micro::Service::new("shop").protocol(Greeting);
/// # drop(service);
/// ```
pub trait Protocol: fmt::Debug + Send + Sync + 'static {
    /// Returns the short name, for logs.
    fn name(&self) -> &'static str;

    /// Tells whether the first bytes of a connection are of this protocol.
    ///
    /// Asked with at least one byte and at most [`FIRST_BYTES_MAX`], each time with the earlier
    /// ones in front, once no protocol of this crate can begin like that; the first that says yes
    /// gets the connection. Never blocks.
    fn recognise(&self, first: &[u8]) -> Recognised;

    /// Serves a connection to its end.
    ///
    /// Where the lifecycle in the scope of `accepted` drains, it takes no more calls, lets those
    /// that run finish, and returns; it is dropped where it does not in time, and whenever the
    /// connection breaks a limit. Tasks that it needs belong to the owner in that scope.
    ///
    /// A call that `dispatch` begins ends by its deadline by itself.
    fn serve(
        self: Arc<Self>,
        accepted: Accepted,
        dispatch: Arc<dyn Dispatch>,
    ) -> BoxFuture<'static, ()>;
}

/// Whether first bytes are those of a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no fourth answer")]
pub enum Recognised {
    /// They are.
    Yes,
    /// They are not, whatever follows.
    No,
    /// More of them have to be seen.
    NeedMore,
}

/// A connection as a [`Protocol`] gets it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Accepted {
    /// What the peer sends, from its first byte, and where answers go.
    pub stream: Wire,
    /// Where the peer is, as calls carry it.
    pub remote: Arc<str>,
    /// The limits, the owner of tasks, and the lifecycle of this connection.
    pub scope: Scope,
    /// What tells the port how the connection is used.
    pub pulse: Pulse,
}

/// The stream of an [`Accepted`] connection.
///
/// A write that makes no progress within the write timeout of the limits fails.
#[derive(Debug)]
pub struct Wire(Paced);

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(task, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(task)
    }
}

/// Tells the port how a connection is used; clones are of one connection.
///
/// Bytes that come while no call runs have to become a call within the header read timeout of the
/// limits, the first ones within the handshake timeout, so that nobody holds a connection by a
/// message that never ends.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<Seat>);

impl Pulse {
    /// States that what was read so far is complete, and was no call: a greeting or a ping.
    pub fn settled(&self) {
        drop(self.0.begin());
    }
}

/// Serves a connection by a protocol, within the limits of the port.
pub(super) async fn serve(
    protocol: Arc<dyn Protocol>,
    (stream, remote): (Prefixed, Arc<str>),
    door: Door,
    scope: Scope,
) {
    let seat = Arc::clone(&door.seat);
    let limits = Arc::clone(&scope.limits);
    let lifecycle = scope.shutdown.clone();
    let accepted = Accepted {
        stream: Wire(Paced::new(stream, Arc::clone(&seat), limits.connection.write_timeout)),
        remote,
        scope,
        pulse: Pulse(Arc::clone(&seat)),
    };
    let counted: Arc<dyn Dispatch> = Arc::new(Counted { door });
    let mut serving = protocol.serve(accepted, counted);
    let watch = Watch::new(&limits.connection, Some(seat.since));
    let leave = |_: Pin<&mut BoxFuture<'static, ()>>| {
        lifecycle.drain();
    };
    drive(&mut serving, leave, &seat, watch).await;
    lifecycle.close();
}

/// Dispatches for one connection and counts what it does there.
#[derive(Debug)]
struct Counted {
    door: Door,
}

impl Dispatch for Counted {
    fn resolve(&self, service: &str, endpoint: &str) -> Result<Target> {
        // Who asks for an endpoint has sent a whole head, even of a call that there is not.
        drop(self.door.seat.begin());
        self.door.resolve(service, endpoint)
    }

    fn dispatch(&self, call: Inbound) -> Result<Running> {
        let busy = self.door.seat.begin();
        let running = self.door.dispatch(call)?;
        let context = running.context();
        Ok(Running::new(context, Box::pin(bounded(running, busy))))
    }
}

/// Runs a call until its deadline, and counts its connection as used until its stream has ended.
async fn bounded(running: Running, busy: Busy) -> Result<Outgoing> {
    let context = running.context();
    let outcome = match context.deadline() {
        None => running.await,
        Some(deadline) => clock::timeout_at(deadline, running).await.unwrap_or_else(|_elapsed| {
            let id = context.service().unwrap_or("micro.server").to_owned();
            Err(Error::timeout(id, "the deadline passed while the handler ran"))
        }),
    };
    match outcome? {
        Outgoing::Stream(source) => {
            Ok(Outgoing::Stream(Box::pin(Occupying { source, _busy: busy })))
        }
        message => Ok(message),
    }
}

/// A stream of responses whose connection is in use.
struct Occupying {
    source: BoxSource,
    _busy: Busy,
}

impl MessageSource for Occupying {
    fn poll_encode(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<Option<Result<()>>> {
        self.source.as_mut().poll_encode(task, out)
    }
}
