//! Calls over HTTP: to a micro service by its own HTTP face, or to whatever answers as one does.
//!
//! A call is `POST /{service}/{Type.Method}` with the message as its body. Streams go as one JSON
//! value a line, or as MessagePack values in a row; other formats have unary calls only. What else
//! a call carries are headers: `timeout` (nanoseconds), `traceparent`, `baggage` (persistent
//! metadata), credentials, and each entry of metadata under its own name.
//!
//! **HTTP/1.1** keeps connections alive, each with one call at a time, and has no streams both ways
//! at once. **HTTP/2**, by prior knowledge or as agreed on by TLS, has one connection with many calls, and
//! every kind of them.
//!
//! **Failures.** An answer with `micro-retry: safe`, and a request that provably did not leave, are
//! safe to retry; a connection that breaks after that leaves open whether the call ran. Giving a
//! call up resets its stream, or its connection where that has no streams: a node whose handler does
//! not read learns of it, too. A message beyond the limit of the caller is a 413 before it is sent.
//!
//! The blanks around the value of an entry of metadata are HTTP/1.1's, and lost.
//!
//! Calls only: the port of a server answers HTTP by itself.

mod answer;
mod ask;
mod body;
mod lane;
mod link;
mod pool;

use std::sync::Arc;

use crate::core::error::{Error, Result};
use crate::core::exchange::{Connection, Dispatch};
use crate::core::future::BoxFuture;
use crate::core::net::Address;
use crate::transport::dialing::Dialing;
use crate::transport::http::lane::Lane;
use crate::transport::http::link::Link;
#[cfg(feature = "tls")]
use crate::transport::tls::Roots;
use crate::transport::{Scope, Transport};

/// Calls nodes over HTTP/1.1, or over HTTP/2 by prior knowledge.
///
/// ```
/// use std::sync::Arc;
///
/// use micro::client::Client;
/// use micro::transport::{Http, Native, Schemes};
///
/// let transport = Schemes::over(Arc::new(Native))
///     .with("http", Arc::new(Http::new()))
///     .with("h2c", Arc::new(Http::h2c()));
/// let client = Client::builder().transport(Arc::new(transport)).build();
/// # drop(client);
/// ```
#[derive(Clone, Debug)]
pub struct Http {
    version: Version,
    dialing: Dialing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Default for Http {
    fn default() -> Self {
        Self::new()
    }
}

impl Http {
    /// Speaks HTTP/1.1.
    pub fn new() -> Self {
        Self { version: Version::One, dialing: Dialing::default() }
    }

    /// Speaks HTTP/2, which the node has to know.
    pub fn h2c() -> Self {
        Self { version: Version::Two, dialing: Dialing::default() }
    }

    /// Calls by TLS, over TCP, only nodes that authorities in a file vouch for.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn trusting(mut self, roots: Arc<Roots>) -> Self {
        self.dialing = Dialing::trusting(roots);
        self
    }
}

impl Transport for Http {
    fn name(&self) -> &'static str {
        match self.version {
            Version::One => "http",
            Version::Two => "h2c",
        }
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
            let lane = match self.version {
                Version::One => Lane::one(address, scope, &self.dialing).await?,
                Version::Two => Lane::two(address, scope, &self.dialing).await?,
            };
            let link: Arc<dyn Connection> =
                Link::new(lane, self.dialing.scheme(address), address, scope)?;
            Ok(link)
        })
    }

    fn listen<'a>(
        &'a self,
        _: &'a Address,
        _: Arc<dyn Dispatch>,
        _: &'a Scope,
    ) -> BoxFuture<'a, Result<Address>> {
        let name = self.name();
        let detail = format!("the transport `{name}` calls only; serve on the port of a server");
        Box::pin(std::future::ready(Err(Error::unimplemented("micro.transport", detail))))
    }
}
