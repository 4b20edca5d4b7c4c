//! Typed streams at one end, streams of bytes at the other.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::codec::{DecFn, EncFn, Format};
use crate::core::error::Result;
use crate::core::exchange::Messages;
use crate::core::stream::{BoxSource, MessageSource, RawStream, Streaming};

/// Makes a source that encodes the messages of a stream as they are asked for.
pub(crate) fn encoded<T: Send + 'static>(
    stream: Streaming<T>,
    format: Format,
    encode: EncFn<T>,
) -> BoxSource {
    Box::pin(Encoded { stream, format, encode })
}

struct Encoded<T> {
    stream: Streaming<T>,
    format: Format,
    encode: EncFn<T>,
}

impl<T> Unpin for Encoded<T> {}

impl<T: Send> MessageSource for Encoded<T> {
    fn poll_encode(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<Option<Result<()>>> {
        let this = &mut *self;
        let start = out.len();
        Poll::Ready(match std::task::ready!(Pin::new(&mut this.stream).poll_next(cx)) {
            None => None,
            Some(Err(error)) => Some(Err(error)),
            Some(Ok(value)) => {
                let done = (this.encode)(&this.format, &value, out);
                if done.is_err() {
                    out.truncate(start);
                }
                Some(done)
            }
        })
    }
}

/// Makes a stream that decodes messages as they are asked for.
pub(crate) fn decoded<T: Send + 'static>(
    messages: RawStream,
    format: Format,
    decode: DecFn<T>,
) -> Streaming<T> {
    let messages = messages.into_arriving().map_or_else(Origin::Any, Origin::Arriving);
    Streaming::from_stream(Decoded { messages, format, decode })
}

struct Decoded<T> {
    messages: Origin,
    format: Format,
    decode: DecFn<T>,
}

/// Where encoded messages come from: a transport is read without a share of its bytes for each.
enum Origin {
    Arriving(Box<Messages>),
    Any(RawStream),
}

impl<T> Unpin for Decoded<T> {}

impl<T> Stream for Decoded<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { messages, format, decode } = &mut *self;
        match messages {
            Origin::Arriving(messages) => messages.poll_with(cx, |body| decode(format, body)),
            Origin::Any(messages) => {
                let next = std::task::ready!(Pin::new(messages).poll_next(cx));
                Poll::Ready(next.map(|message| decode(format, &(&message?).into())))
            }
        }
    }
}
