//! The server: one task per connection that reads, decodes, handles in place, encodes and writes.

use std::net::Ipv4Addr;

use bytes::{Buf as _, BytesMut};
use tokio::io::AsyncReadExt as _;
use tokio::net::tcp::WriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::frame::{self, HEADER};
use super::output::Output;
use super::{STREAM, input, stream};
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
    let (mut reader, mut writer) = socket.split();
    let mut input = BytesMut::new();
    let mut output = Output::default();
    loop {
        if output.is_full() {
            output.write_some(&mut writer).await?;
            continue;
        }
        input::make_room(&mut input)?;
        // A full socket must not keep the other direction waiting.
        let read = if output.is_empty() {
            reader.read_buf(&mut input).await?
        } else {
            tokio::select! {
                read = reader.read_buf(&mut input) => read?,
                written = output.write_some(&mut writer) => {
                    written?;
                    continue;
                }
            }
        };
        if read == 0 {
            return Ok(());
        }
        let whole = answer(&input, &mut output, &mut writer).await?;
        input.advance(whole);
        output.try_flush(&writer)?;
    }
}

/// Handles every whole frame of the input and returns their length.
async fn answer(input: &[u8], output: &mut Output, writer: &mut WriteHalf<'_>) -> Outcome<usize> {
    let mut whole = 0;
    while let Some((id, body)) = frame::first(input.get(whole..).unwrap_or_default())? {
        whole += HEADER + body.len();
        if id == STREAM {
            stream::send(writer, &rmp_serde::from_slice(body)?).await?;
        } else {
            let answer = handle(rmp_serde::from_slice(body)?).await;
            output.push(writer, id, &answer)?;
        }
    }
    Ok(whole)
}

/// The handler: an async function that happens not to wait.
async fn handle(message: Message) -> Message {
    message
}
