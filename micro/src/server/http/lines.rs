//! A body of JSON values, one a line, as a stream of requests.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;

use crate::core::error::Result;
use crate::core::stream::{RawStream, Streaming};
use crate::server::http::body::{Payload, broken, too_large};

/// Splits a body into its lines; blank ones are skipped. A line past `bytes_max` ends the stream.
///
/// The body is read only as the stream is: its sender waits for the handler.
pub(super) fn lines<B: Payload>(body: B, bytes_max: usize) -> RawStream {
    Streaming::from_stream(Lines {
        body,
        buffer: BytesMut::new(),
        scanned: 0,
        ended: false,
        bytes_max,
    })
}

struct Lines<B> {
    body: B,
    buffer: BytesMut,
    /// Bytes of the buffer that hold no line break.
    scanned: usize,
    ended: bool,
    bytes_max: usize,
}

impl<B: Payload> Lines<B> {
    /// Takes a line out of the buffer; the rest counts as one when the body has ended.
    fn take(&mut self) -> Option<Bytes> {
        let fresh = self.buffer.get(self.scanned..).unwrap_or_default();
        match fresh.iter().position(|byte| *byte == b'\n') {
            Some(at) => {
                let line = self.buffer.split_to(self.scanned + at + 1).freeze();
                self.scanned = 0;
                Some(line)
            }
            None if self.ended && !self.buffer.is_empty() => {
                self.scanned = 0;
                Some(self.buffer.split().freeze())
            }
            None => {
                self.scanned = self.buffer.len();
                None
            }
        }
    }

    fn fail<T>(&mut self, error: T) -> Poll<Option<T>> {
        self.ended = true;
        self.buffer.clear();
        self.scanned = 0;
        Poll::Ready(Some(error))
    }
}

impl<B: Payload> Stream for Lines<B> {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        // Progress: each turn takes a line or a frame, or ends.
        loop {
            while let Some(line) = this.take() {
                let line = line.slice_ref(line.trim_ascii());
                if line.len() > this.bytes_max {
                    return this.fail(Err(too_large(this.bytes_max)));
                }
                if !line.is_empty() {
                    return Poll::Ready(Some(Ok(line)));
                }
            }
            if this.ended {
                return Poll::Ready(None);
            }
            if this.buffer.len() > this.bytes_max {
                return this.fail(Err(too_large(this.bytes_max)));
            }
            match std::task::ready!(Pin::new(&mut this.body).poll_frame(task)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        this.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return this.fail(Err(broken(error))),
                None => this.ended = true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;

    async fn split(text: &str, max: usize) -> (Vec<String>, Option<u16>) {
        let mut lines = lines(Full::new(Bytes::from(text.to_owned())), max);
        let mut all = Vec::new();
        while let Some(next) = lines.next().await {
            match next {
                Ok(line) => all.push(String::from_utf8(line.to_vec()).unwrap()),
                Err(error) => return (all, Some(error.code())),
            }
        }
        (all, None)
    }

    #[tokio::test]
    async fn lines_are_values_and_blank_ones_are_none() {
        let (all, error) = split("1\n{\"a\": 2}\r\n\n  \n3", 100).await;
        assert_eq!(
            (all.as_slice(), error),
            (&["1".into(), "{\"a\": 2}".into(), "3".into()][..], None)
        );
        assert_eq!(split("", 100).await, (vec![], None));
        assert_eq!(split("\n\n", 100).await, (vec![], None));
    }

    #[tokio::test]
    async fn a_line_past_the_limit_ends_the_stream() {
        for (length, code) in [(9, None), (10, None), (11, Some(413)), (100, Some(413))] {
            let long = "x".repeat(length);
            let (all, error) = split(&format!("1\n{long}\n2\n"), 10).await;
            assert_eq!(error, code, "{length}");
            assert_eq!(all.len(), if code.is_none() { 3 } else { 1 });
        }
    }
}
