//! The native transport: many calls over one byte stream, framed as `WIRE.md` specifies.
//!
#![doc = include_str!("../../../WIRE.md")]

mod after;
mod client;
mod driver;
mod ending;
mod frame;
mod guests;
mod head;
mod hello;
mod inbound;
mod keeper;
mod link;
mod memory;
mod names;
mod pace;
mod pump;
mod reader;
mod rescue;
mod server;
mod session;
mod streams;
mod task;
mod tcp;
#[cfg(test)]
pub(super) mod tests;
mod varint;

use std::sync::Arc;

use bytes::BytesMut;

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::Result;
use crate::core::exchange::{Connection, Dispatch};
use crate::core::net::{Socket, Stream};
use crate::core::shutdown::Shutdown;
use crate::transport::Scope;
use crate::transport::native::frame::{Kind, PREFACE, PREFACE_MAJOR};
use crate::transport::native::link::{Link, Parts};
use crate::transport::native::session::End;

pub use self::frame::PREFACE_FIRST;
#[cfg(any(feature = "nats", feature = "quic", feature = "rabbitmq", test))]
pub(super) use self::guests::{Guest, Guests};
pub use self::memory::Memory;
pub use self::session::Session;
pub use self::tcp::Native;

/// Starts the client's side of a connection over a byte stream.
///
/// The connection has a task of its own, which ends with it.
pub fn connect(socket: Arc<dyn Socket>, remote: Arc<str>, scope: &Scope) -> Arc<dyn Connection> {
    let link = link(socket, remote, scope, true);
    greet(&link);
    scope.tasks.spawn("native client", follow(Arc::clone(&link), scope.shutdown.clone()));
    link
}

/// Says what a dialed connection speaks and accepts.
fn greet(link: &Link) {
    {
        let mut state = link.lock();
        state.out.extend_from_slice(&PREFACE);
        put_hello(link, &mut state.out);
    }
    link.flush();
}

/// Follows a dialed connection to its end.
async fn follow(link: Arc<Link>, shutdown: Shutdown) {
    let _end = End(&link);
    let mut replies = client::Replies::default();
    let reading = reader::read(&link, BytesMut::new(), &mut replies);
    let error = tokio::select! {
        ended = keeper::ends(&link, reading) => ended.err(),
        () = rescue::watch(&link) => None,
        () = shutdown.closed() => Some(client::stopped()),
    };
    link.part(&error.unwrap_or_else(client::ended));
    reader::linger(&link).await;
}

/// Serves one accepted connection to its end; `prefix` is what was read of it already.
///
/// When the scope's lifecycle drains, the peer is told to start no more calls; when it closes,
/// the connection ends.
pub async fn serve(stream: Stream, prefix: BytesMut, dispatch: Arc<dyn Dispatch>, scope: &Scope) {
    let session = Session::new(stream, scope);
    session.serve(prefix, dispatch, greeted_by(scope), scope).await;
}

/// Serves one accepted byte stream of any kind to its end.
pub async fn serve_socket(
    socket: Arc<dyn Socket>,
    remote: Arc<str>,
    prefix: BytesMut,
    dispatch: Arc<dyn Dispatch>,
    scope: &Scope,
) {
    let link = link(socket, remote, scope, false);
    Session::of(&link).serve(prefix, dispatch, greeted_by(scope), scope).await;
}

fn greeted_by(scope: &Scope) -> Instant {
    clock::after(clock::now(), scope.limits.connection.handshake_timeout)
}

fn link(socket: Arc<dyn Socket>, remote: Arc<str>, scope: &Scope, dialed: bool) -> Arc<Link> {
    let (limits, tasks) = (Arc::clone(&scope.limits), scope.tasks.clone());
    Link::new(socket, Parts { limits, tasks, remote, dialed })
}

fn put_hello(link: &Link, out: &mut Vec<u8>) {
    let mut payload = Vec::new();
    link.own.put(&mut payload);
    frame::put(out, Kind::Hello, 0, 0, &payload);
}

/// Reads the preface; what follows it stays in the buffer.
async fn preface(socket: &dyn Socket, mut buffer: BytesMut) -> Result<BytesMut> {
    // Progress: each turn reads at least one byte of eight.
    while buffer.len() < PREFACE.len() {
        buffer.reserve(1024);
        std::future::poll_fn(|task| socket.poll_read_ready(task)).await.map_err(link::broken)?;
        match socket.try_read(&mut buffer) {
            Ok(0) => return Err(client::ended()),
            Err(e) if e.kind() != std::io::ErrorKind::WouldBlock => return Err(link::broken(e)),
            _ => {}
        }
    }
    let given = buffer.split_to(PREFACE.len());
    if given.get(..=PREFACE_MAJOR) == PREFACE.get(..=PREFACE_MAJOR) {
        return Ok(buffer);
    }
    if given.get(..PREFACE_MAJOR) == PREFACE.get(..PREFACE_MAJOR) {
        let major = given.get(PREFACE_MAJOR).copied().unwrap_or_default();
        tracing::warn!(major, "a peer speaks another major version of the native protocol");
    }
    Err(names::malformed())
}
