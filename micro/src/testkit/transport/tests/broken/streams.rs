//! What may be wrong with the messages of a stream.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context as Task, Poll};

use bytes::Bytes;
use futures_core::Stream;

use super::Flaw;
use crate::core::error::Result;
use crate::core::shutdown::TaskTracker;
use crate::core::stream::{BoxSource, MessageSource, RawStream, Streaming};

/// Messages that a gatherer holds.
const GATHERED_MAX: usize = 20_000;

/// Messages that a hoarder holds: more than may be held.
const HOARD: usize = 40_000;

/// Passes the messages of a source on, with its flaw.
pub(super) fn replayed(flaw: Flaw, source: BoxSource, tasks: &TaskTracker) -> BoxSource {
    let mut messages: RawStream = Streaming::from_stream(Encoded(source));
    let spoiled = match flaw {
        Flaw::GathersResponses => gathered(messages),
        Flaw::EndsFailedStreams => Streaming::from_stream(EndsFailures(Some(messages))),
        Flaw::LosesTheLast => losing(messages),
        Flaw::Reorders => reordered(messages),
        Flaw::Hoards => {
            let (sender, hoard) = Streaming::channel(HOARD);
            tasks.spawn("hoards", async move {
                while let Some(Ok(message)) = messages.next().await {
                    sender.send(message).await.unwrap();
                }
            });
            hoard
        }
        _ => messages,
    };
    Box::pin(Replayed(spoiled))
}

/// Hands messages over when all are there.
pub(super) fn gathered(messages: RawStream) -> RawStream {
    let start = (Some(messages), VecDeque::new());
    Streaming::unfold(start, |(messages, mut all): (Option<RawStream>, VecDeque<Bytes>)| async {
        if let Some(mut messages) = messages {
            while let Some(next) = messages.next().await {
                match next {
                    Ok(message) => all.push_back(message),
                    Err(error) => return Some((Err(error), (None, VecDeque::new()))),
                }
                if all.len() == GATHERED_MAX {
                    std::future::pending::<()>().await;
                }
            }
        }
        all.pop_front().map(|message| (Ok(message), (None, all)))
    })
}

fn losing(messages: RawStream) -> RawStream {
    Streaming::unfold((messages, None), |(mut messages, mut held)| async {
        loop {
            let message = match messages.next().await? {
                Ok(message) => message,
                Err(error) => return Some((Err(error), (messages, None))),
            };
            if let Some(before) = held.replace(message) {
                return Some((Ok(before), (messages, held)));
            }
        }
    })
}

fn reordered(messages: RawStream) -> RawStream {
    Streaming::unfold((messages, None), |(mut messages, held)| async {
        if let Some(held) = held {
            return Some((Ok(held), (messages, None)));
        }
        match (messages.next().await?, messages.next().await) {
            (Ok(first), Some(Ok(second))) => Some((Ok(second), (messages, Some(first)))),
            (first, _) => Some((first, (messages, None))),
        }
    })
}

/// A source as the stream that its peer would read.
struct Encoded(BoxSource);

impl Stream for Encoded {
    type Item = Result<Bytes>;
    fn poll_next(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Self::Item>> {
        let mut out = Vec::new();
        let next = std::task::ready!(self.0.as_mut().poll_encode(task, &mut out));
        Poll::Ready(next.map(|encoded| encoded.map(|()| out.into())))
    }
}

struct Replayed(RawStream);

impl MessageSource for Replayed {
    fn poll_encode(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<Option<Result<()>>> {
        let next = std::task::ready!(Pin::new(&mut self.0).poll_next(task));
        Poll::Ready(next.map(|message| {
            out.extend_from_slice(&message?);
            Ok(())
        }))
    }
}

/// Takes a failure for the end.
pub(super) struct EndsFailures(pub(super) Option<RawStream>);

impl Stream for EndsFailures {
    type Item = Result<Bytes>;
    fn poll_next(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Self::Item>> {
        let Some(messages) = &mut self.0 else { return Poll::Ready(None) };
        match std::task::ready!(Pin::new(messages).poll_next(task)) {
            Some(Ok(message)) => Poll::Ready(Some(Ok(message))),
            _ => {
                self.0 = None;
                Poll::Ready(None)
            }
        }
    }
}

/// Requests that somebody else holds on to.
pub(super) struct Kept(pub(super) Arc<Mutex<BoxSource>>);

impl MessageSource for Kept {
    fn poll_encode(
        self: Pin<&mut Self>,
        task: &mut Task<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<Option<Result<()>>> {
        self.0.lock().unwrap().as_mut().poll_encode(task, out)
    }
}
