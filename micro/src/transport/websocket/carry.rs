//! The bytes of a pipe in binary messages, both ways.

use std::future::poll_fn;
use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::core::net::{Pipe, Socket};
use crate::transport::websocket::wire::{
    CARRIED_BYTES, Ended, Incoming, Message, Outgoing, Wire, code,
};

/// Carries bytes between a connection and a pipe until either ends; the other end of the pipe sees
/// that as its end.
///
/// Each direction waits for its reader: the pipe is bounded, and so is what the connection queues.
pub(crate) async fn carry<S: AsyncRead + AsyncWrite + Unpin>(wire: Wire<S>, pipe: Pipe) {
    // Those who use the pipe send signs of life of their own.
    let (mut outgoing, mut incoming) = wire.split();
    let ended = tokio::select! {
        ended = fill(&mut incoming, &pipe) => ended,
        ended = empty(&pipe, &mut outgoing) => ended,
    };
    drop(pipe);
    match ended {
        None => outgoing.close(incoming, code::DONE, "").await,
        Some(Ended::Broke(code)) => outgoing.close(incoming, code, "").await,
        Some(Ended::Left) => outgoing.leave().await,
        Some(Ended::Gone) => {}
    }
}

/// Brings what arrives into the pipe.
async fn fill<S: AsyncRead + AsyncWrite + Unpin>(
    incoming: &mut Incoming<S>,
    pipe: &Pipe,
) -> Option<Ended> {
    loop {
        match incoming.next().await {
            Ok(Message::Binary(bytes)) => write(pipe, bytes).await.ok()?,
            Ok(Message::Text(_)) => return Some(Ended::Broke(code::UNSUPPORTED)),
            Err(ended) => return Some(ended),
        }
    }
}

/// Sends what the pipe brings; `None` at its end.
async fn empty<S: AsyncRead + AsyncWrite + Unpin>(
    pipe: &Pipe,
    outgoing: &mut Outgoing<S>,
) -> Option<Ended> {
    let mut buffer = BytesMut::new();
    // Progress: each turn reads at least a byte.
    loop {
        buffer.reserve(CARRIED_BYTES);
        if read(pipe, &mut buffer).await.ok()? == 0 {
            return None;
        }
        let message = Message::Binary(buffer.split().freeze());
        if let Err(ended) = outgoing.feed(message).await {
            return Some(ended);
        }
        if let Err(ended) = outgoing.flush().await {
            return Some(ended);
        }
    }
}

async fn write(pipe: &Pipe, mut bytes: Bytes) -> io::Result<()> {
    // Progress: each turn writes at least a byte.
    while !bytes.is_empty() {
        poll_fn(|task| pipe.poll_write_ready(task)).await?;
        match pipe.try_write(&bytes) {
            Ok(count) => drop(bytes.split_to(count)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

async fn read(pipe: &Pipe, buffer: &mut BytesMut) -> io::Result<usize> {
    // Progress: readiness means that there is something to read.
    loop {
        poll_fn(|task| pipe.poll_read_ready(task)).await?;
        match pipe.try_read(buffer) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
}
