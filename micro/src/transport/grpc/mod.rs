//! gRPC as a way to call: servers of any framework and language that speak it.
//!
//! A call of the endpoint `Type.Method` of a service goes to `/{service}.{Type}/{Method}`, as
//! go-micro names it. What is a package to a foreign server is the service here: the method
//! `/shop.v1.Orders/Read` is the endpoint `Orders.Read` of the service `shop.v1`, and one without a
//! package, `/Orders/Read`, that of a service whose name is empty. An endpoint that begins with `/`
//! is a path of its own.
//!
//! The format of the client is the content type: `Format::Proto` is plain `application/grpc`, JSON
//! `application/grpc+json`, and so on. Metadata and credentials travel as headers, metadata that
//! travels on as `baggage`, the place in the trace as `traceparent`. A name that ends in `-bin` has a
//! value of Base64.
//!
//! A call of one response sends the time it has left (`grpc-timeout`, and go-micro's `timeout`). A
//! stream of responses has none once it has begun, so that its deadline stays with the caller. Streams
//! both ways are open as soon as they are sent, since a server may keep silent until it has been asked
//! something: a refusal is the first that such a stream brings.

mod baggage;
mod call;
mod connection;
mod cut;
mod fault;
mod request;
mod requests;
mod responses;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::uri::{Authority, Scheme};

use crate::codec::grpc::Encoding;
use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{Connection, Dispatch};
use crate::core::future::BoxFuture;
use crate::core::net::Address;
use crate::transport::dialing::{Dialing, HTTP2};
use crate::transport::grpc::connection::{Link, connect};
#[cfg(feature = "tls")]
use crate::transport::tls::Roots;
use crate::transport::{Scope, Transport};

/// Calls servers of gRPC over HTTP/2, on `host:port` and `unix:/path`.
///
/// What listens is the one port of a server, which tells gRPC by itself.
///
/// ```
/// use std::sync::Arc;
///
/// use micro::client::Client;
/// use micro::codec::Format;
/// use micro::transport::Grpc;
///
/// let client = Client::builder()
///     .transport(Arc::new(Grpc::default()))
///     .format(Format::Proto)
///     .address("127.0.0.1:50051".parse()?)
///     .build();
/// # drop(client);
/// # Ok::<(), micro::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Grpc {
    encoding: Encoding,
    dialing: Dialing,
}

impl Grpc {
    /// Compresses requests with gzip, from a kilobyte on; responses are read so in any case.
    ///
    /// A server that cannot read it answers 501.
    #[must_use]
    pub fn compressed(mut self) -> Self {
        self.encoding = Encoding::Gzip;
        self
    }

    /// Calls by TLS, over TCP, only nodes that authorities in a file vouch for.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn trusting(mut self, roots: Arc<Roots>) -> Self {
        self.dialing = Dialing::trusting(roots);
        self
    }
}

impl Transport for Grpc {
    fn name(&self) -> &'static str {
        "grpc"
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
            let timeout = scope.limits.connection.dial_timeout;
            let authority = authority(address)?;
            let scheme = match self.dialing.scheme(address) {
                "https" => Scheme::HTTPS,
                _ => Scheme::HTTP,
            };
            let connecting = async {
                let stream = self.dialing.connect(address, timeout, HTTP2).await;
                let stream =
                    stream.map_err(|e| undialed(address, &e.to_string()).with_source(e))?;
                let link =
                    connect(stream, Link::new((scheme, authority), self.encoding, scope)).await;
                link.map_err(|e| undialed(address, &e.to_string()).with_source(e))
            };
            let connected = clock::timeout(timeout, connecting).await;
            let link = connected.unwrap_or_else(|_elapsed| {
                Err(undialed(address, &format!("no answer within {timeout:?}")))
            })?;
            let link: Arc<dyn Connection> = link;
            Ok(link)
        })
    }

    fn listen<'a>(
        &'a self,
        _: &'a Address,
        _: Arc<dyn Dispatch>,
        _: &'a Scope,
    ) -> BoxFuture<'a, Result<Address>> {
        let detail = "a server speaks gRPC on its one port, not through a transport";
        Box::pin(std::future::ready(Err(Error::unimplemented("micro.transport", detail))))
    }
}

/// Returns how requests name the server.
fn authority(address: &Address) -> Result<Authority> {
    let name = match address {
        Address::Tcp(host) => host.as_str(),
        _ => "localhost",
    };
    name.parse().map_err(|e| undialed(address, "it is no name of a host").with_source(e))
}

fn undialed(address: &Address, why: &str) -> Error {
    Error::unavailable("micro.transport", format!("cannot reach {address}: {why}"))
        .with_retry(Retry::Safe)
}
