//! A body of messages as a stream of requests.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;

use crate::codec::sequence::{Next, Row, Splitter};
use crate::core::error::{Error, Result};
use crate::core::stream::{RawStream, Streaming};
use crate::server::http::body::{Payload, broken, too_large};

/// Splits a body into its messages. One past `bytes_max` ends the stream.
///
/// The body is read only as the stream is: its sender waits for the handler.
pub(super) fn messages<B: Payload>(body: B, row: Row, bytes_max: usize) -> RawStream {
    let splitter = Splitter::new(row, bytes_max);
    Streaming::from_stream(Messages { body, splitter, bytes_max, ended: false, over: false })
}

struct Messages<B> {
    body: B,
    splitter: Splitter,
    bytes_max: usize,
    /// Whether the body has ended.
    ended: bool,
    /// Whether the stream has.
    over: bool,
}

impl<B: Payload> Stream for Messages<B> {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        // Progress: each turn takes a message or a frame, or ends.
        loop {
            if this.over {
                return Poll::Ready(None);
            }
            let failed = match this.splitter.next(this.ended) {
                Next::Message(message) => return Poll::Ready(Some(Ok(message))),
                Next::TooLarge => too_large(this.bytes_max),
                Next::Broken => Error::bad_request("micro.server", "the last message is not whole"),
                Next::More if this.ended => {
                    this.over = true;
                    continue;
                }
                Next::More => match std::task::ready!(Pin::new(&mut this.body).poll_frame(task)) {
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data() {
                            this.splitter.push(&data);
                        }
                        continue;
                    }
                    Some(Err(error)) => broken(error),
                    None => {
                        this.ended = true;
                        continue;
                    }
                },
            };
            this.over = true;
            return Poll::Ready(Some(Err(failed)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;

    async fn split(text: &str, row: Row, max: usize) -> (Vec<String>, Option<u16>) {
        let mut messages = messages(Full::new(Bytes::from(text.to_owned())), row, max);
        let mut all = Vec::new();
        while let Some(next) = messages.next().await {
            match next {
                Ok(message) => all.push(String::from_utf8(message.to_vec()).unwrap()),
                Err(error) => return (all, Some(error.code())),
            }
        }
        (all, None)
    }

    #[tokio::test]
    async fn a_message_past_the_limit_ends_the_stream() {
        for (length, code) in [(9, None), (10, None), (11, Some(413)), (100, Some(413))] {
            let long = "x".repeat(length);
            let (all, error) = split(&format!("1\n{long}\n2\n"), Row::Lines, 10).await;
            assert_eq!(error, code, "{length}");
            assert_eq!(all.len(), if code.is_none() { 3 } else { 1 });
        }
    }

    #[tokio::test]
    async fn a_stream_of_values_that_breaks_off_fails() {
        assert_eq!(
            split("\u{1}\u{2}", Row::Values, 10).await,
            (vec!["\u{1}".into(), "\u{2}".into()], None)
        );
        // The marker of a list of three, and one of them: neither is UTF-8 by itself.
        let cut = Bytes::from_static(b"\x93\x01");
        let mut stream = messages(Full::new(cut), Row::Values, 10);
        assert_eq!(stream.next().await.unwrap().unwrap_err().code(), 400);
        assert!(stream.next().await.is_none());
    }
}
