//! The messages of a caller as the requests of a call.

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use crate::core::error::{Error, Result};
use crate::core::stream::{RawStream, Streaming};
use crate::server::http::websocket::talk::Ending;
use crate::transport::websocket::{Incoming, Message};

/// Requests that wait for their handler; one more waits to be queued, and the peer waits from then
/// on.
const REQUESTS_WAITING: usize = 1;

/// A part of what a caller sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    Request(Bytes),
    /// There are no more.
    End,
}

/// Where parts come out.
pub(super) type Parts = mpsc::Receiver<Part>;

/// Makes the queue between the reader of a connection and its handler.
pub(super) fn queue() -> (mpsc::Sender<Part>, Parts) {
    mpsc::channel(REQUESTS_WAITING)
}

/// Makes the stream that a handler reads.
///
/// A connection that breaks before its caller has said that there are no more requests is an error
/// in the stream: a part must not pass for the whole.
pub(super) fn stream(parts: Parts) -> RawStream {
    Streaming::unfold(Some(parts), |parts| async move {
        let mut parts = parts?;
        match parts.recv().await {
            Some(Part::Request(request)) => Some((Ok(request), Some(parts))),
            Some(Part::End) => None,
            None => {
                let detail = "the caller went away before the end of its requests";
                Some((Err(Error::cancelled("micro.server", detail)), None))
            }
        }
    })
}

/// Reads what a caller sends until the connection ends.
///
/// `one` says that a single message is all of its requests. Nothing is read while the handler is
/// busy with what came before.
pub(super) async fn read<S: AsyncRead + AsyncWrite + Unpin>(
    incoming: &mut Incoming<S>,
    parts: mpsc::Sender<Part>,
    text: bool,
    one: bool,
) -> Ending {
    // Dropped with the reader, which is how the handler learns of its end.
    let (parts, mut open) = (parts, true);
    loop {
        let message = match incoming.next().await {
            Ok(message) => message,
            Err(ended) => return ended.into(),
        };
        let part = match part(message, text) {
            Ok(part) => part,
            Err(error) => return error.into(),
        };
        match (&part, open) {
            (Part::Request(_), false) => {
                let detail = "a message came after the last request of the call";
                return Error::bad_request("micro.server", detail).into();
            }
            // Those who say the end of a single request say nothing new.
            (Part::End, false) => continue,
            _ => open = part != Part::End && !one,
        }
        incoming.pause(true);
        // A handler that reads no more of its requests may still answer.
        let _unread = parts.send(part).await;
        incoming.pause(false);
        // What comes next may end the call: what came before is to be answered first, if it can be
        // at once.
        tokio::task::yield_now().await;
    }
}

/// Reads a message: in text when the format is JSON, in binary otherwise. An empty text is the end.
fn part(message: Message, text: bool) -> Result<Part> {
    match message {
        Message::Text(bytes) if bytes.is_empty() => Ok(Part::End),
        Message::Text(bytes) if text => Ok(Part::Request(bytes)),
        Message::Binary(bytes) if !text => Ok(Part::Request(bytes)),
        Message::Text(_) => Err(unsupported("requests in this format are binary messages")),
        Message::Binary(_) => Err(unsupported(
            "requests in JSON are text messages; a subprotocol such as micro.msgpack takes binary",
        )),
    }
}

fn unsupported(detail: &str) -> Error {
    Error::new("micro.server", 415, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_that_break_off_end_in_an_error_and_complete_ones_do_not() {
        for (complete, code) in [(true, None), (false, Some(499))] {
            let (sender, parts) = queue();
            let mut requests = stream(parts);
            sender.send(Part::Request("1".into())).await.unwrap();
            assert_eq!(requests.next().await.unwrap().unwrap(), "1");
            if complete {
                sender.send(Part::End).await.unwrap();
            }
            drop(sender);
            let last = requests.next().await.map(|last| last.unwrap_err().code());
            assert_eq!(last, code);
            assert!(requests.next().await.is_none());
        }
    }
}
