//! Decides what answers a request.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use axum::extract::ConnectInfo;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use tower_service::Service;

use crate::broker::Inbox;
use crate::core::error::{Error, Result};
use crate::core::exchange::Target;
use crate::core::proven::Proven;
use crate::server::http::body::Payload;
use crate::server::http::browser::Browser;
use crate::server::http::cors::{Methods, is_preflight};
use crate::server::http::head;
use crate::server::http::inbox;
use crate::server::http::layer::HttpNext;
use crate::server::http::metrics::METRICS;
#[cfg(feature = "mucp")]
use crate::server::http::mucp;
use crate::server::http::openapi::{Documents, OPENAPI};
use crate::server::http::reply::{self, Reply};
use crate::server::http::rpc;
#[cfg(feature = "ws")]
use crate::server::http::websocket;
use crate::server::policy::{Caller, Origin};
use crate::server::roster::Seat;
use crate::server::router::Router;

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) remote: Arc<str>,
    pub(crate) socket: Option<SocketAddr>,
    pub(crate) origin: Origin,
    /// Whom the connection proves the peer to be.
    pub(crate) proven: Proven,
    /// The host part of the address that the connection came in on.
    pub(crate) bound: Arc<str>,
    /// The name by which the peer called the server first, once that was found to be its own.
    pub(crate) known: OnceLock<HeaderValue>,
    pub(crate) seat: Arc<Seat>,
}

impl Peer {
    pub(in crate::server) fn caller(&self) -> Caller<'_> {
        Caller { remote: &self.remote, origin: self.origin, proven: &self.proven }
    }
}

/// Tells whether the process takes work.
pub(crate) type Ready = Arc<dyn Fn() -> bool + Send + Sync>;

/// Everything that is served over HTTP.
pub(crate) struct Site {
    pub(crate) router: Arc<Router>,
    pub(crate) user: Option<axum::Router>,
    pub(crate) inbox: Option<Arc<dyn Inbox>>,
    pub(crate) browser: Browser,
    pub(crate) documents: Documents,
    pub(crate) ready: Ready,
    #[cfg(feature = "grpc")]
    pub(crate) paths: crate::server::grpc::Paths,
}

/// A site behind its layers.
#[derive(Debug)]
pub(crate) struct Face {
    pub(super) site: Arc<Site>,
    pub(super) layers: Option<HttpNext>,
}

/// The mark of a response that one of the user's routes made.
#[derive(Clone, Copy, Debug)]
struct Matched;

/// Marks what the routes of a user's router answer, so that its own 404 can be told from theirs.
pub(crate) fn marked(router: axum::Router) -> axum::Router {
    if !router.has_routes() {
        return router;
    }
    router.route_layer(axum::middleware::map_response(mark))
}

async fn mark(mut response: axum::response::Response) -> axum::response::Response {
    response.extensions_mut().insert(Matched);
    response
}

impl Face {
    pub(crate) fn new(site: Site, layers: Vec<super::layer::Wrap>) -> Self {
        let site = Arc::new(site);
        let layers = layers
            .into_iter()
            .fold(None, |inner, wrap| Some(wrap(inner.unwrap_or_else(|| HttpNext::site(&site)))));
        Self { site, layers }
    }

    /// Answers a request.
    pub(super) async fn answer<B: Payload>(
        &self,
        peer: &Arc<Peer>,
        request: Request<B>,
    ) -> Response<Reply> {
        match &self.layers {
            None => self.site.answer(peer, request).await,
            Some(layers) => {
                let mut request = request.map(axum::body::Body::new);
                request.extensions_mut().insert(Arc::clone(peer));
                layers.answer(request).await.map(Reply::other)
            }
        }
    }
}

/// A body that notes when it has been read to its end.
struct Noted<B> {
    body: B,
    seat: Arc<Seat>,
}

impl<B: Payload> Body for Noted<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, B::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(task));
        if self.body.is_end_stream() || frame.is_none() {
            self.seat.unread.store(false, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Site {
    /// Answers a request: endpoints first, all else on a slower path.
    pub(super) async fn answer<B: Payload>(
        &self,
        peer: &Peer,
        request: Request<B>,
    ) -> Response<Reply> {
        #[cfg(feature = "grpc")]
        if crate::server::grpc::asks(&request) {
            return self.grpc(peer, request).await;
        }
        let post = request.method() == Method::POST;
        let target = if post { self.router.table.find(request.uri().path()) } else { None };
        let Some(target) = target else {
            return Box::pin(self.answer_other(peer, request)).await;
        };
        let checked = self.browser.check(request.headers(), request.uri(), peer);
        let allowed = match checked {
            Ok(allowed) => allowed,
            Err(error) => return reply::error(&error),
        };
        let mut response = self.call(peer, target, request).await;
        self.browser.sharing.share(response.headers_mut(), allowed);
        response
    }

    async fn answer_other<B: Payload>(&self, peer: &Peer, request: Request<B>) -> Response<Reply> {
        if is_read(request.method())
            && let Some(response) = self.health(request.uri().path()).await
        {
            return response;
        }
        let checked = self.browser.check(request.headers(), request.uri(), peer);
        let allowed = match checked {
            Ok(allowed) => allowed,
            Err(error) => return reply::error(&error),
        };
        let target = self.router.table.find(request.uri().path());
        let mut response = match self.preflight(target, &request) {
            Some(response) if allowed.is_some() => response,
            _ => match self.try_other(peer, target, request).await {
                Ok(response) => response,
                Err(error) => reply::error(&error),
            },
        };
        self.browser.sharing.share(response.headers_mut(), allowed);
        response
    }

    /// Answers a browser that asks whether a page may call.
    fn preflight<B>(
        &self,
        target: Option<Target>,
        request: &Request<B>,
    ) -> Option<Response<Reply>> {
        if !is_preflight(request) {
            return None;
        }
        let methods = target.map_or(Methods::Asked, |target| Methods::Of(self.methods(target)));
        let mut response = Response::new(Reply::full(Bytes::new()));
        *response.status_mut() = StatusCode::NO_CONTENT;
        self.browser.sharing.permit(response.headers_mut(), request, &methods);
        Some(response)
    }

    /// Returns the methods by which an endpoint is called.
    fn methods(&self, target: Target) -> &'static str {
        if self.is_readable(target) { "GET, HEAD, POST" } else { "POST" }
    }

    /// Returns whether an endpoint answers to a query: running it twice is as good as once, and
    /// there is one request.
    fn is_readable(&self, target: Target) -> bool {
        let idempotent = self.router.entry(target).is_ok_and(|entry| entry.spec.idempotent);
        idempotent && !target.kind.streams_requests()
    }

    /// Answers how the process is; what exactly is wrong stays with `Debug.Health`.
    async fn health(&self, path: &str) -> Option<Response<Reply>> {
        let health = self.router.monitor.health();
        let (well, good, bad) = match path {
            "/healthz" => (health.report().await.live, "ok\n", "failing\n"),
            "/readyz" => {
                let takes = (self.ready)() && !self.router.shutdown.is_draining();
                (takes && health.report().await.ready, "ready\n", "not ready\n")
            }
            _ => return None,
        };
        Some(if well {
            reply::text(StatusCode::OK, good)
        } else {
            reply::text(StatusCode::SERVICE_UNAVAILABLE, bad)
        })
    }

    async fn try_other<B: Payload>(
        &self,
        peer: &Peer,
        target: Option<Target>,
        #[cfg_attr(not(feature = "ws"), expect(unused_mut, reason = "WebSockets take a part"))]
        mut request: Request<B>,
    ) -> Result<Response<Reply>> {
        #[cfg(feature = "mucp")]
        let called = mucp::asked(&request, self.user.is_some());
        #[cfg(all(feature = "grpc", not(feature = "mucp")))]
        let called: Option<Infallible> = None;
        // go-micro puts messages into gRPC's frame without speaking it.
        #[cfg(feature = "grpc")]
        if called.is_none() {
            crate::server::grpc::refuse_http1(&request)?;
        }
        // A handshake is a `GET`, too.
        #[cfg(feature = "ws")]
        if websocket::is_asked(&request)
            && let Some(response) = self.upgrade(peer, &mut request, target)?
        {
            return Ok(response);
        }
        if let Some(target) = target.filter(|target| self.is_readable(*target))
            && is_read(request.method())
        {
            let head = request.method() == Method::HEAD;
            let response = self.call(peer, target, request).await;
            return Ok(if head { reply::headless(response) } else { response });
        }
        if request.uri().path() == rpc::PATH {
            return self.rpc(peer, request).await;
        }
        if let Some(inbox) = &self.inbox
            && let Some(node) = inbox::node(&request)
        {
            return self.take(inbox, &node, peer, request).await;
        }
        #[cfg(feature = "mucp")]
        if let Some(called) = called {
            return Ok(self.mucp(peer, called, request).await);
        }
        // A page of the user's own at such a path is the one that is meant.
        let path = request.uri().path().to_owned();
        let own = [METRICS, OPENAPI].contains(&path.as_str()) && is_read(request.method());
        let asked = own.then(|| request.headers().clone());
        if let Some(user) = &self.user
            && let Some(response) = self.ask_user(user.clone(), peer, request).await?
        {
            return Ok(response);
        }
        match asked {
            Some(headers) if path == METRICS => return self.metrics(peer, &headers),
            Some(headers) => return self.describe(peer, &headers),
            None => {}
        }
        let Some(target) = target else { return Err(self.router.missing(&path, peer.origin)) };
        Ok(self.not_allowed(target))
    }

    /// Says by which methods an endpoint is called.
    fn not_allowed(&self, target: Target) -> Response<Reply> {
        let methods = self.methods(target);
        let detail = match methods {
            "POST" => "the endpoint is called by POST, since it is not declared idempotent",
            _ => "the endpoint is called by POST, or by GET with a query",
        };
        let mut response = reply::error(&Error::method_not_allowed("micro.server", detail));
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
        response
    }

    /// Asks the user's router; `None` when it has nothing at the path.
    pub(super) async fn ask_user<B: Payload>(
        &self,
        mut user: axum::Router,
        peer: &Peer,
        request: Request<B>,
    ) -> Result<Option<Response<Reply>>> {
        let extra = head::credentials(request.headers())?;
        let account = self.router.admit_route(&request, &extra, peer.caller())?;
        self.router.claim(&peer.seat, account.as_deref())?;
        let slot = self.router.enter_route().await?;
        let seat = Arc::clone(&peer.seat);
        let mut request = request.map(|body| axum::body::Body::new(Noted { body, seat }));
        if let Some(account) = account {
            request.extensions_mut().insert(account);
        }
        if let Some(socket) = peer.socket {
            request.extensions_mut().insert(ConnectInfo(socket));
        }
        let response = user.call(request).await.unwrap_or_else(|error: Infallible| match error {});
        let matched = response.extensions().get::<Matched>().is_some();
        let response = response.map(|body| Reply::other(body).occupying(slot));
        let own_404 = !matched
            && response.status() == StatusCode::NOT_FOUND
            && response.body().is_empty()
            && !response.headers().contains_key(header::CONTENT_TYPE);
        Ok((!own_404).then_some(response))
    }
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("browser", &self.browser).finish_non_exhaustive()
    }
}
