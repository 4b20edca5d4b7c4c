//! A connection to an nsqd, from its first byte to the answer to IDENTIFY.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::core::clock;
use crate::core::error::{Error, Result, Retry};

use super::ERROR_ID;
use super::command;
use super::frame::{self, Frame};

/// A connection is there, and nsqd has answered, within this.
const OPEN_TIMEOUT: Duration = Duration::from_secs(3);
/// How often nsqd asks whether the client is there: half of what it takes to notice that it hangs.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// An nsqd that is silent for this long, more than two heartbeats, is gone.
const SILENCE_MAX: Duration = Duration::from_secs(12);
/// How long nsqd may hold messages back to send several at once: the least that its documents call
/// cheap.
pub(super) const HOLD_BACK: Duration = Duration::from_millis(25);
/// How long nsqd waits for a message that nobody settles or touches: what a lost connection had comes
/// again after that, and nobody else gets it before.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(15);
/// Room for what is read at once.
const READ_BYTES: usize = 16 * 1024;

/// What nsqd says of itself; where it says nothing, what it is without being told.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(super) struct Settings {
    /// The most messages that a connection may ask for.
    pub(super) max_rdy_count: u32,
    /// Milliseconds until a message is delivered again that nobody settles or touches.
    msg_timeout: u64,
    auth_required: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_rdy_count: 2500, msg_timeout: 60_000, auth_required: false }
    }
}

impl Settings {
    /// Returns how long a message is with a client until it has to be settled or touched.
    pub(super) fn message_timeout(self) -> Duration {
        Duration::from_millis(self.msg_timeout)
    }
}

/// A connection over which both sides know each other.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) reader: Reader,
    pub(super) writer: OwnedWriteHalf,
    pub(super) settings: Settings,
}

impl Connection {
    /// Connects to `host:port`; a message of it may have so many bytes.
    ///
    /// # Errors
    /// 503 within three seconds; nothing was asked.
    pub(super) async fn open(address: &str, body_bytes_max: usize) -> Result<Self> {
        let opened = clock::timeout(OPEN_TIMEOUT, Self::greet(address, body_bytes_max)).await;
        let opened = opened.unwrap_or_else(|_elapsed| {
            let text = format!("no answer within {OPEN_TIMEOUT:?}");
            Err(Error::unavailable(ERROR_ID, text))
        });
        opened.map_err(|error| {
            let text = format!("no connection to nsqd at {address}: {}", error.detail());
            Error::unavailable(ERROR_ID, text).with_retry(Retry::Safe)
        })
    }

    async fn greet(address: &str, body_bytes_max: usize) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        // Without it small commands wait for the acknowledgement of earlier ones.
        stream.set_nodelay(true)?;
        let (half, mut writer) = stream.into_split();
        let buffer = BytesMut::new();
        let mut reader = Reader { half, buffer, body_bytes_max, skipped: 0 };
        let wishes = serde_json::json!({
            "client_id": format!("micro-{}", std::process::id()),
            "feature_negotiation": true,
            "heartbeat_interval": HEARTBEAT.as_millis(),
            "msg_timeout": MESSAGE_TIMEOUT.as_millis(),
            "output_buffer_timeout": HOLD_BACK.as_millis(),
            "user_agent": concat!("micro/", env!("CARGO_PKG_VERSION")),
        });
        let hello = [command::MAGIC, &command::identify(wishes.to_string().as_bytes())].concat();
        writer.write_all(&hello).await?;
        let settings = settings(&reader.answer().await?)?;
        Ok(Self { reader, writer, settings })
    }
}

/// Reads what nsqd says of itself: an old one answers OK.
fn settings(answer: &[u8]) -> Result<Settings> {
    if answer == b"OK" {
        return Ok(Settings::default());
    }
    let settings: Settings = serde_json::from_slice(answer).map_err(|error| {
        Error::internal(ERROR_ID, format!("its settings are malformed: {error}"))
    })?;
    if settings.auth_required {
        return Err(Error::internal(ERROR_ID, "it asks for AUTH, which is not supported"));
    }
    Ok(settings)
}

/// The half of a connection that is read.
#[derive(Debug)]
pub(super) struct Reader {
    half: OwnedReadHalf,
    buffer: BytesMut,
    body_bytes_max: usize,
    /// Bytes of a body that is too long, yet to come.
    skipped: usize,
}

impl Reader {
    /// Reads the next frame; cancel safe.
    ///
    /// # Errors
    /// When the connection has ended, nsqd is silent, or sends what is no frame.
    pub(super) async fn next(&mut self) -> Result<Frame> {
        loop {
            let here = self.skipped.min(self.buffer.len());
            self.buffer.advance(here);
            self.skipped -= here;
            if self.skipped == 0
                && let Some(frame) = frame::take(&mut self.buffer, self.body_bytes_max)?
            {
                if let Frame::TooLong { bytes, .. } = frame {
                    self.skipped = bytes;
                }
                return Ok(frame);
            }
            self.buffer.reserve(READ_BYTES);
            let read = clock::timeout(SILENCE_MAX, self.half.read_buf(&mut self.buffer)).await;
            let count = read.map_err(|_elapsed| {
                Error::unavailable(ERROR_ID, format!("nsqd is silent for {SILENCE_MAX:?}"))
            })??;
            if count == 0 {
                return Err(Error::unavailable(ERROR_ID, "nsqd has closed the connection"));
            }
        }
    }

    /// Reads the answer to a command, before any message may come. A heartbeat meanwhile is
    /// answered by the command that follows.
    pub(super) async fn answer(&mut self) -> Result<Bytes> {
        loop {
            match self.next().await? {
                Frame::Answer(answer) => return Ok(answer),
                Frame::Heartbeat => {}
                Frame::Error(text) => return Err(Error::unavailable(ERROR_ID, text)),
                Frame::Message(_) | Frame::TooLong { .. } => {
                    return Err(Error::internal(ERROR_ID, "nsqd sends a message not asked for"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nsqd_says_of_itself_is_read() {
        let said = br#"{"max_rdy_count":7,"msg_timeout":1500,"version":"1.3.0","tls_v1":false}"#;
        let read = settings(said).unwrap();
        assert_eq!((read.max_rdy_count, read.message_timeout().as_millis()), (7, 1500));
        assert_eq!(settings(b"OK").unwrap(), Settings::default());
        assert!(settings(br#"{"auth_required":true}"#).unwrap_err().detail().contains("AUTH"));
        assert!(settings(b"[").is_err() && settings(br#"{"max_rdy_count":-1}"#).is_err());
    }
}
