//! WebSocket over raw connections.

mod calls;
mod ends;
mod framing;
mod hostile;
mod rpc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::codec::glue::{EncodeSerde, Wire};
use crate::codec::{Decode, Encode, Raw};
use crate::core::context::Context;
use crate::core::descriptor::{CallKind, EndpointSpec, ServiceDescriptor};
use crate::core::error::{Error, Result};
use crate::core::exchange::Outgoing;
use crate::core::future::BoxFuture;
use crate::server::Subscription;
use crate::server::serve::{Endpoint, Incoming, Serve, inbound, respond_stream};
use crate::server::testing::spec;

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// The bit of the last frame of a message.
const FIN: u8 = 0x80;

const KEY: &str = "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Sends back what comes, undecoded.
#[derive(Debug)]
struct Talk;

const TALKS: [EndpointSpec; 2] = [
    EndpointSpec { kind: CallKind::Bidi, ..spec("Talk.Echo") },
    EndpointSpec { kind: CallKind::ServerStream, ..spec("Talk.Flood") },
];

impl Serve for Talk {
    const DESCRIPTOR: &'static ServiceDescriptor = &ServiceDescriptor {
        name: "talk",
        version: "1.0.0",
        type_name: "Talk",
        doc: "",
        endpoints: &TALKS,
        subscriptions: &[],
        metadata: &[],
    };
    const SUBSCRIPTIONS: &'static [Subscription<Self>] = &[];
    const ENDPOINTS: &'static [Endpoint<Self>] = &[
        Endpoint { call: echo },
        Endpoint { call: |_, _, incoming| Box::pin(std::future::ready(flood(&incoming))) },
    ];
}

fn echo(_: Arc<Talk>, _: Context, incoming: Incoming) -> BoxFuture<'static, Result<Outgoing>> {
    let format = incoming.format().clone();
    let stream = inbound::<Raw>(incoming, |format, body| Raw::decode(format, &body.share()));
    let outgoing = respond_stream::<_, Error>(&format, Ok(stream), |format, raw: &Raw, out| {
        raw.encode(format, out)
    });
    Box::pin(std::future::ready(outgoing))
}

/// Streams for ever, as fast as it is read.
fn flood(incoming: &Incoming) -> Result<Outgoing> {
    let stream = crate::core::stream::Streaming::from_iter(0_u64..);
    respond_stream::<_, Error>(incoming.format(), Ok(stream), (&&Wire::<u64>::new()).enc())
}

/// Makes a frame as clients send them.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = head(first, payload.len(), 0x80);
    let mask = [1, 2, 3, 4];
    out.extend(mask);
    out.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    out
}

fn head(first: u8, length: usize, mask: u8) -> Vec<u8> {
    let mut out = vec![first];
    match length {
        0..=125 => out.push(mask | u8::try_from(length).unwrap()),
        126..=65_535 => {
            out.push(mask | 126);
            out.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        _ => {
            out.push(mask | 127);
            out.extend(u64::try_from(length).unwrap().to_be_bytes());
        }
    }
    out
}

fn text(text: &str) -> Vec<u8> {
    frame(FIN | TEXT, text.as_bytes())
}

fn closing(code: u16) -> Vec<u8> {
    frame(FIN | CLOSE, &code.to_be_bytes())
}

/// What a peer sees.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping,
    Pong(Vec<u8>),
    Closed(u16, String),
    /// The stream ended.
    Gone,
}

fn says(text: &str) -> Seen {
    Seen::Text(text.to_owned())
}

fn closed(code: u16) -> Seen {
    Seen::Closed(code, String::new())
}

/// A client that writes its frames by itself.
struct Client<S = Pipe> {
    stream: S,
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Client<S> {
    /// Shakes hands; fails with the whole response to a handshake that is refused.
    async fn over(mut stream: S, path: &str, headers: &str) -> Result<(Self, String), String> {
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\n{KEY}{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            seen.push(stream.read_u8().await.map_err(|e| e.to_string())?);
        }
        let seen = String::from_utf8(seen).unwrap();
        if seen.starts_with("HTTP/1.1 101 ") { Ok((Self { stream }, seen)) } else { Err(seen) }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    async fn say(&mut self, words: &str) {
        self.send(&text(words)).await;
    }

    /// Reads a frame; a server's is whole and not masked.
    async fn next(&mut self) -> Seen {
        let Ok(first) = self.stream.read_u8().await else { return Seen::Gone };
        assert_eq!(first & 0xf0, FIN, "a fragment, or reserved bits");
        let length = match self.stream.read_u8().await.unwrap() {
            126 => usize::from(self.stream.read_u16().await.unwrap()),
            127 => usize::try_from(self.stream.read_u64().await.unwrap()).unwrap(),
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await.unwrap();
        match first & 0x0f {
            TEXT => Seen::Text(String::from_utf8(payload).unwrap()),
            BINARY => Seen::Binary(payload),
            PING => Seen::Ping,
            PONG => Seen::Pong(payload),
            CLOSE if payload.is_empty() => closed(1005),
            CLOSE => Seen::Closed(
                u16::from_be_bytes([payload[0], payload[1]]),
                String::from_utf8(payload[2..].to_vec()).unwrap(),
            ),
            other => panic!("opcode {other}"),
        }
    }

    /// Reads all that comes.
    async fn all(&mut self) -> Vec<Seen> {
        let mut all = Vec::new();
        loop {
            match self.next().await {
                Seen::Gone => return all,
                seen => all.push(seen),
            }
        }
    }
}

impl Rig {
    fn talking() -> Self {
        Self::new(|builder| builder.mount(Talk))
    }

    async fn open(&self, path: &str, headers: &str) -> Result<Client, String> {
        Client::over(self.dial(), path, headers).await.map(|(client, _)| client)
    }

    /// Calls an endpoint of the sample service.
    async fn socket(&self, endpoint: &str) -> Client {
        self.open(&format!("/sample/Sample.{endpoint}"), "").await.unwrap()
    }

    /// Waits until nothing is left of any connection.
    async fn until_quiet(&self) {
        clock::sleep(Duration::from_secs(2)).await;
        assert_eq!((self.server.connections(), self.server.in_flight()), (0, 0));
        assert_eq!(self.server.port.scope.tasks.len(), 1, "the listener");
    }
}
