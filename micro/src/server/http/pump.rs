//! A stream of responses as the chunks of a body.

use std::fmt;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::codec::sequence::{Row, on_one_line};
use crate::core::error::Error;
use crate::core::stream::BoxSource;
use crate::server::http::body::too_large;

/// Bytes after which a chunk is sent.
const CHUNK_BYTES: usize = 32 * 1024;

/// Messages after which a chunk is sent, so that many small ones do not hold up other connections.
const CHUNK_MESSAGES: usize = 1024;

/// How messages are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// One after the other.
    Row(Row),
    /// Server-sent events.
    Events,
}

/// Drains a stream as fast as the peer reads. Dropping it cancels the call.
pub(super) struct Pump {
    source: BoxSource,
    framing: Framing,
    bytes_max: usize,
    over: bool,
}

impl Pump {
    pub(super) fn new(source: BoxSource, framing: Framing, bytes_max: usize) -> Self {
        Self { source, framing, bytes_max, over: false }
    }

    /// Polls for the next chunk; pending only while it would be empty.
    pub(super) fn poll_chunk(&mut self, task: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut out = Vec::new();
        for _ in 0..CHUNK_MESSAGES {
            if self.over || out.len() >= CHUNK_BYTES {
                break;
            }
            if self.poll_message(task, &mut out).is_pending() {
                if out.is_empty() {
                    return Poll::Pending;
                }
                break;
            }
        }
        if !out.is_empty() {
            return Poll::Ready(Some(out.into()));
        }
        if self.over {
            return Poll::Ready(None);
        }
        // Nothing but empty messages: others get their turn.
        task.waker().wake_by_ref();
        Poll::Pending
    }

    /// Appends one message, or the end.
    fn poll_message(&mut self, task: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<()> {
        let start = out.len();
        if self.framing == Framing::Events {
            out.extend_from_slice(b"data: ");
        }
        let begun = out.len();
        let next = match self.source.as_mut().poll_encode(task, out) {
            Poll::Pending => {
                out.truncate(start);
                return Poll::Pending;
            }
            Poll::Ready(next) => next,
        };
        match next {
            Some(Ok(())) if out.len() - begun > self.bytes_max => {
                out.truncate(start);
                self.fail(&too_large(self.bytes_max), out);
            }
            Some(Ok(())) => self.close(begun, out),
            Some(Err(error)) => {
                out.truncate(start);
                self.fail(&error, out);
            }
            None => {
                out.truncate(start);
                self.over = true;
                if self.framing == Framing::Events {
                    out.extend_from_slice(b"event: end\ndata: {}\n\n");
                }
            }
        }
        Poll::Ready(())
    }

    /// Ends a message.
    fn close(&self, begun: usize, out: &mut Vec<u8>) {
        match self.framing {
            Framing::Row(row) => row.close(begun, out),
            Framing::Events => {
                on_one_line(begun, out);
                out.extend_from_slice(b"\n\n");
            }
        }
    }

    fn fail(&mut self, error: &Error, out: &mut Vec<u8>) {
        self.over = true;
        match self.framing {
            Framing::Row(row) => row.put_failure(error, out),
            Framing::Events => {
                let text = format!("event: error\ndata: {}\n\n", error.to_json());
                out.extend_from_slice(text.as_bytes());
            }
        }
    }
}

impl fmt::Debug for Pump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pump").field("framing", &self.framing).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Format, encoded};
    use crate::core::error::Result;
    use crate::core::stream::Streaming;

    fn raw(_: &Format, value: &&'static str, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(value.as_bytes());
        Ok(())
    }

    async fn sent(items: Vec<Result<&'static str>>, framing: Framing) -> String {
        struct Iter(std::vec::IntoIter<Result<&'static str>>);
        impl futures_core::Stream for Iter {
            type Item = Result<&'static str>;
            fn poll_next(
                mut self: std::pin::Pin<&mut Self>,
                _: &mut Context<'_>,
            ) -> Poll<Option<Self::Item>> {
                Poll::Ready(self.0.next())
            }
        }
        let stream = Streaming::from_stream(Iter(items.into_iter()));
        let mut pump = Pump::new(encoded(stream, Format::Json, raw), framing, 10);
        let mut all = Vec::new();
        while let Some(chunk) = std::future::poll_fn(|task| pump.poll_chunk(task)).await {
            all.extend_from_slice(&chunk);
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    const LINES: Framing = Framing::Row(Row::Lines);
    const VALUES: Framing = Framing::Row(Row::Values);

    #[tokio::test]
    async fn each_framing_tells_messages_and_the_end_apart() {
        let items = || vec![Ok("1"), Ok("[2,\n3]")];
        assert_eq!(sent(items(), LINES).await, "1\n[2, 3]\n");
        let events = "data: 1\n\ndata: [2, 3]\n\nevent: end\ndata: {}\n\n";
        assert_eq!(sent(items(), Framing::Events).await, events);
        assert_eq!(sent(items(), VALUES).await, "1[2,\n3]");
        assert_eq!(sent(vec![], LINES).await, "");
    }

    #[tokio::test]
    async fn a_failure_comes_last() {
        let items = || vec![Ok("1"), Err(Error::conflict("a", "b")), Ok("2")];
        let json = Error::conflict("a", "b").to_json();
        assert_eq!(sent(items(), LINES).await, format!("1\n{{\"error\":{json}}}\n"));
        let events = format!("data: 1\n\nevent: error\ndata: {json}\n\n");
        assert_eq!(sent(items(), Framing::Events).await, events);
        assert!(sent(items(), VALUES).await.ends_with(&json));
    }

    #[tokio::test]
    async fn a_message_past_the_limit_ends_the_stream() {
        assert_eq!(sent(vec![Ok("0123456789")], LINES).await, "0123456789\n");
        let text = sent(vec![Ok("1"), Ok("0123456789+")], LINES).await;
        assert!(text.starts_with("1\n{\"error\":") && text.contains("413"), "{text}");
    }
}
