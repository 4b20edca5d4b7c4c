//! How the transports over HTTP open their connections: as they are, or by TLS.

use std::io;
#[cfg(feature = "tls")]
use std::sync::Arc;
use std::time::Duration;

use crate::core::net::{Address, Stream};
#[cfg(feature = "tls")]
use crate::transport::tls::{Roots, host_of};

/// What HTTP/1.1 and HTTP/2 call themselves when a protocol is agreed on (RFC 7301).
#[allow(dead_code, reason = "no transport speaks both")]
pub(super) const HTTP1: &[u8] = b"http/1.1";
#[allow(dead_code, reason = "no transport speaks both")]
pub(super) const HTTP2: &[u8] = b"h2";

/// How connections are opened; without authorities, as they are.
///
/// With authorities no TCP address is reached without TLS. Unix sockets are, since they do not leave
/// the machine.
#[derive(Clone, Debug, Default)]
pub(super) struct Dialing {
    #[cfg(feature = "tls")]
    roots: Option<Arc<Roots>>,
}

impl Dialing {
    /// Dials by TLS what these authorities vouch for.
    #[cfg(feature = "tls")]
    pub(super) fn trusting(roots: Arc<Roots>) -> Self {
        Self { roots: Some(roots) }
    }

    /// Connects; the caller bounds the time that a handshake takes.
    ///
    /// # Errors
    /// What the operating system says, or why the node is not trusted.
    pub(super) async fn connect(
        &self,
        address: &Address,
        within: Duration,
        protocol: &[u8],
    ) -> io::Result<Stream> {
        let stream = Stream::connect(address, within).await?;
        #[cfg(feature = "tls")]
        if let (Some(roots), Address::Tcp(at)) = (&self.roots, address) {
            return roots.secure(stream, host_of(at), &[protocol]).await;
        }
        let _ = protocol;
        Ok(stream)
    }

    /// Returns what the URLs of a node begin with, `http` or `https`.
    #[cfg(any(feature = "grpc", feature = "http"))]
    pub(super) fn scheme(&self, address: &Address) -> &'static str {
        #[cfg(feature = "tls")]
        if self.roots.is_some() && matches!(address, Address::Tcp(_)) {
            return "https";
        }
        let _ = address;
        "http"
    }
}
