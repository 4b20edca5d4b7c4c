//! An exchange that a future runs, for transports that have a future for each call.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as Task, Poll, Waker};

use bytes::Bytes;

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{Answer, Driver, Exchange, Reset};
use crate::core::shutdown::TaskTracker;

/// What the future of a relayed exchange says to the caller.
///
/// A unary call is ended by [`Line::reply`]. A stream of responses begins with [`Line::open`], goes
/// on with [`Line::push`] and ends with [`Line::end`]; [`Line::reply`] with an error ends either
/// before it has begun. A line that is dropped before its end fails the call with a 503 that may
/// have run.
#[derive(Debug)]
pub struct Line {
    relay: Arc<Relay>,
    over: bool,
}

impl Exchange {
    /// Makes an exchange of the future that `call` returns, which runs in a task of its own.
    ///
    /// At most `window_bytes` of messages wait for the reader, and one message whatever its size.
    /// The future is dropped at its next await when the caller gives up the exchange or stops
    /// reading its stream, and at `deadline` if it has neither answered nor opened its stream by
    /// then, which is a 408: what it holds then has to reset the call at the peer.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use micro::core::exchange::Exchange;
    /// use micro::core::shutdown::TaskTracker;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let tasks = TaskTracker::new();
    /// let mut exchange = Exchange::relayed(&tasks, "echo", 64 * 1024, None, |line| async move {
    ///     line.reply(Ok(Bytes::from_static(b"pong")));
    /// });
    /// let answer = std::future::poll_fn(|task| exchange.poll_reply(task)).await;
    /// assert_eq!(answer.result.unwrap(), "pong");
    /// # }
    /// ```
    ///
    /// # Panics
    /// Panics outside of a tokio runtime.
    pub fn relayed<F>(
        tasks: &TaskTracker,
        name: &'static str,
        window_bytes: usize,
        deadline: Option<Instant>,
        call: impl FnOnce(Line) -> F,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let relay = Arc::new(Relay { state: Mutex::default(), window_bytes });
        let call = call(Line { relay: Arc::clone(&relay), over: false });
        let watched = Arc::clone(&relay);
        tasks.spawn(name, async move {
            tokio::select! {
                biased;
                () = poll_fn(|task| watched.poll_gone(Watcher::Task, task)) => {}
                () = call => {}
                () = late(&watched, deadline) => {}
            }
        });
        Self::started(relay, 0)
    }
}

impl Line {
    /// Answers a unary call, or refuses a call of any kind.
    pub fn reply(mut self, result: Result<Bytes>) {
        let answer = Answer::new(clock::now(), result);
        self.finish(|state| state.answer = Some(answer));
    }

    /// Begins the stream of responses.
    pub fn open(&mut self) {
        self.relay.tell(|state| state.open = true);
    }

    /// Hands the reader a message, waiting for room.
    ///
    /// # Errors
    /// 499 when the reader has gone away; the future is dropped soon after.
    pub async fn push(&mut self, message: Bytes) -> Result<()> {
        let relay = &self.relay;
        poll_fn(|task| relay.poll_room(message.len(), task)).await?;
        relay.tell(|state| {
            state.unread_bytes += message.len();
            state.messages.push_back(message);
        });
        Ok(())
    }

    /// Ends the stream of responses, after the messages before it were read.
    pub fn end(mut self, result: Result<()>) {
        self.finish(|state| {
            state.open = true;
            state.end = Some(result);
        });
    }

    /// Waits until the caller has given up.
    pub async fn gone(&self) {
        poll_fn(|task| self.relay.poll_gone(Watcher::Line, task)).await;
    }

    fn finish(&mut self, say: impl FnOnce(&mut State)) {
        self.over = true;
        self.relay.tell(say);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.over {
            let detail = "the transport gave up the call, which may have run";
            let error = Error::unavailable("micro.transport", detail).with_retry(Retry::Unknown);
            self.finish(|state| {
                if state.open {
                    state.end = Some(Err(error));
                } else {
                    // A call that is late was told so.
                    state.answer.get_or_insert(Answer::new(clock::now(), Err(error)));
                }
            });
        }
    }
}

/// The state that a line and its exchange share.
struct Relay {
    state: Mutex<State>,
    window_bytes: usize,
}

#[derive(Default)]
struct State {
    answer: Option<Answer>,
    /// Whether the stream of responses has begun.
    open: bool,
    messages: VecDeque<Bytes>,
    /// Bytes of messages that the reader has not taken.
    unread_bytes: usize,
    end: Option<Result<()>>,
    /// Whether the reader was told of the end.
    ended: bool,
    /// Whether the caller has given up.
    gone: bool,
    reader: Option<Waker>,
    /// Who waits for the caller to give up: the task of the future, and the future itself.
    watchers: [Option<Waker>; 2],
    /// Who waits for room.
    writer: Option<Waker>,
}

/// Who waits for the caller to give up.
#[derive(Clone, Copy)]
enum Watcher {
    Task,
    Line,
}

impl Relay {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the state whole, so a poisoned lock is still sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what the reader sees and wakes it, which may run code of users, without the lock.
    fn tell(&self, change: impl FnOnce(&mut State)) {
        let reader = {
            let mut state = self.lock();
            change(&mut state);
            state.reader.take()
        };
        reader.into_iter().for_each(Waker::wake);
    }

    fn poll_gone(&self, watcher: Watcher, task: &mut Task<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.gone {
            return Poll::Ready(());
        }
        let [of_task, of_line] = &mut state.watchers;
        let slot = match watcher {
            Watcher::Task => of_task,
            Watcher::Line => of_line,
        };
        *slot = Some(task.waker().clone());
        Poll::Pending
    }

    fn poll_room(&self, bytes: usize, task: &mut Task<'_>) -> Poll<Result<()>> {
        let mut state = self.lock();
        if state.gone {
            let detail = "the reader of the stream is gone";
            return Poll::Ready(Err(Error::cancelled("micro.transport", detail)));
        }
        if state.unread_bytes == 0 || state.unread_bytes + bytes <= self.window_bytes {
            return Poll::Ready(Ok(()));
        }
        state.writer = Some(task.waker().clone());
        Poll::Pending
    }

    fn leave(&self) {
        let (watchers, writer) = {
            let mut state = self.lock();
            state.gone = true;
            state.messages.clear();
            (std::mem::take(&mut state.watchers), state.writer.take())
        };
        watchers.into_iter().flatten().chain(writer).for_each(Waker::wake);
    }
}

impl State {
    fn poll_messages(
        &mut self,
        batch: &mut VecDeque<Bytes>,
        task: &mut Task<'_>,
    ) -> Poll<Option<Result<()>>> {
        if !self.messages.is_empty() {
            batch.append(&mut self.messages);
            return Poll::Ready(Some(Ok(())));
        }
        match self.end.take() {
            Some(end) => {
                self.ended = true;
                Poll::Ready(end.err().map(Err))
            }
            None if self.ended => Poll::Ready(None),
            None => {
                self.reader = Some(task.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Driver for Relay {
    fn poll_reply(&self, _: u32, task: &mut Task<'_>) -> Poll<Answer> {
        let mut state = self.lock();
        if let Some(answer) = state.answer.take() {
            return Poll::Ready(answer);
        }
        if state.open {
            let error = unexpected("a stream where one response was expected");
            return Poll::Ready(Answer::new(clock::now(), Err(error)));
        }
        state.reader = Some(task.waker().clone());
        Poll::Pending
    }

    fn poll_opened(&self, _: u32, task: &mut Task<'_>) -> Poll<Result<()>> {
        let mut state = self.lock();
        if state.open {
            return Poll::Ready(Ok(()));
        }
        if let Some(answer) = state.answer.take() {
            let error = |_| unexpected("one response where a stream was expected");
            return Poll::Ready(Err(answer.result.map_or_else(|error| error, error)));
        }
        state.reader = Some(task.waker().clone());
        Poll::Pending
    }

    fn poll_messages(
        &self,
        _: u32,
        consumed: usize,
        batch: &mut VecDeque<Bytes>,
        task: &mut Task<'_>,
    ) -> Poll<Option<Result<()>>> {
        let (polled, writer) = {
            let mut state = self.lock();
            state.unread_bytes = state.unread_bytes.saturating_sub(consumed);
            let writer = if consumed > 0 { state.writer.take() } else { None };
            (state.poll_messages(batch, task), writer)
        };
        writer.into_iter().for_each(Waker::wake);
        polled
    }

    fn flush(&self) {}

    fn reset(&self, _: u32, _: Reset) {
        self.leave();
    }

    fn stop_reading(&self, _: u32) {
        self.leave();
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("window_bytes", &self.window_bytes).finish_non_exhaustive()
    }
}

/// Waits until a call that has not begun to answer is late, and tells its caller.
async fn late(relay: &Relay, deadline: Option<Instant>) {
    let Some(deadline) = deadline else { return std::future::pending().await };
    clock::sleep_until(deadline).await;
    if relay.lock().open {
        return std::future::pending().await;
    }
    let detail = "the deadline passed before the node answered";
    let error = Error::timeout("micro.transport", detail);
    relay.tell(|state| {
        state.answer.get_or_insert(Answer::new(deadline, Err(error)));
    });
}

#[cold]
fn unexpected(what: &str) -> Error {
    Error::internal("micro.transport", format!("the node answered by {what}"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    fn relayed<F: Future<Output = ()> + Send + 'static>(
        call: impl FnOnce(Line) -> F,
    ) -> (TaskTracker, Exchange) {
        let tasks = TaskTracker::new();
        let exchange = Exchange::relayed(&tasks, "relayed", 10, None, call);
        (tasks, exchange)
    }

    fn soon() -> Instant {
        clock::after(clock::now(), Duration::from_secs(30))
    }

    async fn reply(mut exchange: Exchange) -> Result<Bytes> {
        poll_fn(|task| exchange.poll_reply(task)).await.result
    }

    #[tokio::test]
    async fn the_future_answers_once() {
        let (_tasks, exchange) = relayed(|line| async move { line.reply(Ok("a".into())) });
        assert_eq!(reply(exchange).await.unwrap(), "a");
        let refused = Error::not_found("shop", "no order 7");
        let (_tasks, exchange) = relayed(|line| async move { line.reply(Err(refused)) });
        assert_eq!(reply(exchange).await.unwrap_err().code(), 404);
    }

    #[tokio::test]
    async fn a_line_that_says_nothing_fails_the_call_which_may_have_run() {
        let (_tasks, exchange) = relayed(|line| async move { drop(line) });
        let error = reply(exchange).await.unwrap_err();
        assert_eq!((error.code(), error.retry()), (503, Retry::Unknown));
    }

    #[tokio::test]
    async fn a_stream_holds_its_producer_within_the_window_and_ends_after_its_messages() {
        static PUSHED: AtomicUsize = AtomicUsize::new(0);
        let (_tasks, mut exchange) = relayed(|mut line| async move {
            line.open();
            for message in ["1234", "5678", "9", "a message longer than the window", "10"] {
                line.push(message.into()).await.unwrap();
                PUSHED.fetch_add(1, Ordering::SeqCst);
            }
            line.end(Err(Error::conflict("a", "b")));
        });
        poll_fn(|task| exchange.poll_opened(task)).await.unwrap();
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(PUSHED.load(Ordering::SeqCst), 3);
        let mut stream = exchange.into_stream();
        for message in ["1234", "5678", "9", "a message longer than the window", "10"] {
            assert_eq!(stream.next().await.unwrap().unwrap(), message);
        }
        assert_eq!(stream.next().await.unwrap().unwrap_err().code(), 409);
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn who_gives_up_drops_the_future() {
        let forever = |mut line: Line| async move {
            line.open();
            while line.push("12345".into()).await.is_ok() {}
            std::future::pending().await
        };
        let (tasks, exchange) = relayed(forever);
        drop(exchange);
        assert_eq!(tasks.wait(soon()).await, 0);
        let (tasks, mut exchange) = relayed(forever);
        poll_fn(|task| exchange.poll_opened(task)).await.unwrap();
        let mut stream = exchange.into_stream();
        assert_eq!(stream.next().await.unwrap().unwrap(), "12345");
        drop(stream);
        assert_eq!(tasks.wait(soon()).await, 0);
    }

    #[tokio::test]
    async fn an_answer_of_the_other_kind_is_an_error() {
        let (_tasks, mut exchange) = relayed(|line| async move { line.reply(Ok("a".into())) });
        let error = poll_fn(|task| exchange.poll_opened(task)).await.unwrap_err();
        assert!(error.detail().contains("a stream was expected"), "{error}");
        let (_tasks, exchange) = relayed(|mut line| async move {
            line.open();
            line.gone().await;
        });
        let error = reply(exchange).await.unwrap_err();
        assert!(error.detail().contains("one response was expected"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_does_not_answer_in_time_is_late_and_its_future_dropped() {
        let tasks = TaskTracker::new();
        let (began, time) = (clock::now(), Duration::from_secs(3));
        let deadline = Some(clock::after(began, time));
        let exchange = Exchange::relayed(&tasks, "late", 10, deadline, |line| async move {
            let _silent = line;
            std::future::pending().await
        });
        assert_eq!(reply(exchange).await.unwrap_err().code(), 408);
        assert_eq!(clock::now() - began, time);
        assert_eq!(tasks.wait(soon()).await, 0);
        // A stream that has begun is not bounded by the deadline of its call.
        let mut exchange =
            Exchange::relayed(&tasks, "stream", 10, deadline, |mut line| async move {
                line.open();
                clock::sleep(Duration::from_secs(60)).await;
                line.end(Ok(()));
            });
        poll_fn(|task| exchange.poll_opened(task)).await.unwrap();
        let mut stream = exchange.into_stream();
        assert!(stream.next().await.is_none());
        assert!(stream.next().await.is_none());
    }
}
