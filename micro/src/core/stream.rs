//! Streams of messages, as handlers and callers see them and as transports drain them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;

use crate::core::body::Body;
use crate::core::error::{Error, Result};
use crate::core::exchange::Messages;

/// A stream of messages that ends, or fails once.
///
/// A producer is polled only while its consumer keeps up: what is in flight is bounded by the
/// credit of the connection. Dropping either end resets the other.
///
/// A stream does not outlive its connection, and a connection has an age: 30 minutes by default,
/// then half a minute for what is left (`age_max` and `age_grace` of
/// [`ConnectionLimits`](crate::core::limits::ConnectionLimits)). A reader that watches for longer
/// gets a 503 that says so, and calls again.
pub struct Streaming<T> {
    inner: Inner<T>,
}

/// Where the messages of a stream come from.
enum Inner<T> {
    Any(Pin<Box<dyn Stream<Item = Result<T>> + Send>>),
    /// From a transport; the function makes a `T`, which are bytes, of each.
    Arriving(Box<Messages>, fn(&Body<'_>) -> T),
}

impl RawStream {
    /// Makes a stream of what arrives on an exchange.
    pub(crate) fn arriving(messages: Messages) -> Self {
        Self { inner: Inner::Arriving(Box::new(messages), |body| body.share()) }
    }
}

impl<T: Send + 'static> Streaming<T> {
    /// Makes a stream of any stream of results.
    pub fn from_stream(stream: impl Stream<Item = Result<T>> + Send + 'static) -> Self {
        Self { inner: Inner::Any(Box::pin(stream)) }
    }

    /// Makes a stream of the values of an iterator.
    #[expect(clippy::should_implement_trait, reason = "the bound Send + 'static differs")]
    pub fn from_iter(values: impl IntoIterator<Item = T, IntoIter: Send + 'static>) -> Self {
        struct Iter<I>(I);
        impl<I> Unpin for Iter<I> {}
        impl<I: Iterator> Stream for Iter<I> {
            type Item = Result<I::Item>;
            fn poll_next(
                mut self: Pin<&mut Self>,
                _: &mut Context<'_>,
            ) -> Poll<Option<Self::Item>> {
                Poll::Ready(self.0.next().map(Ok))
            }
        }
        Self::from_stream(Iter(values.into_iter()))
    }

    /// Makes a stream fed through a queue of at most `capacity` messages.
    ///
    /// The stream ends when the last sender is dropped.
    pub fn channel(capacity: usize) -> (Sender<T>, Self) {
        let (tx, rx) = tokio::sync::mpsc::channel(capacity.max(1));
        (Sender { tx }, Self::from_stream(Receive(rx)))
    }

    /// Makes a stream of what a broadcast channel carries.
    ///
    /// A consumer that falls behind the channel's capacity gets one error (429) that counts the
    /// messages it missed, and the stream ends: nothing is lost silently.
    pub fn from_broadcast(receiver: tokio::sync::broadcast::Receiver<T>) -> Self
    where
        T: Clone,
    {
        use tokio::sync::broadcast::error::RecvError;
        let next = |state: Option<tokio::sync::broadcast::Receiver<T>>| async move {
            let mut receiver = state?;
            match receiver.recv().await {
                Ok(value) => Some((Ok(value), Some(receiver))),
                Err(RecvError::Closed) => None,
                Err(RecvError::Lagged(missed)) => {
                    let detail = format!("the consumer fell behind and missed {missed} messages");
                    Some((Err(Error::too_many_requests("micro.stream", detail)), None))
                }
            }
        };
        Self::unfold(Some(receiver), next)
    }

    /// Makes a stream by an async step from a state to a message and the next state.
    pub(crate) fn unfold<S, F, Fut>(state: S, step: F) -> Self
    where
        S: Send + 'static,
        F: FnMut(S) -> Fut + Send + 'static,
        Fut: Future<Output = Option<(Result<T>, S)>> + Send + 'static,
    {
        Self::from_stream(Unfold { state: Some(state), step, running: None })
    }

    /// Keeps the messages for which `keep` holds; errors pass.
    #[must_use]
    pub fn filter(self, mut keep: impl FnMut(&T) -> bool + Send + 'static) -> Self {
        self.filter_map(move |value| keep(&value).then_some(value))
    }

    /// Turns each message into another; errors pass.
    #[must_use]
    pub fn map<U: Send + 'static>(
        self,
        mut f: impl FnMut(T) -> U + Send + 'static,
    ) -> Streaming<U> {
        self.filter_map(move |value| Some(f(value)))
    }

    fn filter_map<U: Send + 'static>(
        self,
        f: impl FnMut(T) -> Option<U> + Send + 'static,
    ) -> Streaming<U> {
        struct Map<T, F>(Streaming<T>, F);
        impl<T, F> Unpin for Map<T, F> {}
        impl<T, U, F: FnMut(T) -> Option<U>> Stream for Map<T, F> {
            type Item = Result<U>;
            fn poll_next(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<Option<Self::Item>> {
                // Progress: each turn consumes one message of the source.
                loop {
                    match std::task::ready!(self.0.poll_message(cx)) {
                        Some(Ok(value)) => {
                            if let Some(mapped) = (self.1)(value) {
                                return Poll::Ready(Some(Ok(mapped)));
                            }
                        }
                        Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                        None => return Poll::Ready(None),
                    }
                }
            }
        }
        Streaming::from_stream(Map(self, f))
    }
}

impl<T> Streaming<T> {
    /// Waits for the next message; `None` at the end. Cancel safe.
    #[expect(clippy::should_implement_trait, reason = "it returns a future")]
    pub fn next(&mut self) -> impl Future<Output = Option<Result<T>>> + use<'_, T> {
        Next(self)
    }

    /// Returns what arrives on an exchange, where the stream is nothing else.
    ///
    /// # Errors
    /// The stream, where it is something else.
    #[cfg(feature = "client")]
    pub(crate) fn into_arriving(self) -> Result<Box<Messages>, Self> {
        match self.inner {
            Inner::Arriving(messages, _) => Ok(messages),
            inner => Err(Self { inner }),
        }
    }

    #[inline]
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        match &mut self.inner {
            Inner::Any(stream) => stream.as_mut().poll_next(cx),
            Inner::Arriving(messages, make) => messages.poll_with(cx, |body| Ok(make(body))),
        }
    }

    /// Collects all messages; stops at `max` of them.
    ///
    /// # Errors
    /// The error with which the stream ends, or 413 when it holds more than `max` messages.
    pub async fn collect(mut self, max: usize) -> Result<Vec<T>> {
        let mut all = Vec::new();
        while let Some(next) = self.next().await {
            if all.len() == max {
                let detail = format!("the stream holds more than {max} messages");
                return Err(Error::new("micro.stream", 413, detail));
            }
            all.push(next?);
        }
        Ok(all)
    }
}

impl<T> Stream for Streaming<T> {
    type Item = Result<T>;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_message(cx)
    }
}

impl<T> fmt::Debug for Streaming<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streaming").finish_non_exhaustive()
    }
}

/// Waits for the next message of a stream.
struct Next<'a, T>(&'a mut Streaming<T>);

impl<T> Future for Next<'_, T> {
    type Output = Option<Result<T>>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_message(cx)
    }
}

/// The producing end of [`Streaming::channel`].
#[derive(Debug)]
pub struct Sender<T> {
    tx: tokio::sync::mpsc::Sender<Result<T>>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { tx: self.tx.clone() }
    }
}

impl<T: Send> Sender<T> {
    /// Sends a message, waiting for room.
    ///
    /// # Errors
    /// 499 when the consumer has gone away.
    pub async fn send(&self, value: T) -> Result<()> {
        self.deliver(Ok(value)).await
    }

    /// Ends the stream with an error once the messages before it have been consumed.
    ///
    /// # Errors
    /// 499 when the consumer has gone away.
    pub async fn fail(self, error: Error) -> Result<()> {
        self.deliver(Err(error)).await
    }

    /// Returns whether the consumer has gone away.
    pub fn is_closed(&self) -> bool {
        self.tx.is_closed()
    }

    /// Waits until the consumer has gone away.
    pub async fn closed(&self) {
        self.tx.closed().await;
    }

    async fn deliver(&self, value: Result<T>) -> Result<()> {
        let gone = |_| Error::cancelled("micro.stream", "the consumer of the stream is gone");
        self.tx.send(value).await.map_err(gone)
    }
}

struct Receive<T>(tokio::sync::mpsc::Receiver<Result<T>>);

impl<T> Stream for Receive<T> {
    type Item = Result<T>;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

/// A stream made by an async step from state to item and next state.
struct Unfold<S, F, Fut> {
    state: Option<S>,
    step: F,
    running: Option<Pin<Box<Fut>>>,
}

impl<S, F, Fut> Unpin for Unfold<S, F, Fut> {}

impl<S, F, Fut, T> Stream for Unfold<S, F, Fut>
where
    F: FnMut(S) -> Fut,
    Fut: Future<Output = Option<(T, S)>>,
{
    type Item = T;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let this = &mut *self;
        if let Some(state) = this.state.take() {
            this.running = Some(Box::pin((this.step)(state)));
        }
        let Some(running) = &mut this.running else { return Poll::Ready(None) };
        let done = std::task::ready!(running.as_mut().poll(cx));
        this.running = None;
        Poll::Ready(done.map(|(item, state)| {
            this.state = Some(state);
            item
        }))
    }
}

/// A stream of encoded messages that appends each to a transport's buffer.
pub trait MessageSource: Send {
    /// Appends the next message to `out`, or ends.
    ///
    /// On `Pending` and on errors nothing was appended.
    fn poll_encode(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<Option<Result<()>>>;
}

/// A source that waits to be pumped to the peer.
pub type BoxSource = Pin<Box<dyn MessageSource>>;

/// Waits for the next message of a source; `None` at its end. Cancel safe.
pub async fn next_encoded(source: &mut BoxSource) -> Option<Result<Bytes>> {
    let mut out = Vec::new();
    let next = std::future::poll_fn(|cx| source.as_mut().poll_encode(cx, &mut out)).await;
    next.map(|encoded| encoded.map(|()| out.into()))
}

/// A stream of messages as they arrived, not yet decoded.
pub type RawStream = Streaming<Bytes>;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_channel_delivers_in_order_and_ends_with_its_sender() {
        let (tx, mut rx) = Streaming::channel(2);
        tx.send(1).await.unwrap();
        tx.send(2).await.unwrap();
        drop(tx);
        assert_eq!(rx.next().await.unwrap().unwrap(), 1);
        assert_eq!(rx.next().await.unwrap().unwrap(), 2);
        assert!(rx.next().await.is_none());
    }

    #[tokio::test]
    async fn a_lagging_consumer_of_a_broadcast_is_told_how_much_it_missed() {
        let (tx, rx) = tokio::sync::broadcast::channel(2);
        let mut stream = Streaming::from_broadcast(rx);
        for n in 0..5 {
            tx.send(n).unwrap();
        }
        let error = stream.next().await.unwrap().unwrap_err();
        assert_eq!(error.code(), 429);
        assert!(error.detail().contains('3'), "{error}");
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn filter_and_map_keep_errors() {
        let values = Streaming::from_iter([1, 2, 3]).filter(|n| n % 2 == 1).map(|n| n * 10);
        assert_eq!(values.collect(8).await.unwrap(), [10, 30]);
    }

    #[tokio::test]
    async fn collect_refuses_more_than_its_limit() {
        assert_eq!(Streaming::from_iter([1, 2]).collect(2).await.unwrap().len(), 2);
        assert_eq!(Streaming::from_iter([1, 2, 3]).collect(2).await.unwrap_err().code(), 413);
    }
}
