//! A call with a stream: a connection of its own, on which each message is an HTTP message.
//!
//! The two directions do not answer each other. A handler of go-micro's ignores the body of the
//! first request, which opens the stream; the messages follow. The end either way is a message whose
//! error is `EOS`.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::core::clock;
use crate::core::descriptor::CallKind;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::Line;
use crate::core::limits::Limits;
use crate::core::net::Stream;
use crate::core::stream::BoxSource;
use crate::transport::mucp::connection::Node;
use crate::transport::mucp::fragile::Fragile;
use crate::transport::mucp::message::{Bounds, Reader, Side};
use crate::transport::mucp::request::Request;
use crate::transport::mucp::response::{END, Said, read, said};
use crate::transport::mucp::{ID, too_large, write};

/// How long the goodbye of a stream that has ended may take.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// A call whose requests, responses or both are a stream.
pub(super) struct Call {
    pub(super) request: Request,
    /// The request in its envelope, which is empty where requests stream.
    pub(super) body: Vec<u8>,
    pub(super) source: Option<BoxSource>,
    pub(super) kind: CallKind,
}

/// Runs a call to its end; dropping the future closes the connection, which cancels it.
pub(super) async fn run(node: &Node, call: Call, mut line: Line) {
    let mut opened = false;
    let limits = &node.scope.limits;
    let age = limits.connection.age_max.saturating_add(limits.connection.age_grace);
    let old = clock::after(clock::now(), age);
    let talking = async {
        let io = node.connect().await?;
        talk(io, (&node.host(), limits), call, (&mut line, &mut opened)).await
    };
    let outcome = tokio::select! {
        biased;
        () = node.cut() => Err(lost("it was closed")),
        outcome = talking => outcome,
        () = clock::sleep_until(old) => Err(lost("it is as old as it may become")),
    };
    conclude(line, opened, outcome);
}

/// Tells the caller how the call ended.
pub(super) fn conclude(line: Line, opened: bool, outcome: Result<Option<Bytes>>) {
    match outcome {
        Ok(Some(message)) => line.reply(Ok(message)),
        Ok(None) => line.end(Ok(())),
        Err(error) if opened => line.end(Err(error)),
        Err(error) => line.reply(Err(error)),
    }
}

/// Opens the stream, then sends and receives; returns the response of a call that has only one.
pub(super) async fn talk(
    io: Stream,
    (host, limits): (&str, &Limits),
    call: Call,
    (line, opened): (&mut Line, &mut bool),
) -> Result<Option<Bytes>> {
    let Call { request, body, source, kind } = call;
    let bytes_max = limits.message.bytes_max;
    let is_whole = AtomicBool::new(false);
    let (read_half, write_half) = tokio::io::split(Fragile::new(io, &is_whole));
    let held = AtomicBool::new(false);
    let mut writer = Writer {
        io: write_half,
        host,
        request: &request,
        ended: false,
        timeout: limits.connection.write_timeout,
        held: &held,
    };
    writer.send(&body).await?;
    if kind.streams_responses() {
        // Nothing says that the handler has begun before its first message, which may be long in
        // coming and in answer to one of the caller's.
        line.open();
        *opened = true;
    }
    let mut reader = Reader::new(read_half, BytesMut::new(), Side::Responses, Bounds::of(limits));
    let outcome = {
        let sending = send(&mut writer, (&body, bytes_max), source);
        let receiving = receive(&mut reader, (&request, bytes_max), kind, (line, &held));
        both(sending, receiving).await
    };
    if outcome.is_ok() {
        is_whole.store(true, Ordering::Relaxed);
        let _late = clock::timeout(GOODBYE_TIMEOUT, writer.goodbye()).await;
    }
    outcome
}

/// Runs both directions until the receiving one ends, whatever becomes of the other: a peer that
/// has stopped reading may have said why.
async fn both<T>(sending: impl Future<Output = ()>, receiving: impl Future<Output = T>) -> T {
    let mut receiving = pin!(receiving);
    tokio::select! {
        received = &mut receiving => received,
        () = sending => receiving.await,
    }
}

/// Sends every request, then the end where requests are a stream.
async fn send<W: AsyncWrite + Unpin>(
    writer: &mut Writer<'_, W>,
    (body, bytes_max): (&[u8], usize),
    source: Option<BoxSource>,
) {
    let sent = match source {
        None => writer.send(body).await,
        Some(source) => send_all(writer, bytes_max, source).await,
    };
    if let Err(error) = sent {
        tracing::debug!(%error, "a stream of requests broke off");
    }
}

async fn send_all<W: AsyncWrite + Unpin>(
    writer: &mut Writer<'_, W>,
    bytes_max: usize,
    mut source: BoxSource,
) -> Result<()> {
    let mut message = Vec::new();
    // Progress: each turn takes a message of the caller's stream.
    loop {
        message.clear();
        match poll_fn(|task| source.as_mut().poll_encode(task, &mut message)).await {
            Some(Ok(())) if message.len() > bytes_max => {
                return writer.end(&said(&too_large(bytes_max))).await;
            }
            Some(Ok(())) => match writer.request.seal(&message) {
                Ok(sealed) => writer.send(&sealed).await?,
                Err(error) => return writer.end(&said(&error)).await,
            },
            Some(Err(error)) => return writer.end(&said(&error)).await,
            None => return writer.end(END).await,
        }
    }
}

/// Takes responses until the stream ends, or the single one.
async fn receive<R: tokio::io::AsyncRead + Unpin>(
    reader: &mut Reader<R>,
    (request, bytes_max): (&Request, usize),
    kind: CallKind,
    (line, held): (&mut Line, &AtomicBool),
) -> Result<Option<Bytes>> {
    // Progress: each turn takes a message of the peer's.
    loop {
        let Some(message) = reader.next().await? else {
            return Err(lost("before the end of the stream"));
        };
        match read(message.status, &message.headers, &message.body, request) {
            Said::Message(message) if message.len() > bytes_max => {
                return Err(too_large(bytes_max));
            }
            Said::Message(message) if kind.streams_responses() => {
                held.store(true, Ordering::Relaxed);
                line.push(message).await?;
                held.store(false, Ordering::Relaxed);
            }
            Said::Message(message) => return Ok(Some(message)),
            Said::End if kind.streams_responses() => return Ok(None),
            Said::End => return Err(Error::internal(ID, "the stream ended without a response")),
            Said::Failed(error) => return Err(error),
        }
    }
}

/// The sending end of a stream.
struct Writer<'a, W> {
    io: W,
    host: &'a str,
    request: &'a Request,
    /// Whether the end was sent.
    ended: bool,
    timeout: Duration,
    /// Whether the caller holds up the responses, and so perhaps the peer its reading.
    held: &'a AtomicBool,
}

impl<W: AsyncWrite + Unpin> Writer<'_, W> {
    /// Sends a message in its envelope.
    async fn send(&mut self, sealed: &[u8]) -> Result<()> {
        let (host, request) = (self.host, self.request);
        let bytes = write::request(host, request.agent, &request.headers, sealed);
        self.write(&bytes).await
    }

    /// Says that no message follows, and why.
    async fn end(&mut self, why: &str) -> Result<()> {
        self.ended = true;
        let mut headers = self.request.headers.clone();
        headers.set("Micro-Error", why);
        let bytes = write::request(self.host, self.request.agent, &headers, &[]);
        self.write(&bytes).await
    }

    /// Ends the stream as go-micro's client closes it.
    async fn goodbye(&mut self) -> Result<()> {
        if !self.ended {
            self.end(END).await?;
        }
        self.io.shutdown().await.map_err(|error| lost("at its end").with_source(error))
    }

    async fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        // Progress: each turn writes at least a byte, or takes its time.
        while !bytes.is_empty() {
            let written = match clock::timeout(self.timeout, self.io.write(bytes)).await {
                Ok(written) => written.map_err(|error| lost("in a write").with_source(error))?,
                Err(_elapsed) if self.held.load(Ordering::Relaxed) => continue,
                Err(_elapsed) => return Err(lost("the node does not read")),
            };
            if written == 0 {
                return Err(lost("in a write"));
            }
            bytes = bytes.get(written..).unwrap_or_default();
        }
        let flushed = self.io.flush().await;
        flushed.map_err(|error| lost("in a write").with_source(error))
    }
}

fn lost(when: &str) -> Error {
    Error::unavailable(ID, format!("the connection of the stream was lost: {when}"))
        .with_retry(Retry::Unknown)
}
