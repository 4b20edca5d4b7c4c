//! Layers around the calls that a client makes, one stack for every transport.
//!
//! A layer is a `tower_layer::Layer` whose service takes a [`Request`] and answers a [`Reply`]; it
//! sees the call once, before a node is chosen. With no layer installed a call costs nothing more.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context as Task, Poll};

use bytes::Bytes;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use crate::client::drive::{self, Progress};
use crate::client::plan::Plan;
use crate::codec::Format;
use crate::core::context::Context;
use crate::core::descriptor::CallKind;
use crate::core::error::{Error, Result};
use crate::core::future::BoxFuture;
use crate::core::metadata::Metadata;
use crate::core::stream::RawStream;

/// A call on its way to a node, not yet sent.
pub struct Request {
    plan: Plan,
    /// When the caller began to wait.
    began: Instant,
}

/// What a node answered, not yet decoded.
#[expect(clippy::exhaustive_enums, reason = "one message or many: every layer handles both")]
pub enum Reply {
    /// The single response.
    Message(Bytes),
    /// The responses of a stream that has begun.
    Stream(RawStream),
}

/// Shows the length of the response, which itself belongs in no log.
impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(body) => f.debug_tuple("Message").field(&body.len()).finish(),
            Self::Stream(_) => f.debug_tuple("Stream").finish_non_exhaustive(),
        }
    }
}

impl Request {
    pub(super) fn new(plan: Plan, began: Instant) -> Self {
        Self { plan, began }
    }

    /// Returns the name of the service.
    pub fn service(&self) -> &str {
        self.plan.endpoint.route.service()
    }

    /// Returns the wire name of the endpoint, such as `Greeter.Hello`.
    pub fn endpoint(&self) -> &str {
        self.plan.endpoint.route.endpoint()
    }

    /// Returns how many messages go each way.
    pub fn kind(&self) -> CallKind {
        self.plan.endpoint.route.kind()
    }

    /// Returns when the caller stops waiting, for all layers and tries together.
    pub fn deadline(&self) -> Instant {
        self.plan.deadline(self.began)
    }

    /// Returns whether running the call twice is as good as once.
    pub fn is_idempotent(&self) -> bool {
        self.plan.is_idempotent()
    }

    /// Returns what the call inherits, if it is made in a handler.
    pub fn context(&self) -> Option<&Context> {
        self.plan.context.as_ref()
    }

    /// Returns the encoded request; empty when it is a stream.
    pub fn body(&self) -> &[u8] {
        self.plan.body.as_deref().unwrap_or_default()
    }

    /// Returns the format of the request, in which a reply is decoded too.
    pub fn format(&self) -> &Format {
        self.plan.format()
    }

    /// Returns the metadata of this hop.
    pub fn metadata(&self) -> &Metadata {
        static NONE: Metadata = Metadata::new();
        self.plan.options.as_ref().map_or(&NONE, |options| &options.metadata)
    }

    /// Sends one more pair of metadata, in the place of one with the same key.
    ///
    /// # Errors
    /// 400 when the pair is not allowed in metadata or the limit is reached.
    pub fn insert_metadata(&mut self, key: &str, value: &str) -> Result<()> {
        self.plan.options().metadata.insert(key, value).map(drop)
    }

    /// Returns a transport header that is sent: the one of this call, or else the one that the
    /// client sends with every call.
    pub fn header(&self, key: &str) -> Option<&str> {
        self.headers().get(key).or_else(|| self.plan.client().headers.get(key))
    }

    /// Returns the transport headers of this call, such as `authorization`, without those that the
    /// client sends with every call.
    pub fn headers(&self) -> &Metadata {
        static NONE: Metadata = Metadata::new();
        self.plan.options.as_ref().map_or(&NONE, |options| &options.headers)
    }

    /// Sends a transport header such as `authorization`, which the policy of the server sees and
    /// no handler.
    ///
    /// # Errors
    /// 400 when the pair is not allowed in metadata or the limit is reached.
    pub fn insert_header(&mut self, key: &str, value: &str) -> Result<()> {
        self.plan.options().headers.insert(key, value).map(drop)
    }

    /// Copies the call, for a layer that may send it again; `None` for one that streams requests.
    ///
    /// A call runs at most once unless it is idempotent: repeat it only then, or after an error
    /// whose verdict is [`Retry::Safe`](crate::core::error::Retry::Safe).
    pub fn try_clone(&self) -> Option<Self> {
        Some(Self { plan: self.plan.try_clone()?, began: self.began })
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("service", &self.service())
            .field("endpoint", &self.endpoint())
            .finish_non_exhaustive()
    }
}

/// The rest of a stack of layers: what a layer wraps. Innermost are discovery, tries and retries.
#[derive(Clone)]
pub struct Next(Arc<dyn Handle>);

trait Handle: Send + Sync {
    fn handle(&self, request: Request) -> BoxFuture<'static, Result<Reply>>;
}

/// The nodes of the service.
struct Nodes;

impl Handle for Nodes {
    fn handle(&self, request: Request) -> BoxFuture<'static, Result<Reply>> {
        Box::pin(drive::tries(request.plan, Progress::new(request.began)))
    }
}

struct Layered<S>(S);

impl<S> Handle for Layered<S>
where
    S: Service<Request, Response = Reply, Error = Error, Future: Send>,
    S: Clone + Send + Sync + 'static,
{
    fn handle(&self, request: Request) -> BoxFuture<'static, Result<Reply>> {
        let mut service = self.0.clone();
        Box::pin(async move {
            poll_fn(|task| service.poll_ready(task)).await?;
            service.call(request).await
        })
    }
}

impl Next {
    /// Wraps `inner`, or the nodes themselves, in one more layer.
    pub(super) fn wrap<L>(inner: Option<Self>, layer: &L) -> Self
    where
        L: Layer<Self>,
        L::Service: Service<Request, Response = Reply, Error = Error, Future: Send>,
        L::Service: Clone + Send + Sync + 'static,
    {
        let inner = inner.unwrap_or_else(|| Self(Arc::new(Nodes)));
        Self(Arc::new(Layered(layer.layer(inner))))
    }
}

impl Service<Request> for Next {
    type Response = Reply;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Reply>>;

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
