//! Streams of messages that claims send and handlers return, counted as they are made.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::core::error::{Error, Result};
use crate::core::stream::{BoxSource, MessageSource, Streaming};

/// The length of a message of a flood.
pub(super) const FLOOD_BYTES: usize = 1000;

/// Counts something that is alive, and that it is gone.
#[derive(Debug)]
pub(super) struct Alive(Arc<AtomicUsize>);

impl Alive {
    pub(super) fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What a source has come to.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// Messages that were asked for.
    pub(super) made: Arc<AtomicUsize>,
    /// Sources that were not dropped.
    pub(super) alive: Arc<AtomicUsize>,
}

impl Progress {
    pub(super) fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }

    pub(super) fn alive(&self) -> usize {
        self.alive.load(Ordering::SeqCst)
    }
}

/// Messages by their number.
struct Numbered {
    next: usize,
    /// How many there are, and the error that follows, if any.
    end: Option<(usize, Option<Error>)>,
    text: fn(usize) -> String,
    progress: Progress,
    _alive: Alive,
}

impl MessageSource for Numbered {
    fn poll_encode(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<Option<Result<()>>> {
        let next = self.next;
        if let Some((count, error)) = &mut self.end
            && next >= *count
        {
            return Poll::Ready(error.take().map(Err));
        }
        out.extend_from_slice((self.text)(next).as_bytes());
        self.next += 1;
        self.progress.made.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(Some(Ok(())))
    }
}

fn numbered(
    end: Option<(usize, Option<Error>)>,
    text: fn(usize) -> String,
    progress: &Progress,
) -> BoxSource {
    let alive = Alive::new(&progress.alive);
    Box::pin(Numbered { next: 0, end, text, progress: progress.clone(), _alive: alive })
}

/// The numbers below `count`, then `error` if there is one.
pub(super) fn numbers(count: usize, error: Option<Error>) -> BoxSource {
    numbered(Some((count, error)), |n| n.to_string(), &Progress::default())
}

/// `count` long messages.
pub(super) fn many(count: usize) -> BoxSource {
    numbered(Some((count, None)), flood_text, &Progress::default())
}

/// Long messages without an end.
pub(super) fn flood(progress: &Progress) -> BoxSource {
    numbered(None, flood_text, progress)
}

/// A message of a flood: its number with zeros in front, as text.
pub(super) fn flood_text(number: usize) -> String {
    format!("\"{number:0>width$}\"", width = FLOOD_BYTES - 2)
}

/// A stream of texts as a source.
struct Texts(Streaming<String>);

impl MessageSource for Texts {
    fn poll_encode(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<Option<Result<()>>> {
        let next = std::task::ready!(Pin::new(&mut self.0).poll_next(task));
        Poll::Ready(next.map(|text| {
            out.extend_from_slice(text?.as_bytes());
            Ok(())
        }))
    }
}

pub(super) fn texts(stream: Streaming<String>) -> BoxSource {
    Box::pin(Texts(stream))
}
