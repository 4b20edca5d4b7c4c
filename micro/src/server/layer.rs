//! Layers around calls, one stack for every protocol.
//!
//! A layer is a `tower_layer::Layer` whose service takes a [`Request`] and answers an
//! [`Outgoing`]; it sees the context and the endpoint, before anything is decoded. With no layer
//! installed a call costs nothing more.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context as Task, Poll};

use bytes::Bytes;
use tower_layer::Layer;
use tower_service::Service;

use crate::core::context::Context;
use crate::core::descriptor::EndpointSpec;
use crate::core::error::{Error, Result};
use crate::core::exchange::Outgoing;
use crate::core::future::BoxFuture;
use crate::server::serve::Incoming;
use crate::server::table::Entry;

/// A call on its way to the handler.
pub struct Request {
    context: Context,
    replaced: bool,
    incoming: Incoming,
    entry: Arc<Entry>,
}

/// Shows what is called and the length of the request, which itself belongs in no log.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("endpoint", &self.entry.id)
            .field("context", &self.context)
            .field("incoming", &self.incoming)
            .finish_non_exhaustive()
    }
}

impl Request {
    pub(super) fn new(context: Context, incoming: Incoming, entry: Arc<Entry>) -> Self {
        Self { context, replaced: false, incoming, entry }
    }

    /// Returns the context in which the handler will run.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Replaces the context in which the handler will run.
    pub fn set_context(&mut self, context: Context) {
        self.context = context;
        self.replaced = true;
    }

    /// Returns what the endpoint declares.
    pub fn spec(&self) -> &'static EndpointSpec {
        self.entry.spec
    }

    /// Returns the name of the service.
    pub fn service(&self) -> &str {
        self.entry.callee.service.as_deref().unwrap_or_default()
    }

    /// Returns the bytes of the request; empty when it is a stream.
    pub fn body(&self) -> &Bytes {
        self.incoming.body()
    }

    fn run(self) -> BoxFuture<'static, Result<Outgoing>> {
        let future = self.entry.call(self.context.clone(), self.incoming);
        if self.replaced { Box::pin(self.context.scope(future)) } else { future }
    }
}

/// The rest of a stack of layers: what a layer wraps.
#[derive(Clone)]
pub struct Next(Arc<dyn Handle>);

trait Handle: Send + Sync {
    fn handle(&self, request: Request) -> BoxFuture<'static, Result<Outgoing>>;
}

struct Endpoint;

impl Handle for Endpoint {
    fn handle(&self, request: Request) -> BoxFuture<'static, Result<Outgoing>> {
        request.run()
    }
}

struct Layered<S>(S);

impl<S> Handle for Layered<S>
where
    S: Service<Request, Response = Outgoing, Error = Error> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    fn handle(&self, request: Request) -> BoxFuture<'static, Result<Outgoing>> {
        let mut service = self.0.clone();
        Box::pin(async move {
            poll_fn(|task| service.poll_ready(task)).await?;
            service.call(request).await
        })
    }
}

impl Next {
    /// Wraps `inner`, or the handler itself, in one more layer.
    pub(super) fn wrap<L>(inner: Option<Self>, layer: &L) -> Self
    where
        L: Layer<Self>,
        L::Service: Service<Request, Response = Outgoing, Error = Error>,
        L::Service: Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Future: Send,
    {
        let inner = inner.unwrap_or_else(|| Self(Arc::new(Endpoint)));
        Self(Arc::new(Layered(layer.layer(inner))))
    }

    pub(super) fn handle(&self, request: Request) -> BoxFuture<'static, Result<Outgoing>> {
        self.0.handle(request)
    }
}

impl Service<Request> for Next {
    type Response = Outgoing;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Outgoing>>;

    fn poll_ready(&mut self, _: &mut Task<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.0.handle(request)
    }
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Next")
    }
}
