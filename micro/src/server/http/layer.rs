//! Layers around HTTP requests, whatever answers them.
//!
//! They see more than calls (health, the user's routes, 404s) and less (no native connection). For
//! calls alone see `server::layer`.

use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use crate::core::error::{BoxError, Error};
use crate::core::future::BoxFuture;
use crate::server::http::face::{Peer, Site};
use crate::server::http::reply;

/// Puts one more layer around what is there.
pub(crate) type Wrap = Box<dyn FnOnce(HttpNext) -> HttpNext + Send>;

/// The rest of a stack of layers: what a layer wraps.
#[derive(Clone)]
pub struct HttpNext(Arc<dyn Answer>);

trait Answer: Send + Sync {
    fn answer(&self, request: Request<Body>) -> BoxFuture<'static, Response<Body>>;
}

struct Innermost(Arc<Site>);

impl Answer for Innermost {
    fn answer(&self, mut request: Request<Body>) -> BoxFuture<'static, Response<Body>> {
        let site = Arc::clone(&self.0);
        Box::pin(async move {
            let response = match request.extensions_mut().remove::<Arc<Peer>>() {
                Some(peer) => site.answer(&peer, request).await,
                // A layer that makes a request of its own has to keep the extensions.
                None => reply::error(&Error::internal("micro.server", "a layer lost the peer")),
            };
            response.map(Body::new)
        })
    }
}

struct Layered<S>(S);

impl<S, B> Answer for Layered<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn answer(&self, request: Request<Body>) -> BoxFuture<'static, Response<Body>> {
        let mut service = self.0.clone();
        Box::pin(async move {
            let Ok(()) = poll_fn(|task| service.poll_ready(task)).await;
            let Ok(response) = service.call(request).await;
            response.map(Body::new)
        })
    }
}

impl HttpNext {
    /// Makes the innermost service.
    pub(super) fn site(site: &Arc<Site>) -> Self {
        Self(Arc::new(Innermost(Arc::clone(site))))
    }

    /// Makes the step that puts a layer around what is there.
    pub(crate) fn wrap<L, B>(layer: L) -> Wrap
    where
        L: Layer<Self> + Send + 'static,
        L::Service: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
        L::Service: Clone + Send + Sync + 'static,
        <L::Service as Service<Request<Body>>>::Future: Send,
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Box::new(move |inner| Self(Arc::new(Layered(layer.layer(inner)))))
    }

    pub(super) fn answer(&self, request: Request<Body>) -> BoxFuture<'static, Response<Body>> {
        self.0.answer(request)
    }
}

impl Service<Request<Body>> for HttpNext {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.0.answer(request);
        Box::pin(async move { Ok(answer.await) })
    }
}

impl fmt::Debug for HttpNext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpNext")
    }
}
