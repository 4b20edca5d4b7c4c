//! A client connection: shared state, a reading task, and a task for what full sockets leave.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::task::JoinSet;

use super::call::Call;
use super::frame::{self, HEADER};
use super::input;
use super::link::Link;
use crate::message::Message;
use crate::outcome::{Outcome, ensure};

/// A connection; its tasks end with it.
#[derive(Debug)]
pub(super) struct Connection {
    link: Arc<Link>,
    _tasks: JoinSet<()>,
}

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> Outcome<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let (input, output) = socket.into_split();
        let link = Arc::new(Link::new(output));
        let mut tasks = JoinSet::new();
        let shared = link.clone();
        tasks.spawn(async move {
            if let Err(error) = read(input, &shared).await {
                shared.fail(&error);
            }
        });
        let shared = link.clone();
        tasks.spawn(async move {
            if let Err(error) = shared.drain().await {
                shared.fail(&error);
            }
        });
        Ok(Self { link, _tasks: tasks })
    }

    /// Sends the message; resolves to the body of the answer.
    pub(super) fn call<'a>(&'a self, message: &'a Message) -> Call<'a> {
        Call::new(&self.link, message)
    }
}

/// Fills slots, a whole read's answers under one lock, and wakes afterwards.
async fn read(mut socket: OwnedReadHalf, link: &Link) -> Outcome<()> {
    let mut buffer = BytesMut::new();
    let mut batch: Vec<(u64, Bytes)> = Vec::new();
    let mut wakers: Vec<Waker> = Vec::new();
    loop {
        input::make_room(&mut buffer)?;
        ensure(socket.read_buf(&mut buffer).await? > 0, "the server closed the connection")?;
        let whole = whole_frames(&buffer)?;
        let mut frames = buffer.split_to(whole).freeze();
        while let Some((id, length)) = frame::first(&frames)?.map(|(id, body)| (id, body.len())) {
            frames.advance(HEADER);
            batch.push((id, frames.split_to(length)));
        }
        link.fill(&mut batch, &mut wakers);
        wakers.drain(..).for_each(Waker::wake);
    }
}

/// Bytes of whole frames at the start of a buffer.
fn whole_frames(buffer: &[u8]) -> Outcome<usize> {
    let mut whole = 0;
    while let Some((_, body)) = frame::first(buffer.get(whole..).unwrap_or_default())? {
        whole += HEADER + body.len();
    }
    Ok(whole)
}
