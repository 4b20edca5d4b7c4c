//! go-micro's HTTP transport: calls to services written with it.
//!
//! A call is one `POST /` over HTTP/1.1 whose headers name the endpoint; success and failure are
//! headers too. A connection carries one call at a time and never a second request before the
//! answer: go-micro answers those in any order, or drops them. Calls at the same time share a
//! bounded pool of connections. A stream has a connection of its own on which each message, either
//! way, is an HTTP message, ended by one whose error is `EOS`.
//!
//! # Failure behaviour
//!
//! A connection is closed after an error, and when the caller gives up; go-micro's handler runs on
//! until the time that the request allows. A call that was never written is safe to repeat; one
//! whose connection broke off may have run. A stream begins with its request, so that a refusal is
//! the end of the stream.
//!
//! # Configuration
//!
//! Messages travel in the format of the client: JSON, Protocol Buffers and bytes are what go-micro
//! knows by itself. [`Mucp::in_envelope`] puts them into one of its envelopes.
//!
//! # Limits
//!
//! [`CONNECTIONS_MAX`] calls to one node run at a time; a message and its envelope within
//! `message.bytes_max` and 64 KiB; a head within 64 KiB and 128 headers, in
//! `connection.header_read_timeout`.
//!
//! # Not supported
//!
//! TLS, HTTP/2 (go-micro loses calls on it) and listening: a server answers this on its one port.
//! Errors name no pause before a repetition, the blanks around a value of metadata are lost, and an
//! endpoint that one service of a node has is found under the name of any.

mod connection;
mod fragile;
pub(crate) mod headers;
pub(crate) mod message;
mod pool;
mod request;
pub(crate) mod response;
mod stream;
#[cfg(test)]
pub(crate) mod tests;
mod unary;
pub(crate) mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::codec::envelope::Envelope;
use crate::core::error::{Error, Result};
use crate::core::exchange::{Connection, Dispatch};
use crate::core::future::BoxFuture;
use crate::core::net::Address;
use crate::transport::dialing::Dialing;
use crate::transport::mucp::connection::Node;
#[cfg(feature = "tls")]
use crate::transport::tls::Roots;
use crate::transport::{Scope, Transport};

/// What errors of the transport name.
pub(crate) const ID: &str = "micro.mucp";

/// Bytes that an envelope may add to a message.
const ENVELOPE_BYTES_MAX: usize = 64 * 1024;

/// Calls that run on one node at a time, each on a connection of its own: 100, as go-micro keeps.
pub const CONNECTIONS_MAX: usize = 100;

/// Dials services of go-micro; see the [module](self) for what that means.
///
/// ```
/// use micro::codec::envelope::Envelope;
/// use micro::transport::{Mucp, Transport};
///
/// let transport = Mucp::new().in_envelope(Envelope::JsonRpc);
/// assert_eq!(transport.name(), "mucp");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Mucp {
    envelope: Envelope,
    dialing: Dialing,
    /// The number of the next call: one sequence for a process, as go-micro counts.
    numbers: Arc<AtomicU64>,
}

impl Mucp {
    /// Makes a transport that sends messages bare.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts messages into an envelope, where it has a name for their encoding; others go bare.
    #[must_use]
    pub fn in_envelope(mut self, envelope: Envelope) -> Self {
        self.envelope = envelope;
        self
    }

    /// Calls by TLS, over TCP, only nodes that authorities in a file vouch for.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn trusting(mut self, roots: Arc<Roots>) -> Self {
        self.dialing = Dialing::trusting(roots);
        self
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }
}

fn too_large(max: usize) -> Error {
    Error::too_large(ID, format!("a message may have {max} bytes, this one has more"))
}

impl Transport for Mucp {
    fn name(&self) -> &'static str {
        "mucp"
    }

    fn has_listener(&self) -> bool {
        false
    }

    fn dial<'a>(
        &'a self,
        address: &'a Address,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>>> {
        Box::pin(async move {
            let node: Arc<dyn Connection> = Node::dial(self, address, scope).await?;
            Ok(node)
        })
    }

    fn listen<'a>(
        &'a self,
        _: &'a Address,
        _: Arc<dyn Dispatch>,
        _: &'a Scope,
    ) -> BoxFuture<'a, Result<Address>> {
        let detail = "calls of go-micro are served on the port of a server, not by the transport";
        Box::pin(std::future::ready(Err(Error::unimplemented(ID, detail))))
    }
}
