//! Messages over a byte stream.
//!
//! What a peer may not do is told by the library below: masks, reserved bits and opcodes, fragments,
//! control frames, text that is not UTF-8, close codes. Here are the limits, and what each breach is
//! answered by.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
#[cfg(feature = "server")]
use std::sync::atomic::AtomicBool;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{Error as WireError, ProtocolError};
#[cfg(feature = "server")]
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::Utf8Bytes;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message as Frame, WebSocketConfig};

use crate::core::clock;
use crate::core::limits::{ERROR_DOCUMENT_BYTES_MAX, Limits};
#[cfg(feature = "server")]
use crate::transport::websocket::beat::Beat;

/// Bytes of one connection's read buffer, kept for as long as it lasts; longer frames get room of
/// their own.
const READ_BYTES: usize = 8 * 1024;

/// Bytes after which queued messages are written without being asked to.
const WRITE_BYTES: usize = 32 * 1024;

/// Bytes of one message of a connection that carries another protocol: what a pipe holds.
pub(super) const CARRIED_BYTES: usize = 64 * 1024;

/// How long the end of a connection is waited for once it was announced.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Bytes of the reason in a close frame, as the standard limits them.
const REASON_BYTES_MAX: usize = 123;

/// Close codes of the standard.
pub(crate) mod code {
    /// All is said.
    pub(crate) const DONE: u16 = 1000;
    /// This side is about to stop.
    #[cfg(feature = "server")]
    pub(crate) const AWAY: u16 = 1001;
    /// The peer broke the protocol.
    pub(crate) const PROTOCOL: u16 = 1002;
    /// A message of the wrong kind.
    pub(crate) const UNSUPPORTED: u16 = 1003;
    /// Text that is not UTF-8.
    pub(crate) const NOT_TEXT: u16 = 1007;
    /// A message that is too long.
    pub(crate) const TOO_LARGE: u16 = 1009;
}

/// Answers the key of a handshake.
#[cfg(feature = "server")]
pub(crate) fn accept_key(key: &[u8]) -> String {
    tokio_tungstenite::tungstenite::handshake::derive_accept_key(key)
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// UTF-8.
    Text(Bytes),
    Binary(Bytes),
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The peer said goodbye.
    Left,
    /// The peer is gone, or as good as gone.
    Gone,
    /// The peer is at fault: the close code to tell it.
    Broke(u16),
}

impl From<WireError> for Ended {
    fn from(error: WireError) -> Self {
        match error {
            WireError::ConnectionClosed | WireError::AlreadyClosed => Self::Left,
            WireError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Self::Gone,
            WireError::Protocol(_) => Self::Broke(code::PROTOCOL),
            WireError::Utf8(_) => Self::Broke(code::NOT_TEXT),
            WireError::Capacity(_) => Self::Broke(code::TOO_LARGE),
            _ => Self::Gone,
        }
    }
}

/// What a connection has heard of its peer.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) bytes: AtomicUsize,
    /// Messages and control frames that came whole.
    pub(super) frames: AtomicUsize,
    /// Whether nothing is read for now, so that silence means nothing.
    #[cfg(feature = "server")]
    pub(super) paused: AtomicBool,
}

type Socket<S> = WebSocketStream<Counted<S>>;

/// A connection whose handshake is done.
#[derive(Debug)]
pub(crate) struct Wire<S> {
    socket: Socket<S>,
    heard: Arc<Heard>,
}

/// What a connection may use whose messages are those of calls.
#[cfg(feature = "server")]
fn config(limits: &Limits) -> WebSocketConfig {
    sized(limits, limits.message.bytes_max)
}

/// What a connection may use that carries bytes: where its messages end means nothing, and what
/// they carry has limits of its own.
pub(super) fn carrying(limits: &Limits) -> WebSocketConfig {
    sized(limits, limits.message.bytes_max.max(CARRIED_BYTES))
}

fn sized(limits: &Limits, message: usize) -> WebSocketConfig {
    // A message is queued once those before it have been written, down to `WRITE_BYTES`; the error
    // that comes after it, and control frames, find room as well.
    let queued = message
        .saturating_add(WRITE_BYTES)
        .saturating_add(ERROR_DOCUMENT_BYTES_MAX)
        .saturating_add(limits.connection.outbound_bytes_max);
    WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(WRITE_BYTES)
        .max_write_buffer_size(queued)
        .max_message_size(Some(message))
        .max_frame_size(Some(message))
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Takes over a stream on which the server's side of the handshake is done.
    #[cfg(feature = "server")]
    pub(crate) async fn accepted(stream: S, limits: &Limits) -> Self {
        Self::taken(stream, config(limits)).await
    }

    /// As [`Self::accepted`], of a stream whose messages carry the bytes of another protocol.
    #[cfg(feature = "server")]
    pub(crate) async fn carrier(stream: S, limits: &Limits) -> Self {
        Self::taken(stream, carrying(limits)).await
    }

    #[cfg(feature = "server")]
    async fn taken(stream: S, config: WebSocketConfig) -> Self {
        let (stream, config) = (Counted::new(stream), Some(config));
        Self::dialed(WebSocketStream::from_raw_socket(stream, Role::Server, config).await)
    }

    /// Takes over what a handshake has made.
    pub(super) fn dialed(socket: Socket<S>) -> Self {
        let heard = Arc::clone(&socket.get_ref().heard);
        Self { socket, heard }
    }

    /// Makes what watches over the peer.
    #[cfg(feature = "server")]
    pub(crate) fn beat(&self, limits: &Limits) -> Beat {
        Beat::new(Arc::clone(&self.heard), &limits.connection)
    }

    /// Divides the connection into its directions.
    pub(crate) fn split(self) -> (Outgoing<S>, Incoming<S>) {
        let (sink, stream) = self.socket.split();
        (Outgoing(sink), Incoming { stream, heard: self.heard })
    }
}

/// The direction in which messages come.
#[derive(Debug)]
pub(crate) struct Incoming<S> {
    stream: SplitStream<Socket<S>>,
    heard: Arc<Heard>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Incoming<S> {
    /// Waits for the next message; pings are answered meanwhile. Cancel safe.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn next(&mut self) -> Result<Message, Ended> {
        // Progress: each turn takes a frame.
        loop {
            let next = self.stream.next().await;
            self.heard.frames.fetch_add(1, Ordering::Relaxed);
            match next {
                Some(Ok(Frame::Text(text))) => return Ok(Message::Text(text.into())),
                Some(Ok(Frame::Binary(bytes))) => return Ok(Message::Binary(bytes)),
                Some(Ok(Frame::Close(_))) | None => return Err(Ended::Left),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
            }
        }
    }

    /// Says whether the connection is not read for now, so that a silence means nothing.
    #[cfg(feature = "server")]
    pub(crate) fn pause(&self, paused: bool) {
        self.heard.paused.store(paused, Ordering::Relaxed);
    }
}

/// The direction in which messages go.
#[derive(Debug)]
pub(crate) struct Outgoing<S>(SplitSink<Socket<S>, Frame>);

impl<S: AsyncRead + AsyncWrite + Unpin> Outgoing<S> {
    /// Queues a message, once those before it have been written but for a few.
    ///
    /// # Errors
    /// The peer is gone.
    pub(crate) async fn feed(&mut self, message: Message) -> Result<(), Ended> {
        let frame = match message {
            Message::Binary(bytes) => Frame::Binary(bytes),
            Message::Text(bytes) => Frame::Text(match Utf8Bytes::try_from(bytes.clone()) {
                Ok(text) => text,
                // Nothing but a handler that passes on bytes of its own makes such text.
                Err(_) => String::from_utf8_lossy(&bytes).into_owned().into(),
            }),
        };
        Ok(self.0.feed(frame).await?)
    }

    /// Writes what is queued.
    ///
    /// # Errors
    /// The peer is gone.
    pub(crate) async fn flush(&mut self) -> Result<(), Ended> {
        Ok(self.0.flush().await?)
    }

    /// Asks the peer for a sign of life.
    ///
    /// # Errors
    /// The peer is gone.
    #[cfg(feature = "server")]
    pub(crate) async fn ping(&mut self) -> Result<(), Ended> {
        Ok(self.0.send(Frame::Ping(Bytes::new())).await?)
    }

    /// Says goodbye and waits a while for the peer to do so, since closing a connection with unread
    /// bytes destroys what was sent on it.
    pub(crate) async fn close(mut self, incoming: Incoming<S>, code: u16, reason: &str) {
        let _done = clock::timeout(CLOSE_TIMEOUT, async {
            let frame = CloseFrame { code: code.into(), reason: short(reason).into() };
            if self.0.send(Frame::Close(Some(frame))).await.is_err() {
                return;
            }
            let mut stream = incoming.stream;
            while let Some(Ok(_)) = stream.next().await {}
            // Who broke the protocol cannot be understood any more, but may still be sending.
            if is_breach(code)
                && let Ok(socket) = self.0.reunite(stream)
            {
                discard(socket.into_inner()).await;
            }
        })
        .await;
    }

    /// Answers a goodbye.
    pub(crate) async fn leave(mut self) {
        // Whoever has said goodbye need not wait for the answer.
        let _answered = clock::timeout(CLOSE_TIMEOUT, self.0.flush()).await;
    }
}

fn is_breach(code: u16) -> bool {
    matches!(code, code::PROTOCOL | code::NOT_TEXT | code::TOO_LARGE)
}

async fn discard<S: AsyncRead + Unpin>(mut stream: S) {
    let mut buffer = vec![0; READ_BYTES];
    while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
}

/// Cuts a reason off at the length that is allowed.
fn short(reason: &str) -> String {
    let end =
        (0..=REASON_BYTES_MAX.min(reason.len())).rev().find(|at| reason.is_char_boundary(*at));
    reason.get(..end.unwrap_or_default()).unwrap_or_default().to_owned()
}

/// A stream that counts what is read.
#[derive(Debug)]
pub(super) struct Counted<S> {
    stream: S,
    heard: Arc<Heard>,
}

impl<S> Counted<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, heard: Arc::default() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(task, buffer))?;
        let read = buffer.filled().len().saturating_sub(before);
        self.heard.bytes.fetch_add(read, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_carries_has_room_for_what_a_pipe_brings_whatever_the_limit_of_a_call() {
        for (bytes_max, longest) in [(1, CARRIED_BYTES), (1 << 20, 1 << 20)] {
            let mut limits = Limits::default();
            limits.message.bytes_max = bytes_max;
            let config = carrying(&limits);
            assert_eq!(config.max_message_size, Some(longest));
            assert_eq!(config.max_frame_size, Some(longest));
            assert!(config.max_write_buffer_size > longest);
        }
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        assert_eq!(short(""), "");
        assert_eq!(short(&"x".repeat(123)).len(), 123);
        assert_eq!(short(&"x".repeat(124)).len(), 123);
        assert_eq!(short(&"\u{20ac}".repeat(410)).len(), 123);
        assert_eq!(short(&"\u{1f980}".repeat(31)).len(), 120);
    }
}
