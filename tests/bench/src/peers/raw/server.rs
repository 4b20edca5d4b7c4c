//! The server: one task per connection that reads, decodes, handles in place, encodes and writes.

use std::net::Ipv4Addr;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::client::READ;
use super::frame::{self, HEADER};
use super::{FLUSH_AT, STREAM, stream};
use crate::message::Message;
use crate::outcome::Outcome;
use crate::peer::Announce;

pub(super) async fn serve(announce: Announce) -> Outcome<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    announce.listening(listener.local_addr()?)?;
    let mut connections = JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await?;
        connections.spawn(connection(socket));
        while connections.try_join_next().is_some() {}
    }
}

/// Serves a connection until it closes or breaks; either is the client's business.
async fn connection(mut socket: TcpStream) -> Outcome<()> {
    socket.set_nodelay(true)?;
    let mut input = BytesMut::new();
    let mut output = Vec::with_capacity(2 * FLUSH_AT);
    loop {
        input.reserve(READ);
        if socket.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        let mut whole = 0;
        while let Some((id, body)) = frame::first(input.get(whole..).unwrap_or_default())? {
            whole += HEADER + body.len();
            if id == STREAM {
                let order = rmp_serde::from_slice(body)?;
                stream::send(&mut socket, &order).await?;
            } else {
                let answer = handle(rmp_serde::from_slice(body)?).await;
                frame::append(&mut output, id, &answer)?;
            }
            if output.len() >= FLUSH_AT {
                socket.write_all(&output).await?;
                output.clear();
            }
        }
        input.advance(whole);
        if !output.is_empty() {
            socket.write_all(&output).await?;
            output.clear();
        }
    }
}

/// The handler: an async function that happens not to wait.
async fn handle(message: Message) -> Message {
    message
}
