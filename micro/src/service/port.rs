//! What a service asks of its port beyond serving what is mounted.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use tower_layer::Layer;
use tower_service::Service as Tower;

use crate::core::error::{BoxError, Error};
use crate::core::exchange::Outgoing;
use crate::server::{Cancellation, Cors, HttpNext, Next, Policy, Protocol, Request};
use crate::service::builder::Service;

impl Service {
    /// Adds a layer around the calls of every protocol; the layer added last is outermost.
    #[must_use]
    pub fn layer<L>(self, layer: L) -> Self
    where
        L: Layer<Next> + Send + 'static,
        L::Service: Tower<Request, Response = Outgoing, Error = Error>,
        L::Service: Clone + Send + Sync + 'static,
        <L::Service as Tower<Request>>::Future: Send,
    {
        self.server(move |server| server.layer(&layer))
    }

    /// Adds a layer around HTTP requests; the layer added last is outermost.
    #[must_use]
    pub fn http_layer<L, B>(self, layer: L) -> Self
    where
        L: Layer<HttpNext> + Send + 'static,
        L::Service: Tower<::http::Request<Body>, Response = ::http::Response<B>>,
        L::Service: Tower<::http::Request<Body>, Error = Infallible>,
        L::Service: Clone + Send + Sync + 'static,
        <L::Service as Tower<::http::Request<Body>>>::Future: Send,
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.server(move |server| server.http_layer(layer))
    }

    /// Serves HTTP routes of the program's own on the same port, after the endpoints.
    #[must_use]
    pub fn router(self, router: axum::Router) -> Self {
        self.server(move |server| server.router(router))
    }

    /// Serves a protocol that this crate does not know on the same port.
    #[must_use]
    pub fn protocol(self, protocol: impl Protocol) -> Self {
        let protocol: Arc<dyn Protocol> = Arc::new(protocol);
        self.server(move |server| server.protocol(protocol))
    }

    /// Asks a policy who callers are and what they may do.
    #[must_use]
    pub fn policy(self, policy: impl Policy) -> Self {
        let policy: Arc<dyn Policy> = Arc::new(policy);
        self.server(move |server| server.policy(policy))
    }

    /// Says what becomes of handlers whose callers go away; by default they are dropped.
    #[must_use]
    pub fn cancellation(self, cancellation: Cancellation) -> Self {
        self.server(move |server| server.cancellation(cancellation))
    }

    /// Lets callers on other hosts call without authentication whatever asks for no scope.
    #[must_use]
    pub fn open_to_network(self) -> Self {
        self.server(crate::server::Builder::open_to_network)
    }

    /// Accepts a host name in HTTP requests, without port, such as `shop.example`; `*` accepts all.
    #[must_use]
    pub fn allow_host(self, host: impl Into<String>) -> Self {
        let host = host.into();
        self.server(move |server| server.allow_host(&host))
    }

    /// Lets web pages of an origin call, such as `https://shop.example`; `*` lets all.
    #[must_use]
    pub fn allow_origin(self, origin: impl Into<String>) -> Self {
        let origin = origin.into();
        self.server(move |server| server.allow_origin(&origin))
    }

    /// Sets which web pages of other origins may call, and what they may send and see.
    #[must_use]
    pub fn cors(self, cors: Cors) -> Self {
        self.server(move |server| server.cors(cors))
    }
}
