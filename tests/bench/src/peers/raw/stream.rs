//! A server stream: the server encodes many messages into each write, the consumer decodes from
//! the read buffer.

use std::net::SocketAddr;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::WriteHalf;

use super::frame::{self, HEADER};
use super::{STREAM, input};
use crate::message::{Message, Order, produce};
use crate::outcome::{Outcome, ensure};

/// Bytes encoded into one write.
const WRITE: usize = 32 << 10;

/// Answers an order.
pub(super) async fn send(socket: &mut WriteHalf<'_>, order: &Order) -> Outcome<()> {
    let mut output = Vec::with_capacity(2 * WRITE);
    for message in produce(order.count) {
        frame::append(&mut output, STREAM, &message)?;
        if output.len() >= WRITE {
            socket.write_all(&output).await?;
            output.clear();
        }
    }
    Ok(socket.write_all(&output).await?)
}

/// Orders `count` messages and checks them.
pub(super) async fn receive(address: SocketAddr, count: u64) -> Outcome<()> {
    let mut socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let mut output = Vec::new();
    frame::append(&mut output, STREAM, &Order { count })?;
    socket.write_all(&output).await?;
    let mut input = BytesMut::new();
    let mut received = 0;
    while received < count {
        input::make_room(&mut input)?;
        ensure(socket.read_buf(&mut input).await? > 0, "the stream ended early")?;
        let mut whole = 0;
        while let Some((_, body)) = frame::first(input.get(whole..).unwrap_or_default())? {
            rmp_serde::from_slice::<Message>(body)?.check(received, 0)?;
            received += 1;
            whole += HEADER + body.len();
        }
        input.advance(whole);
    }
    Ok(())
}
