//! tarpc over length-delimited frames and postcard.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::StreamExt as _;
use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tarpc::server::{BaseChannel, Channel as _};
use tarpc::{client, context, serde_transport};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_serde::{Deserializer, Serializer};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use crate::cell::Shape;
use crate::message::Message;
use crate::outcome::Outcome;
use crate::peer::{Announce, Caller, Peer};

#[tarpc::service]
trait Bench {
    async fn echo(message: Message) -> Message;
}

/// The contender `tarpc`.
#[derive(Debug)]
pub(crate) struct Tarpc;

/// A task's handle on a connection.
#[derive(Debug)]
pub(crate) struct TarpcCaller(BenchClient);

#[derive(Clone, Debug)]
struct Echo;

impl Bench for Echo {
    async fn echo(self, _: context::Context, message: Message) -> Message {
        message
    }
}

impl Peer for Tarpc {
    type Caller = TarpcCaller;

    async fn serve(announce: Announce) -> Outcome<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        announce.listening(listener.local_addr()?)?;
        let mut connections = JoinSet::new();
        loop {
            let (socket, _) = listener.accept().await?;
            connections.spawn(connection(socket));
            while connections.try_join_next().is_some() {}
        }
    }

    async fn connect(address: SocketAddr, shape: Shape) -> Outcome<Vec<TarpcCaller>> {
        let mut clients = Vec::new();
        for _ in 0..shape.connections {
            let socket = TcpStream::connect(address).await?;
            socket.set_nodelay(true)?;
            let transport = serde_transport::new(framed(socket), Postcard::default());
            clients.push(BenchClient::new(client::Config::default(), transport).spawn());
        }
        Ok(clients.into_iter().cycle().take(shape.in_flight).map(TarpcCaller).collect())
    }
}

impl Caller for TarpcCaller {
    async fn call(&mut self, message: Message) -> Outcome<Message> {
        Ok(self.0.echo(context::current(), message).await?)
    }
}

/// A task for each request, which is what tarpc's documentation shows.
async fn connection(socket: TcpStream) -> Outcome<()> {
    socket.set_nodelay(true)?;
    let transport = serde_transport::new(framed(socket), Postcard::default());
    let mut requests = Box::pin(BaseChannel::with_defaults(transport).execute(Echo.serve()));
    let mut running = JoinSet::new();
    while let Some(request) = requests.next().await {
        running.spawn(request);
        while running.try_join_next().is_some() {}
    }
    Ok(())
}

fn framed(socket: TcpStream) -> Framed<TcpStream, LengthDelimitedCodec> {
    Framed::new(socket, LengthDelimitedCodec::new())
}

/// Postcard as a codec; encodes into a buffer that it keeps.
#[derive(Debug, Default)]
struct Postcard(BytesMut);

impl<T: Serialize> Serializer<T> for Postcard {
    type Error = io::Error;

    fn serialize(self: Pin<&mut Self>, item: &T) -> io::Result<Bytes> {
        let buffer = Buffer(&mut self.get_mut().0);
        postcard::serialize_with_flavor(item, buffer).map_err(io::Error::other)
    }
}

impl<T: DeserializeOwned> Deserializer<T> for Postcard {
    type Error = io::Error;

    fn deserialize(self: Pin<&mut Self>, source: &BytesMut) -> io::Result<T> {
        postcard::from_bytes(source).map_err(io::Error::other)
    }
}

struct Buffer<'a>(&'a mut BytesMut);

impl Flavor for Buffer<'_> {
    type Output = Bytes;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.put_u8(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Bytes> {
        Ok(self.0.split().freeze())
    }
}
