//! micro: one service, called natively, over HTTP and over gRPC.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::micro::registry::{Memory, Node, Record, Registry as _};
use ::micro::{Client, Result, Service, Streaming, handler, service};

use super::axum::{HttpCaller, connect_http};
use super::tonic::{Tonic, TonicCaller};
use crate::cell::Shape;
use crate::message::{Message, Order, produce};
use crate::outcome::{Outcome, ensure};
use crate::peer::{Announce, Caller, Peer};

/// The contender `native`.
#[derive(Debug)]
pub(crate) struct Native;

/// The contender `http`.
#[derive(Debug)]
pub(crate) struct Http;

/// The contender `grpc`.
#[derive(Debug)]
pub(crate) struct Grpc;

/// A task's handle on the client that all of a process share.
#[derive(Debug)]
pub(crate) struct NativeCaller(BenchClient);

#[derive(Debug)]
struct Bench;

#[service(name = "bench")]
impl Bench {
    #[handler]
    async fn echo(&self, message: Message) -> Result<Message> {
        Ok(message)
    }

    #[handler]
    async fn produce(&self, order: Order) -> Result<Streaming<Message>> {
        Ok(Streaming::from_iter(produce(order.count)))
    }
}

impl Peer for Native {
    type Caller = NativeCaller;

    async fn serve(announce: Announce) -> Outcome<()> {
        serve(announce).await
    }

    async fn connect(address: SocketAddr, shape: Shape) -> Outcome<Vec<NativeCaller>> {
        let bench = client(address, shape.connections).await?;
        Ok((0..shape.in_flight).map(|_| NativeCaller(bench.clone())).collect())
    }

    async fn stream(address: SocketAddr, count: u64) -> Outcome<()> {
        let bench = client(address, 1).await?;
        let mut messages = bench.produce(Order { count }).await?;
        let mut next = 0;
        while let Some(message) = messages.next().await {
            message?.check(next, 0)?;
            next += 1;
        }
        ensure(next == count, "the stream ended early")
    }
}

impl Caller for NativeCaller {
    async fn call(&mut self, message: Message) -> Outcome<Message> {
        Ok(self.0.echo(message).await?)
    }
}

impl Peer for Http {
    type Caller = HttpCaller;

    async fn serve(announce: Announce) -> Outcome<()> {
        serve(announce).await
    }

    async fn connect(address: SocketAddr, shape: Shape) -> Outcome<Vec<HttpCaller>> {
        connect_http(address, shape, "/bench/Bench.Echo").await
    }
}

impl Peer for Grpc {
    type Caller = TonicCaller;

    async fn serve(announce: Announce) -> Outcome<()> {
        serve(announce).await
    }

    async fn connect(address: SocketAddr, shape: Shape) -> Outcome<Vec<TonicCaller>> {
        Tonic::connect(address, shape).await
    }

    async fn stream(address: SocketAddr, count: u64) -> Outcome<()> {
        Tonic::stream(address, count).await
    }
}

async fn serve(announce: Announce) -> Outcome<()> {
    let service = Service::new("bench").mount(Bench).registry(Memory::new()).no_env();
    let running = service.start().await?;
    announce.listening(running.address().to_string().parse()?)?;
    Ok(running.wait().await?)
}

/// A client that finds the one node in a registry of its own.
async fn client(address: SocketAddr, connections: usize) -> Outcome<BenchClient> {
    let node = Node { id: "bench-1".to_owned(), address: address.to_string(), ..Node::default() };
    let record = Record { name: "bench".to_owned(), nodes: vec![node], ..Record::default() };
    let registry = Memory::new();
    registry.register(&record, Duration::from_secs(3600)).await?;
    let client = Client::builder().registry(Arc::new(registry)).connections(connections).build();
    Ok(client.into())
}
