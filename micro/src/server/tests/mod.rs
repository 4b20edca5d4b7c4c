//! What the parts of the server promise together, over connections within the process.

mod accounts;
mod browsers;
mod calls;
#[cfg(feature = "compression")]
mod compression;
mod conformance;
mod connections;
mod ends;
mod floods;
#[cfg(feature = "grpc")]
mod grpc;
mod http2;
mod inside;
mod limits;
#[cfg(all(feature = "mucp", feature = "prost"))]
mod mucp;
mod network;
mod noise;
mod openapi;
mod ports;
mod protocols;
mod queries;
mod routing;
mod rpc;
#[cfg(feature = "tls")]
mod secure;
mod smuggling;
mod streams;
mod unread;
#[cfg(feature = "ws")]
mod websocket;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::Mutex;
use tokio::sync::mpsc;

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::limits::Limits;
use crate::core::net::{Address, Pipe, Prefixed, Stream};
use crate::core::proven::Proven;
use crate::server::Server;
use crate::server::builder::Builder;
use crate::server::http::Peer;
use crate::server::listen::{Accept, accept};
use crate::server::policy::Origin;
use crate::server::testing::{Sample, Seen};

/// A server that is reached through pipes.
struct Rig {
    server: Server,
    seen: Arc<Seen>,
    dialed: mpsc::Sender<io::Result<Stream>>,
}

/// A response, read to its end.
#[derive(Debug)]
struct Got {
    status: u16,
    headers: http::HeaderMap,
    body: String,
}

struct Dialed(Mutex<mpsc::Receiver<io::Result<Stream>>>);

impl Accept for Dialed {
    async fn accept(&self) -> io::Result<Stream> {
        match self.0.lock().await.recv().await {
            Some(stream) => stream,
            None => std::future::pending().await,
        }
    }
}

type Http = hyper::client::conn::http1::SendRequest<Full<Bytes>>;

impl Rig {
    fn new(build: impl FnOnce(Builder) -> Builder) -> Self {
        let sample = Sample::default();
        let seen = Arc::clone(&sample.seen);
        let server = build(Server::builder().mount(sample)).build().unwrap();
        let (dialed, accepted) = mpsc::channel(10_000);
        let tasks = server.port.scope.tasks.clone();
        let listener = Dialed(Mutex::new(accepted));
        let port = Arc::clone(&server.port);
        tasks.spawn("accept", accept(port, listener, Address::Memory("test".to_owned())));
        Self { server, seen, dialed }
    }

    fn plain() -> Self {
        Self::new(|builder| builder)
    }

    fn limited(change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = Limits::default();
        change(&mut limits);
        Self::new(|builder| builder.limits(limits))
    }

    fn dial(&self) -> Pipe {
        let (here, there) = Pipe::pair();
        self.dialed.try_send(Ok(Stream::Pipe(there))).unwrap();
        here
    }

    async fn http1(&self) -> Http {
        http1(self.dial()).await
    }

    /// Sends one request on a connection of its own.
    async fn send(&self, request: Request<Full<Bytes>>) -> Got {
        let mut http = self.http1().await;
        got(http.send_request(request).await.unwrap()).await
    }

    /// Calls an endpoint of the sample service with JSON.
    async fn call(&self, endpoint: &str, body: &str) -> Got {
        self.send(post(endpoint, body)).await
    }

    /// Connects as a caller on another host.
    async fn off_host(&self) -> Http {
        let (here, there) = Pipe::pair();
        let port = Arc::clone(&self.server.port);
        let member = port.roster.join(None, &port.scope.limits.connection).unwrap();
        let peer = Peer {
            remote: "10.0.0.9:1".into(),
            socket: None,
            origin: Origin::OffHost,
            proven: Proven::Nobody,
            bound: "test".into(),
            known: std::sync::OnceLock::new(),
            seat: Arc::clone(&member.seat),
        };
        let stream = Prefixed::new(bytes::BytesMut::new(), Stream::Pipe(there));
        port.scope.tasks.spawn("connection", {
            let face = Arc::clone(&port.face);
            async move {
                face.serve_http1(stream, peer).await;
                drop(member);
            }
        });
        http1(here).await
    }

    fn started(&self) -> usize {
        self.seen.started.load(Ordering::SeqCst)
    }

    fn dropped(&self) -> usize {
        self.seen.dropped.load(Ordering::SeqCst)
    }

    /// Waits until as many hanging handlers run.
    async fn until_started(&self, count: usize) {
        while self.started() < count {
            tokio::task::yield_now().await;
        }
    }
}

async fn http1(pipe: Pipe) -> Http {
    let io = TokioIo::new(pipe);
    let (http, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    spawn(async move { drop(connection.await) });
    http
}

async fn http2(
    pipe: Pipe,
) -> hyper::client::conn::http2::SendRequest<http_body_util::combinators::BoxBody<Bytes, io::Error>>
{
    let io = TokioIo::new(pipe);
    let executor = TokioExecutor::new();
    let (http, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    spawn(async move { drop(connection.await) });
    http
}

fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    crate::core::shutdown::TaskTracker::new().spawn("test", future);
}

fn post(endpoint: &str, body: &str) -> Request<Full<Bytes>> {
    request("POST", &format!("/sample/Sample.{endpoint}"), body)
}

fn request(method: &str, path: &str, body: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .unwrap()
}

fn with(
    mut request: Request<Full<Bytes>>,
    name: &'static str,
    value: &'static str,
) -> Request<Full<Bytes>> {
    request.headers_mut().insert(name, http::HeaderValue::from_static(value));
    request
}

async fn got(response: Response<Incoming>) -> Got {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let body = String::from_utf8_lossy(&body).into_owned();
    Got { status: parts.status.as_u16(), headers: parts.headers, body }
}

impl Got {
    fn error(&self) -> crate::core::error::Error {
        assert_eq!(self.headers["content-type"], "application/json", "{self:?}");
        crate::core::error::Error::parse(&self.body)
    }
}

fn after(seconds: u64) -> Instant {
    clock::after(clock::now(), Duration::from_secs(seconds))
}
