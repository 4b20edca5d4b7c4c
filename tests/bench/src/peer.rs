//! What a contender implements: a server that announces its address, and callers.

use std::future::Future;
use std::io::Write as _;
use std::net::SocketAddr;

use crate::cell::Shape;
use crate::message::Message;
use crate::outcome::Outcome;

/// A contender: a server and its client, both with default limits.
pub(crate) trait Peer: 'static {
    /// Makes one call after the other.
    type Caller: Caller;

    /// Listens on a free loopback port, announces it, and echoes until dropped.
    fn serve(announce: Announce) -> impl Future<Output = Outcome<()>>;

    /// One caller per call in flight, spread evenly over the connections.
    fn connect(
        address: SocketAddr,
        shape: Shape,
    ) -> impl Future<Output = Outcome<Vec<Self::Caller>>>;

    /// Receives a server stream of `count` small messages and checks their ids; only asked of
    /// contenders that [`Contender::runs`](crate::contender::Contender::runs) lets stream.
    fn stream(_address: SocketAddr, _count: u64) -> impl Future<Output = Outcome<()>> {
        async { Err("this contender has no server stream".into()) }
    }
}

/// One call at a time; as many callers as calls in flight, each on its own task.
pub(crate) trait Caller: Send + 'static {
    /// Sends the message and returns the echo.
    fn call(&mut self, message: Message) -> impl Future<Output = Outcome<Message>> + Send;
}

/// Tells the orchestrator where the server listens.
#[derive(Debug)]
pub(crate) struct Announce(());

impl Announce {
    /// Only the server role makes one.
    pub(crate) fn new() -> Self {
        Self(())
    }

    /// Prints the address on standard output.
    pub(crate) fn listening(self, address: SocketAddr) -> Outcome<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{address}")?;
        Ok(out.flush()?)
    }
}
