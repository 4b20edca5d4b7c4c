//! Serves the exchanges of a connection to those who hold them, on either side.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::time::Instant;

use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{Answer, Connection, Driver, Exchange, Flush, Head, Inbox, Reset};
use crate::core::future::BoxFuture;
use crate::core::stream::BoxSource;
use crate::transport::native::frame::{
    self, FLAG_BODY, FLAG_END, FLAG_EXTRA, FLAG_MORE, HEADER_BYTES, Kind,
};
use crate::transport::native::hello::WINDOW_BYTES_LEAST;
use crate::transport::native::inbound::MESSAGE_COST;
use crate::transport::native::link::{Link, Need, State};
use crate::transport::native::streams::{Flow, Stream};
use crate::transport::native::{head, pump};

/// Credit is given once this much has been read: half of the least window, so that a sender whose
/// window is that small is never left without.
const GRANT_STEP: usize = WINDOW_BYTES_LEAST / 2;

impl Connection for Link {
    fn start(
        self: Arc<Self>,
        head: &Head<'_>,
        body: &Bytes,
        source: Option<BoxSource>,
    ) -> Result<Exchange> {
        let streams = source.is_some();
        let (id, flush) = {
            let mut state = self.lock();
            if let Some(error) = state.refusal(Need::Stream) {
                return Err(error);
            }
            if state.is_full(&self.limits, Need::Stream) {
                return Err(full());
            }
            let id = self.open(&mut state, head, body, streams)?;
            let alone = state.streams.live() == 1;
            self.look_sooner(&mut state, head.deadline);
            let flush = self.plan_for(&mut state, alone);
            if flush == Flush::Yield && !std::mem::replace(&mut state.watched, true) {
                self.rescuer.notify_one();
            }
            (id, flush)
        };
        if let Some(source) = source {
            let pump = pump::requests(Arc::clone(&self), id, source);
            let task = self.tasks.spawn("native requests", pump).abort_on_drop();
            // Dropped, and so aborted, if the connection has closed meanwhile.
            let _orphan = self.lock().keep_task(id, task);
        }
        if flush == Flush::Now {
            self.flush();
            return Ok(Exchange::new(self, id, Flush::None).watched(head.waker.is_some()));
        }
        Ok(Exchange::new(self, id, flush).watched(head.waker.is_some()))
    }

    fn is_open(&self) -> bool {
        self.lock().refusal(Need::Stream).is_none()
    }

    fn is_full(&self) -> bool {
        self.lock().is_full(&self.limits, Need::Stream)
    }

    fn ready(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.room(Need::Stream))
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        Box::pin(Self::closed(self))
    }

    fn drain(&self) {
        self.lock().draining = true;
        self.room_changed();
        self.keeper.notify_one();
    }

    fn close(&self) {
        self.flush();
        Self::close(self, &Error::unavailable("micro.transport", "the connection was closed"));
    }
}

fn full() -> Error {
    let detail = "as many calls are in flight to the node as it allows";
    Error::too_many_requests("micro.transport", detail).with_retry(Retry::Safe)
}

impl Link {
    /// Queues the open frame of a call, and the frames of a body that does not fit it.
    fn open(&self, state: &mut State, head: &Head<'_>, body: &[u8], streams: bool) -> Result<u32> {
        let limit = state.peer.message_bytes_max;
        if body.len() > limit {
            let detail = format!("the request has {} bytes, the limit is {limit}", body.len());
            return Err(Error::too_large("micro.transport", detail));
        }
        head::check(head)?;
        let (id, stream) = state.streams.open(state.peer.streams_max).ok_or_else(full)?;
        stream.deadline = head.deadline;
        stream.waker = head.waker.cloned();
        if streams || head.route.kind().streams_responses() {
            stream.flow = Some(Box::new(Flow::new(state.peer.window_bytes)));
        }
        let extra = if head.extra.is_some() { FLAG_EXTRA } else { 0 };
        let last = if streams { 0 } else { FLAG_BODY | FLAG_END };
        let State { out, names, peer, .. } = &mut *state;
        let start = frame::begin(out, Kind::Open, extra | last, id);
        head::put(out, head, names, self.own.names_max.min(peer.names_max));
        let room = (start + HEADER_BYTES + peer.frame_bytes_max).saturating_sub(out.len());
        match body.split_at_checked(room).filter(|(_, rest)| !rest.is_empty()) {
            None => {
                out.extend_from_slice(body);
                frame::finish(out, start);
            }
            Some((first, rest)) => {
                out.extend_from_slice(first);
                frame::set_flags(out, start, extra | FLAG_BODY | FLAG_MORE);
                frame::finish(out, start);
                frame::put_message(out, FLAG_END, id, rest, peer.frame_bytes_max);
            }
        }
        let position = state.position();
        if let Some(stream) = state.streams.get(id) {
            stream.sent_at = position;
        }
        Ok(id)
    }

    /// Wakes the keeper when a deadline comes before its next look.
    pub(super) fn look_sooner(&self, state: &mut State, deadline: Option<Instant>) {
        if let Some(deadline) = deadline.filter(|deadline| *deadline < state.next_look) {
            state.next_look = deadline;
            self.keeper.notify_one();
        }
    }

    /// Wakes those who wait for room, whatever there is.
    pub(super) fn room_changed(&self) {
        let state = self.lock();
        self.wake_waiting(&state);
    }

    /// Ends a stream, and the connection if it was the last of a draining one; returns what of the
    /// stream is to be dropped outside of the lock.
    pub(super) fn release(&self, state: &mut State, id: u32) -> Option<Stream> {
        let stream = if self.dialed { state.streams.release(id) } else { state.streams.remove(id) };
        if state.streams.live() == 0 {
            state.idle_since = clock::now();
            if state.draining {
                self.keeper.notify_one();
            }
        }
        self.wake_waiting(state);
        stream
    }
}

fn gone(state: &State) -> Error {
    let closed = state.closed.clone().map(|error| error.with_retry(Retry::Unknown));
    closed.unwrap_or_else(|| Error::internal("micro.transport", "the exchange is over"))
}

fn wait(slot: &mut Option<Waker>, task: &Context<'_>) {
    match slot {
        Some(waker) if waker.will_wake(task.waker()) => {}
        slot => *slot = Some(task.waker().clone()),
    }
}

impl Driver for Link {
    fn poll_reply(&self, id: u32, task: &mut Context<'_>) -> Poll<Answer> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some(stream) = state.streams.get(id) else {
            return Poll::Ready(Answer { at: clock::now(), result: Err(gone(state)) });
        };
        match stream.answer.take() {
            None => {
                wait(&mut stream.waker, task);
                Poll::Pending
            }
            Some(answer) => {
                let stream = self.release(state, id);
                drop(guard);
                // A pump that is aborted here drops user code, which must not run under the lock.
                drop(stream);
                Poll::Ready(answer)
            }
        }
    }

    fn poll_opened(&self, id: u32, task: &mut Context<'_>) -> Poll<Result<()>> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some(stream) = state.streams.get(id) else { return Poll::Ready(Err(gone(state))) };
        if stream.flow.as_ref().is_some_and(|flow| flow.opened) {
            return Poll::Ready(Ok(()));
        }
        match stream.answer.take() {
            None => {
                wait(&mut stream.waker, task);
                Poll::Pending
            }
            Some(answer) => {
                let stream = self.release(state, id);
                drop(guard);
                drop(stream);
                let answered = "the node answered a stream by one message";
                let unasked = |_| Err(Error::internal("micro.transport", answered));
                Poll::Ready(answer.result.and_then(unasked))
            }
        }
    }

    fn poll_messages(
        &self,
        id: u32,
        consumed: usize,
        batch: &mut Inbox,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<()>>> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let grant = self.grant(state, id, consumed);
        let Some(stream) = state.streams.get(id) else {
            let error = gone(state);
            return Poll::Ready(Some(Err(error)));
        };
        let Some(flow) = &mut stream.flow else { return Poll::Ready(None) };
        let polled = if flow.inbox.is_empty() {
            match flow.end.take() {
                None => {
                    wait(&mut stream.waker, task);
                    Poll::Pending
                }
                Some(end) => {
                    flow.stopped = true;
                    Poll::Ready(end.map_or_else(|e| Some(Err(e)), |()| None))
                }
            }
        } else {
            std::mem::swap(&mut flow.inbox, batch);
            flow.handed = batch.len();
            flow.reads = (0, 0);
            Poll::Ready(Some(Ok(())))
        };
        // The caller's stream is over with its last response; the handler's call goes on.
        let over = self.dialed && matches!(polled, Poll::Ready(None | Some(Err(_))));
        let stream = if over { self.release(state, id) } else { None };
        drop(guard);
        drop(stream);
        if grant {
            self.flush();
        }
        polled
    }

    fn flush(&self) {
        Self::flush(self);
    }

    fn reset(&self, id: u32, reason: Reset) {
        let stream = {
            let mut guard = self.lock();
            let state = &mut *guard;
            if state.streams.get(id).is_none() {
                return;
            }
            frame::put(&mut state.out, Kind::Reset, 0, id, &[frame::reason_byte(reason)]);
            self.release(state, id)
        };
        drop(stream);
        self.flush();
    }

    fn stop_reading(&self, id: u32) {
        if self.dialed {
            return self.reset(id, Reset::Cancelled);
        }
        {
            let mut guard = self.lock();
            let state = &mut *guard;
            let Some(flow) = state.streams.get(id).and_then(|s| s.flow.as_mut()) else { return };
            flow.stopped = true;
            flow.inbox.clear();
            let reason = [frame::reason_byte(Reset::Cancelled)];
            frame::put(&mut state.out, Kind::Reset, FLAG_END, id, &reason);
        }
        self.flush();
    }
}

impl Link {
    /// Gives the sender credit for what was read, in steps.
    fn grant(&self, state: &mut State, id: u32, consumed: usize) -> bool {
        let Some(flow) = state.streams.get(id).and_then(|stream| stream.flow.as_mut()) else {
            return false;
        };
        let cost = consumed + std::mem::take(&mut flow.handed) * MESSAGE_COST;
        flow.unread = flow.unread.saturating_sub(cost);
        flow.owed += cost;
        if flow.owed < GRANT_STEP || flow.end.is_some() || flow.stopped {
            return false;
        }
        let owed = u32::try_from(std::mem::take(&mut flow.owed)).unwrap_or(u32::MAX);
        frame::put(&mut state.out, Kind::Credit, 0, id, &owed.to_be_bytes());
        true
    }
}
