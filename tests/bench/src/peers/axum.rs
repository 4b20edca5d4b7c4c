//! axum with JSON over HTTP/1.1, called through hyper on keep-alive connections.

use std::net::{Ipv4Addr, SocketAddr};

use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::cell::Shape;
use crate::message::Message;
use crate::outcome::{Outcome, ensure};
use crate::peer::{Announce, Caller, Peer};

/// The contender `axum`.
#[derive(Debug)]
pub(crate) struct Axum;

/// A connection and the task that runs it.
#[derive(Debug)]
pub(crate) struct HttpCaller {
    host: String,
    path: &'static str,
    sender: SendRequest<Full<Bytes>>,
    _connection: JoinSet<hyper::Result<()>>,
}

impl Peer for Axum {
    type Caller = HttpCaller;

    async fn serve(announce: Announce) -> Outcome<()> {
        use ::axum::serve::ListenerExt as _;

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        announce.listening(listener.local_addr()?)?;
        let listener = listener.tap_io(|socket| {
            // A socket without it is slower, not wrong.
            socket.set_nodelay(true).ok();
        });
        Ok(axum::serve(listener, Router::new().route("/echo", post(echo))).await?)
    }

    async fn connect(address: SocketAddr, shape: Shape) -> Outcome<Vec<HttpCaller>> {
        connect_http(address, shape, "/echo").await
    }
}

/// One keep-alive connection for each call in flight.
pub(super) async fn connect_http(
    address: SocketAddr,
    shape: Shape,
    path: &'static str,
) -> Outcome<Vec<HttpCaller>> {
    let mut callers = Vec::new();
    for _ in 0..shape.in_flight {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(socket)).await?;
        let mut task = JoinSet::new();
        task.spawn(connection);
        callers.push(HttpCaller { host: address.to_string(), path, sender, _connection: task });
    }
    Ok(callers)
}

impl Caller for HttpCaller {
    async fn call(&mut self, message: Message) -> Outcome<Message> {
        let request = Request::post(self.path)
            .header(HOST, self.host.as_str())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(serde_json::to_vec(&message)?)))?;
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        ensure(answer.status() == StatusCode::OK, "the server refused a call")?;
        Ok(serde_json::from_slice(&answer.into_body().collect().await?.to_bytes())?)
    }
}

async fn echo(Json(message): Json<Message>) -> Json<Message> {
    Json(message)
}
