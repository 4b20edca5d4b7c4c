//! Plain tokio TCP without a framework: what an async call API can reach at best.
//!
//! A frame is `length: u32 | id: u64 | body`, little-endian, where the length counts the body and
//! the body is a MessagePack map. An id is a slot's index and generation, so that an answer to an
//! abandoned call is never taken for another's. The id [`STREAM`] asks for a stream instead, and
//! its messages bear that id.

mod call;
mod client;
mod frame;
mod input;
mod link;
mod output;
mod server;
mod slots;
mod stream;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::cell::Shape;
use crate::message::Message;
use crate::outcome::Outcome;
use crate::peer::{Announce, Caller, Peer};

/// The id of a stream's request and of its messages.
const STREAM: u64 = u64::MAX;

/// Bytes after which a batch is written although more is to come, so that the peer starts working.
const FLUSH_AT: usize = 8 << 10;

/// The contender `raw`.
#[derive(Debug)]
pub(crate) struct Raw;

/// A task's handle on a connection.
#[derive(Debug)]
pub(crate) struct RawCaller(Arc<client::Connection>);

impl Peer for Raw {
    type Caller = RawCaller;

    async fn serve(announce: Announce) -> Outcome<()> {
        server::serve(announce).await
    }

    async fn connect(address: SocketAddr, shape: Shape) -> Outcome<Vec<RawCaller>> {
        let mut connections = Vec::new();
        for _ in 0..shape.connections {
            connections.push(Arc::new(client::Connection::open(address).await?));
        }
        Ok(connections.into_iter().cycle().take(shape.in_flight).map(RawCaller).collect())
    }

    async fn stream(address: SocketAddr, count: u64) -> Outcome<()> {
        stream::receive(address, count).await
    }
}

impl Caller for RawCaller {
    async fn call(&mut self, message: Message) -> Outcome<Message> {
        let body = self.0.call(&message).await?;
        Ok(rmp_serde::from_slice(&body)?)
    }
}
