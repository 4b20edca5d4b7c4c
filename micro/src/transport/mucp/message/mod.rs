//! HTTP/1.1 messages that come in a row on one connection, whoever they answer.
//!
//! go-micro sends each message of a stream as an HTTP message of its own, and those of the two
//! directions do not answer each other, which no HTTP library has a form for. This reader takes one
//! after the other off a connection that carries such a stream. It is strict where two readers could
//! disagree about where a message ends, and bounded everywhere: by bytes and by time.

use std::fmt;
#[cfg(feature = "server")]
use std::future::poll_fn;
#[cfg(feature = "server")]
use std::pin::Pin;
#[cfg(feature = "server")]
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
#[cfg(feature = "server")]
use tokio::io::ReadBuf;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::core::clock::{self, Instant};
use crate::core::error::{Error, Result, Retry};
use crate::core::limits::{Limits, METADATA_BYTES_MAX, METADATA_CLOSE_FACTOR};
use crate::transport::mucp::headers::Headers;
use crate::transport::mucp::{ENVELOPE_BYTES_MAX, ID};

/// Bytes of one head: as many as the port's HTTP takes.
const HEAD_BYTES_MAX: usize = METADATA_BYTES_MAX * METADATA_CLOSE_FACTOR;

/// Headers of one message: twice the entries of metadata, since go-micro writes some of them twice.
const HEADERS_MAX: usize = 128;

/// Bytes of the line that begins a chunk, extensions included.
const CHUNK_LINE_BYTES_MAX: usize = 256;

/// Answers like `100 Continue` before the one that counts.
const INTERIM_MAX: usize = 8;

/// Space for one read.
const READ_BYTES: usize = 8 * 1024;

/// Which messages come on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Requests: this is the server.
    #[cfg_attr(
        not(any(feature = "server", test)),
        expect(dead_code, reason = "only servers read requests")
    )]
    Requests,
    /// Responses: this is the client.
    Responses,
}

/// One message.
pub(crate) struct Message {
    /// The status of a response; zero for a request.
    pub(crate) status: u16,
    pub(crate) headers: Headers,
    pub(crate) body: Bytes,
}

/// Shows the length of the body, which itself belongs in no log.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Message");
        out.field("status", &self.status).field("headers", &self.headers);
        out.field("body", &self.body.len()).finish()
    }
}

/// What a peer may take.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    body_bytes: usize,
    head_timeout: Duration,
    progress_timeout: Duration,
    progress_bytes: usize,
}

impl Bounds {
    pub(crate) fn of(limits: &Limits) -> Self {
        Self {
            body_bytes: limits.message.bytes_max.saturating_add(ENVELOPE_BYTES_MAX),
            head_timeout: limits.connection.header_read_timeout,
            progress_timeout: limits.connection.body_progress_timeout,
            progress_bytes: limits.connection.body_progress_bytes,
        }
    }
}

/// Reads messages one after the other.
pub(crate) struct Reader<R> {
    io: R,
    buffer: BytesMut,
    side: Side,
    bounds: Bounds,
}

/// Shows the length of what was read, which itself belongs in no log.
impl<R> fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Reader");
        out.field("side", &self.side).field("buffer", &self.buffer.len()).finish_non_exhaustive()
    }
}

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Bytes(usize),
    Chunks,
    Close,
}

/// Until when the next bytes have to come.
struct Pace {
    until: Instant,
    left: usize,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Reads from a connection of which `rest` was read already.
    pub(crate) fn new(io: R, rest: BytesMut, side: Side, bounds: Bounds) -> Self {
        Self { io, buffer: rest, side, bounds }
    }

    /// Returns whether the connection is known to have failed, as far as it tells who reads nothing.
    #[cfg(feature = "server")]
    pub(crate) async fn is_broken(&mut self) -> bool {
        poll_fn(|task| {
            let polled = Pin::new(&mut self.io).poll_read(task, &mut ReadBuf::new(&mut []));
            Poll::Ready(matches!(polled, Poll::Ready(Err(_))))
        })
        .await
    }

    /// Reads the next message; `None` when the peer has ended between two.
    ///
    /// Waits for its first byte as long as the caller does, and for the rest within the bounds. Not
    /// cancel safe: whoever drops the future reads no more.
    ///
    /// # Errors
    /// 400 for what is no message, 413 past the limit of a body, 408 from a slow peer, 503 when the
    /// connection breaks off.
    pub(crate) async fn next(&mut self) -> Result<Option<Message>> {
        for _ in 0..=INTERIM_MAX {
            let Some(head) = self.head().await? else { return Ok(None) };
            let (status, headers, length) = parse(&head, self.side)?;
            if (100..200).contains(&status) {
                continue;
            }
            let body = self.body(length).await?;
            return Ok(Some(Message { status, headers, body }));
        }
        Err(bad("more interim answers than there may be"))
    }

    /// Reads and drops what the peer still sends, until it has ended.
    #[cfg(any(feature = "server", test))]
    pub(crate) async fn discard(&mut self) {
        // Progress: each turn reads at least a byte; the caller bounds the time.
        loop {
            self.buffer.clear();
            if !matches!(self.read().await, Ok(1..)) {
                return;
            }
        }
    }

    /// Reads a head up to the empty line that ends it.
    async fn head(&mut self) -> Result<Option<Bytes>> {
        // Progress: each turn takes bytes, or reads some.
        loop {
            // Line breaks ahead of a message are no part of it.
            while self.buffer.first().is_some_and(|byte| matches!(byte, b'\r' | b'\n')) {
                self.buffer.advance(1);
            }
            if !self.buffer.is_empty() {
                break;
            }
            if self.read().await? == 0 {
                return Ok(None);
            }
        }
        let until = clock::after(clock::now(), self.bounds.head_timeout);
        let mut scanned = 0;
        // Progress: each turn reads at least a byte, and the head is bounded.
        loop {
            let fresh = self.buffer.get(scanned..).unwrap_or_default();
            if let Some(at) = fresh.windows(4).position(|four| four == b"\r\n\r\n") {
                if scanned + at > HEAD_BYTES_MAX {
                    return Err(too_long());
                }
                return Ok(Some(self.buffer.split_to(scanned + at + 4).freeze()));
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(too_long());
            }
            scanned = self.buffer.len().saturating_sub(3);
            let read = clock::timeout_at(until, self.read());
            if read.await.map_err(|_elapsed| slow("the head of a message"))?? == 0 {
                return Err(broken_off());
            }
        }
    }

    async fn body(&mut self, length: Length) -> Result<Bytes> {
        let mut pace = self.pace();
        match length {
            Length::Bytes(bytes) if bytes > self.bounds.body_bytes => Err(too_large()),
            Length::Bytes(bytes) => {
                self.fill(bytes, &mut pace).await?;
                Ok(self.buffer.split_to(bytes).freeze())
            }
            Length::Chunks => self.chunks(&mut pace).await,
            Length::Close => {
                // Progress: each turn reads at least a byte, within the limit.
                while self.more(&mut pace).await? {
                    if self.buffer.len() > self.bounds.body_bytes {
                        return Err(too_large());
                    }
                }
                Ok(self.buffer.split().freeze())
            }
        }
    }

    async fn chunks(&mut self, pace: &mut Pace) -> Result<Bytes> {
        let mut whole = BytesMut::new();
        // Progress: each turn takes the line of a chunk.
        loop {
            let line = self.line(CHUNK_LINE_BYTES_MAX, pace).await?;
            let bytes = chunk_bytes(&line)?;
            if bytes == 0 {
                self.trailers(pace).await?;
                return Ok(whole.freeze());
            }
            if bytes > self.bounds.body_bytes.saturating_sub(whole.len()) {
                return Err(too_large());
            }
            self.fill(bytes + 2, pace).await?;
            whole.extend_from_slice(&self.buffer.split_to(bytes));
            if self.buffer.split_to(2) != b"\r\n"[..] {
                return Err(bad("a chunk is longer than it says"));
            }
        }
    }

    /// Reads and drops what follows the last chunk.
    async fn trailers(&mut self, pace: &mut Pace) -> Result<()> {
        let mut left = HEAD_BYTES_MAX;
        // Progress: each turn takes a line off what is left.
        loop {
            let line = self.line(left, pace).await?;
            if line.is_empty() {
                return Ok(());
            }
            left = left.saturating_sub(line.len() + 2);
        }
    }

    /// Reads a line; its end is not part of it.
    async fn line(&mut self, bytes_max: usize, pace: &mut Pace) -> Result<BytesMut> {
        let mut scanned = 0;
        // Progress: each turn reads at least a byte, and a line is bounded.
        loop {
            let fresh = self.buffer.get(scanned..).unwrap_or_default();
            if let Some(at) = fresh.windows(2).position(|two| two == b"\r\n") {
                if scanned + at > bytes_max {
                    return Err(too_long());
                }
                let line = self.buffer.split_to(scanned + at);
                self.buffer.advance(2);
                return Ok(line);
            }
            if self.buffer.len() > bytes_max + 1 {
                return Err(too_long());
            }
            scanned = self.buffer.len().saturating_sub(1);
            if !self.more(pace).await? {
                return Err(broken_off());
            }
        }
    }

    /// Reads until the buffer has as many bytes.
    async fn fill(&mut self, bytes: usize, pace: &mut Pace) -> Result<()> {
        // Progress: each turn reads at least a byte.
        while self.buffer.len() < bytes {
            if !self.more(pace).await? {
                return Err(broken_off());
            }
        }
        Ok(())
    }

    fn pace(&self) -> Pace {
        let until = clock::after(clock::now(), self.bounds.progress_timeout);
        Pace { until, left: self.bounds.progress_bytes }
    }

    /// Reads more of a body; `false` at the end of the connection.
    async fn more(&mut self, pace: &mut Pace) -> Result<bool> {
        if self.buffer.len() > self.bounds.body_bytes.saturating_add(HEAD_BYTES_MAX) {
            return Err(too_large());
        }
        let read = clock::timeout_at(pace.until, self.read());
        let count = read.await.map_err(|_elapsed| slow("the body of a message"))??;
        if count >= pace.left {
            *pace = self.pace();
        } else {
            pace.left -= count;
        }
        Ok(count > 0)
    }

    async fn read(&mut self) -> Result<usize> {
        self.buffer.reserve(READ_BYTES);
        let read = self.io.read_buf(&mut self.buffer).await;
        read.map_err(|error| broken_off().with_source(error))
    }
}

/// Reads a head: the status, the headers, where the body ends.
fn parse(head: &[u8], side: Side) -> Result<(u16, Headers, Length)> {
    let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let (status, version, lines) = match side {
        Side::Requests => {
            let mut request = httparse::Request::new(&mut lines);
            complete(request.parse(head))?;
            (0, request.version, &*request.headers)
        }
        Side::Responses => {
            let mut response = httparse::Response::new(&mut lines);
            complete(response.parse(head))?;
            (response.code.unwrap_or_default(), response.version, &*response.headers)
        }
    };
    let mut headers = Headers::default();
    for line in lines {
        headers.add(line.name, line.value);
    }
    let length = length(lines, (side, status), version == Some(1))?;
    Ok((status, headers, length))
}

fn complete(parsed: httparse::Result<usize>) -> Result<()> {
    match parsed {
        Ok(httparse::Status::Complete(_)) => Ok(()),
        Ok(httparse::Status::Partial) => Err(bad("a head that ends before it should")),
        Err(error) => Err(bad(&format!("a head that is no HTTP: {error}")).with_source(error)),
    }
}

/// Decides where a body ends; whatever two readers could read differently is refused.
fn length(
    lines: &[httparse::Header<'_>],
    (side, status): (Side, u16),
    chunks: bool,
) -> Result<Length> {
    let named = |name: &'static str| {
        let lines = lines.iter().filter(move |line| line.name.eq_ignore_ascii_case(name));
        lines.map(|line| line.value.trim_ascii())
    };
    let mut lengths = named("content-length");
    let mut codings = named("transfer-encoding");
    let (length, coding) = (lengths.next(), codings.next());
    if lengths.any(|other| Some(other) != length) || codings.next().is_some() {
        return Err(bad("a head that gives two lengths"));
    }
    match (length, coding) {
        (Some(_), Some(_)) => Err(bad("a head with a length and a coding")),
        (None, Some(coding)) if chunks && coding.eq_ignore_ascii_case(b"chunked") => {
            Ok(Length::Chunks)
        }
        (None, Some(_)) => Err(bad("a coding that is not `chunked`")),
        // These have none, whatever the head says.
        _ if side == Side::Responses && matches!(status, 100..200 | 204 | 304) => {
            Ok(Length::Bytes(0))
        }
        (Some(digits), None) => number(digits, 10).map(Length::Bytes),
        (None, None) if side == Side::Responses => Ok(Length::Close),
        (None, None) => Ok(Length::Bytes(0)),
    }
    .and_then(|length| match length {
        Length::Bytes(bytes) if bytes > LENGTH_MAX => Err(too_large()),
        length => Ok(length),
    })
}

/// A length past which no arithmetic on lengths is safe; far beyond every limit of a body.
const LENGTH_MAX: usize = usize::MAX / 4;

fn chunk_bytes(line: &[u8]) -> Result<usize> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    number(digits, 16)
        .and_then(|bytes| if bytes > LENGTH_MAX { Err(too_large()) } else { Ok(bytes) })
}

/// Reads digits and nothing else: no sign, no space, no underscore.
fn number(digits: &[u8], radix: u32) -> Result<usize> {
    let plain = !digits.is_empty() && digits.iter().all(|byte| char::from(*byte).is_digit(radix));
    let text = std::str::from_utf8(digits).ok().filter(|_| plain);
    let text = text.ok_or_else(|| bad("a length that is no number"))?;
    usize::from_str_radix(text, radix).map_err(|error| too_large().with_source(error))
}

fn bad(what: &str) -> Error {
    Error::bad_request(ID, format!("the peer sent {what}"))
}

fn too_long() -> Error {
    bad("a head or a line past the limit")
}

fn too_large() -> Error {
    Error::too_large(ID, "the body of a message is past the limit")
}

fn slow(what: &str) -> Error {
    Error::timeout(ID, format!("{what} came too slowly"))
}

fn broken_off() -> Error {
    Error::unavailable(ID, "the connection broke off").with_retry(Retry::Unknown)
}

#[cfg(test)]
mod tests;
