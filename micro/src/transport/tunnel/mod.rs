//! Sessions of the native protocol over messages on a bus.
//!
//! A bus carries messages to names. A listener has an inbox at a name that others know, and each end
//! of a session an inbox at a name of its own, `micro.session.` and 32 hexadecimal digits, that only
//! its peer is told. What a session carries are the bytes that a TCP connection would carry: calls,
//! streams, credit, resets, deadlines, drains and pings are those of the native transport. `WIRE.md`
//! specifies the messages under "Over a bus".
//!
//! The bus may lose a message or carry it twice. Either breaks the session that misses it, soon,
//! since beats follow whatever was said; calls that were on the way may have run.
//!
//! Whoever may speak on the bus can read what it carries and write to any name that they know: the
//! bus has to say who may. What a session is sent is checked as any peer's bytes are.

mod dial;
mod listen;
mod message;
mod session;
mod socket;
#[cfg(test)]
mod tests;
mod window;

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{Connection, Dispatch};
use crate::core::future::BoxFuture;
use crate::core::net::Address;
use crate::driver::Server;
use crate::transport::Scope;

#[cfg(any(feature = "nats", test))]
pub(super) use self::dial::is_heard;
#[cfg(feature = "nats")]
pub(super) use self::message::End;

/// The id of the errors of this part.
pub(super) const ERROR_ID: &str = "micro.transport";

/// Bytes of the name of a listener: 128, which every bus takes.
const NAME_BYTES_MAX: usize = 128;

/// How long whoever opens an inbox waits for the bus: a process that is just starting.
#[cfg(any(feature = "nats", feature = "rabbitmq"))]
pub(super) const BUS_WITHIN: std::time::Duration = std::time::Duration::from_millis(500);

/// What the names of nodes begin with that were given none.
const NODES: &str = "micro.node.";

/// Carries messages to names; each is carried once or lost, in the order in which one inbox sent
/// them to another.
pub(super) trait Bus: fmt::Debug + Send + Sync + 'static {
    /// Returns the scheme of addresses on the bus.
    fn name(&self) -> &'static str;

    /// Opens an inbox at a name.
    ///
    /// # Errors
    /// 409 when somebody else has the name that is claimed; others when the bus is away. Bounded.
    fn open<'a>(&'a self, name: &'a str, claim: Claim) -> BoxFuture<'a, Result<Box<dyn Inbox>>>;
}

/// Whether somebody else may have a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// Nobody: it was just made up.
    Fresh,
    /// It is to be refused if so.
    Sole,
}

/// A place at which messages arrive, and from which messages are sent; closed when it is dropped.
pub(super) trait Inbox: fmt::Debug + Send {
    /// Returns the length of the longest message, in bytes.
    fn message_bytes_max(&self) -> usize;

    /// Sends a message.
    ///
    /// # Errors
    /// When the bus is away. Dropping the future may have sent the message.
    fn send<'a>(&'a mut self, to: &'a str, message: Bytes, care: Care)
    -> BoxFuture<'a, Result<()>>;

    /// Polls for what arrives.
    ///
    /// After an error nothing arrives any more: what was sent may be lost.
    fn poll_next(&mut self, task: &mut Context<'_>) -> Poll<Result<Arrival>>;
}

/// What is to become of a message that nobody takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    /// It is lost.
    Lost,
    /// Its sender is told by [`Arrival::Returned`].
    Returned,
}

/// What arrives at an inbox.
#[derive(Debug)]
pub(super) enum Arrival {
    /// A message.
    Message(Bytes),
    /// Nobody has the name that a message was sent to.
    Returned,
}

/// The native transport over a bus.
#[derive(Clone, Debug)]
pub(super) struct Tunnel {
    bus: Arc<dyn Bus>,
    /// Where peers are, where all of them are said to be on this machine.
    nearby: Option<Arc<str>>,
}

impl Tunnel {
    /// Makes the transport over a bus. Its peers are those of another host, since the address of a
    /// server does not say who else reaches it.
    pub(super) fn new(bus: Arc<dyn Bus>) -> Self {
        Self { bus, nearby: None }
    }

    /// Takes every peer for one on this machine, if the server is on loopback.
    ///
    /// # Errors
    /// 412 when the server is elsewhere.
    pub(super) fn within_this_machine(self, server: &Server) -> Result<Self> {
        let nearby = nearby(server).ok_or_else(|| {
            let detail = format!("not all on the server {server} are on this machine");
            Error::precondition_failed(ERROR_ID, detail)
        })?;
        Ok(Self { nearby: Some(nearby), ..self })
    }

    pub(super) fn name(&self) -> &'static str {
        self.bus.name()
    }

    /// Makes an address up.
    pub(super) fn own_address(&self) -> Address {
        let rest = format!("{NODES}{:032x}", fastrand::u128(..));
        Address::Scheme { scheme: self.name().to_owned(), rest }
    }

    pub(super) async fn dial(
        &self,
        address: &Address,
        scope: &Scope,
    ) -> Result<Arc<dyn Connection>> {
        let name = self.name_of(address).map_err(|error| error.with_retry(Retry::Safe))?;
        dial::dial(self.bus.as_ref(), name, address, scope).await
    }

    pub(super) async fn listen(
        &self,
        address: &Address,
        dispatch: Arc<dyn Dispatch>,
        scope: &Scope,
    ) -> Result<Address> {
        let name = self.name_of(address)?.to_owned();
        let (bus, nearby) = (Arc::clone(&self.bus), self.nearby.clone());
        listen::Host { bus, nearby, name, dispatch, scope: scope.clone() }.listen().await?;
        Ok(address.clone())
    }

    /// Returns the name on the bus that an address says.
    fn name_of<'a>(&self, address: &'a Address) -> Result<&'a str> {
        let own = self.name();
        if let Address::Scheme { scheme, rest } = address
            && scheme == own
            && is_name(rest)
        {
            return Ok(rest);
        }
        let detail = format!(
            "cannot reach {address} by {own}: write `{own}://` and a name of letters, digits, `-`, \
             `_` and dots between them"
        );
        Err(Error::unavailable(ERROR_ID, detail))
    }
}

/// Tells whether every bus takes a name, without a meaning of its own for any part of it.
fn is_name(text: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
    text.len() <= NAME_BYTES_MAX
        && text.split('.').all(|part| !part.is_empty() && part.bytes().all(plain))
}

/// Returns where the peers on a bus are, if that is this machine alone.
fn nearby(server: &Server) -> Option<Arc<str>> {
    let loopback = |host: &str| {
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    };
    if !server.hosts().iter().all(|(host, _)| loopback(host)) {
        return None;
    }
    let (host, port) = server.hosts().first()?;
    let ip = host.parse().unwrap_or(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
    Some(std::net::SocketAddr::new(ip, *port).to_string().into())
}
