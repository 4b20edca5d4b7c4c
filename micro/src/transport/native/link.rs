//! What the reader, the writer and the callers of one connection share.
//!
//! Writing: whoever queues frames either writes them at once (it is alone, or much is queued) or
//! lets the other ready tasks queue theirs first and writes for all. One side writes at a time;
//! when the socket is full the connection's own task takes over.

use std::io;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{Answer, Flush, Reset};
use crate::core::limits::Limits;
use crate::core::net::Socket;
use crate::core::shutdown::TaskTracker;
use crate::transport::native::frame::{self, Kind};
use crate::transport::native::hello::Hello;
use crate::transport::native::names::NamesOut;
use crate::transport::native::streams::{Stream, Streams};

/// Queued bytes from which on they are written at once, so that the peer starts working.
const FLUSH_BYTES: usize = 8 * 1024;

/// The most that an idle write buffer keeps.
const SPARE_BYTES_MAX: usize = 256 * 1024;

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) socket: Arc<dyn Socket>,
    pub(super) limits: Arc<Limits>,
    /// What this side accepts.
    pub(super) own: Hello,
    pub(super) tasks: TaskTracker,
    pub(super) remote: Arc<str>,
    /// Whether this side dialed.
    pub(super) dialed: bool,
    /// Tasks of calls, those included whose stream is over.
    pub(super) running: AtomicUsize,
    state: Mutex<State>,
    /// Wakes the writer when the socket was full.
    blocked: Notify,
    /// Wakes those who wait for room in the queue or for a stream.
    room: Notify,
    /// Wakes the keeper when a deadline comes sooner than it would look, or the link closes.
    pub(super) keeper: Notify,
    /// Wakes the rescuer when callers begin to write for each other.
    pub(super) rescuer: Notify,
}

/// What the lock guards. No code of users runs under it.
#[derive(Debug)]
pub(super) struct State {
    /// Frames queued and not handed to a writer.
    pub(super) out: Vec<u8>,
    spare: Vec<u8>,
    /// What a writer could not write yet, and how much of it was written.
    backlog: Vec<u8>,
    backlog_written: usize,
    /// Bytes handed to writers, and bytes the socket took, since the beginning.
    taken: u64,
    written: u64,
    /// Bytes the socket may have taken: more than `written` while somebody writes.
    written_at_most: u64,
    /// Whether somebody writes; others only queue.
    writing: bool,
    /// Whether somebody will write after others had their turn.
    pub(super) scheduled: bool,
    /// How often somebody was to write after others, and whether the rescuer watches over it.
    pub(super) schedules: u64,
    pub(super) watched: bool,
    /// How many wait for room.
    waiting: usize,
    pub(super) streams: Streams,
    pub(super) names: NamesOut,
    /// What the peer accepts, and whether it has said so.
    pub(super) peer: Hello,
    pub(super) greeted: bool,
    /// How many reads there were.
    pub(super) reads: u64,
    /// When the keeper will look next.
    pub(super) next_look: Instant,
    pub(super) last_read: Instant,
    /// When the last stream ended.
    pub(super) idle_since: Instant,
    pub(super) pinged: Option<Instant>,
    /// Whether no more calls are started on this side.
    pub(super) draining: bool,
    /// Why the connection ended.
    pub(super) closed: Option<Error>,
}

impl Link {
    pub(super) fn new(socket: Arc<dyn Socket>, parts: Parts) -> Arc<Self> {
        let now = clock::now();
        let state = State {
            out: Vec::new(),
            spare: Vec::new(),
            backlog: Vec::new(),
            backlog_written: 0,
            taken: 0,
            written: 0,
            written_at_most: 0,
            writing: false,
            scheduled: false,
            schedules: 0,
            watched: false,
            waiting: 0,
            streams: Streams::default(),
            names: NamesOut::default(),
            peer: Hello::unheard(&parts.limits),
            greeted: false,
            reads: 0,
            next_look: now,
            last_read: now,
            idle_since: now,
            pinged: None,
            draining: false,
            closed: None,
        };
        Arc::new(Self {
            socket,
            own: Hello::of(&parts.limits),
            limits: parts.limits,
            tasks: parts.tasks,
            remote: parts.remote,
            dialed: parts.dialed,
            running: AtomicUsize::new(0),
            state: Mutex::new(state),
            blocked: Notify::new(),
            room: Notify::new(),
            keeper: Notify::new(),
            rescuer: Notify::new(),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // No code of others runs under the lock, so a poisoned one holds sound data.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is queued, unless somebody writes already.
    pub(super) fn flush(&self) {
        let mut state = self.lock();
        state.scheduled = false;
        // Progress: each turn hands all that is queued to the socket, or ends.
        while !state.writing && !state.out.is_empty() && state.closed.is_none() {
            state.writing = true;
            let spare = std::mem::take(&mut state.spare);
            let mut batch = std::mem::replace(&mut state.out, spare);
            state.taken += u64_of(batch.len());
            state.written_at_most = state.taken;
            drop(state);
            let (written, ended) = write_some(self.socket.as_ref(), &batch);
            state = self.lock();
            state.count_written(written);
            match ended {
                Ok(()) => {
                    batch.clear();
                    state.keep_spare(batch);
                    state.writing = false;
                    self.wake_waiting(&state);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    state.backlog = batch;
                    state.backlog_written = written;
                    self.blocked.notify_one();
                    return;
                }
                Err(e) => {
                    drop(state);
                    return self.close(&broken(&e));
                }
            }
            if state.scheduled && state.out.len() < FLUSH_BYTES {
                return;
            }
        }
    }

    /// Writes for those whose socket was full; ends when the connection does.
    pub(super) async fn write_backlog(&self) -> Result<()> {
        // Progress: each turn waits for a full socket and empties the backlog.
        loop {
            self.blocked.notified().await;
            let (mut batch, mut written) = {
                let mut state = self.lock();
                (std::mem::take(&mut state.backlog), state.backlog_written)
            };
            while written < batch.len() {
                let ready = std::future::poll_fn(|task| self.socket.poll_write_ready(task));
                let timeout = self.limits.connection.write_timeout;
                match clock::timeout(timeout, ready).await {
                    Ok(ready) => ready.map_err(|e| broken(&e))?,
                    Err(_) => return Err(too_slow(timeout)),
                }
                let rest = batch.get(written..).unwrap_or_default();
                {
                    let mut state = self.lock();
                    state.written_at_most = state.taken;
                }
                let (count, ended) = write_some(self.socket.as_ref(), rest);
                written += count;
                self.lock().count_written(count);
                match ended {
                    Err(e) if e.kind() != io::ErrorKind::WouldBlock => return Err(broken(&e)),
                    _ => {}
                }
            }
            {
                let mut state = self.lock();
                batch.clear();
                state.keep_spare(batch);
                state.writing = false;
                self.wake_waiting(&state);
            }
            self.flush();
        }
    }

    /// Decides who writes what was queued under `state`.
    pub(super) fn plan(&self, state: &mut State, alone: bool) -> Flush {
        if !state.writing && (alone || state.out.len() >= FLUSH_BYTES) {
            return Flush::Now;
        }
        // While somebody writes, what is queued by others gathers for a write of its own.
        if state.scheduled {
            return Flush::None;
        }
        state.scheduled = true;
        state.schedules = state.schedules.wrapping_add(1);
        Flush::Yield
    }

    /// Writes as planned; a task that is dropped meanwhile writes at once.
    pub(super) async fn settle(&self, flush: Flush) {
        struct Duty<'a>(&'a Link);
        impl Drop for Duty<'_> {
            fn drop(&mut self) {
                self.0.flush();
            }
        }
        match flush {
            Flush::None => {}
            Flush::Now => self.flush(),
            Flush::Yield => {
                let _duty = Duty(self);
                yield_once().await;
            }
        }
    }

    /// Waits until the queue has room, and a stream is free if asked for.
    ///
    /// # Errors
    /// Why the connection ended, or takes no more calls.
    pub(super) async fn room(&self, for_stream: bool) -> Result<()> {
        // Progress: each turn waits for a change of what is asked.
        loop {
            let mut notified = std::pin::pin!(self.room.notified());
            notified.as_mut().enable();
            {
                let mut state = self.lock();
                match state.refusal(for_stream) {
                    Some(error) => return Err(error),
                    None if !state.is_full(&self.limits, for_stream) => return Ok(()),
                    None => state.waiting += 1,
                }
            }
            let _leave = Leave(self);
            notified.await;
        }
    }

    /// Wakes those who wait for room if there may be some.
    pub(super) fn wake_waiting(&self, state: &State) {
        if state.waiting > 0 {
            self.room.notify_waiters();
        }
    }

    /// Ends the connection: running calls fail, safely if their request was never written.
    pub(super) fn close(&self, error: &Error) {
        let wakers = {
            let mut state = self.lock();
            if state.closed.is_some() {
                return;
            }
            state.closed = Some(error.clone().with_retry(Retry::Safe));
            // What somebody is about to write may reach the peer yet.
            let written = state.written_at_most;
            let now = clock::now();
            let mut wakers: Vec<Waker> = Vec::new();
            for (_, stream) in state.streams.iter_mut() {
                let retry = if stream.sent_at > written { Retry::Safe } else { Retry::Unknown };
                fail(stream, &error.clone().with_retry(retry), now, &mut wakers);
                if let Some(task) = stream.task.take()
                    && stream.detached
                {
                    task.detach();
                }
            }
            wakers
        };
        wakers.into_iter().for_each(Waker::wake);
        self.room.notify_waiters();
        self.keeper.notify_one();
        // A socket that is gone already cannot be shut down; nothing is lost by that.
        drop(self.socket.shutdown());
    }

    /// Waits until the connection is closed.
    pub(super) async fn closed(&self) {
        // Progress: the keeper is notified by each change that concerns it.
        loop {
            let notified = self.room.notified();
            if self.lock().closed.is_some() {
                return;
            }
            notified.await;
        }
    }

    /// Says that no more calls are taken.
    pub(super) fn say_goaway(&self) {
        {
            let mut state = self.lock();
            if state.draining {
                return;
            }
            state.draining = true;
            let reason = [frame::reason_byte(Reset::Draining)];
            frame::put(&mut state.out, Kind::GoAway, 0, 0, &reason);
        }
        self.flush();
        self.keeper.notify_one();
    }

    /// Ends the connection; a peer that broke the protocol is told so.
    pub(super) fn part(&self, error: &Error) {
        if is_breach(error) {
            let mut state = self.lock();
            state.draining = true;
            let reason = [frame::reason_byte(Reset::Protocol)];
            frame::put(&mut state.out, Kind::GoAway, 0, 0, &reason);
        }
        self.flush();
        self.close(error);
    }
}

/// Tells whether the peer is to blame for the end of a connection.
fn is_breach(error: &Error) -> bool {
    error.code() < 500
}

struct Leave<'a>(&'a Link);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}

impl State {
    /// Returns the position in the connection at which what is queued ends.
    pub(super) fn position(&self) -> u64 {
        self.taken + u64_of(self.out.len())
    }

    /// Returns why nothing can be queued, or no call started.
    pub(super) fn refusal(&self, for_stream: bool) -> Option<Error> {
        if let Some(error) = &self.closed {
            return Some(error.clone());
        }
        (for_stream && self.draining).then(|| {
            Error::unavailable("micro.transport", "the node takes no more calls")
                .with_retry(Retry::Safe)
        })
    }

    pub(super) fn is_full(&self, limits: &Limits, for_stream: bool) -> bool {
        self.queued_bytes() > limits.connection.outbound_bytes_max
            || (for_stream && self.streams.live() >= self.peer.streams_max)
    }

    pub(super) fn queued_bytes(&self) -> usize {
        let unwritten = self.taken.saturating_sub(self.written);
        self.out.len().saturating_add(usize::try_from(unwritten).unwrap_or(usize::MAX))
    }

    fn count_written(&mut self, count: usize) {
        self.written += u64_of(count);
        self.written_at_most = self.written;
    }

    fn keep_spare(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() <= SPARE_BYTES_MAX {
            self.spare = buffer;
        }
    }
}

/// What a link is made of, beside its socket.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) limits: Arc<Limits>,
    pub(super) tasks: TaskTracker,
    pub(super) remote: Arc<str>,
    pub(super) dialed: bool,
}

/// Ends a stream with an error and collects whom to wake.
pub(super) fn fail(stream: &mut Stream, error: &Error, now: Instant, wakers: &mut Vec<Waker>) {
    if stream.answer.is_none() {
        stream.answer = Some(Answer { at: now, result: Err(error.clone()) });
    }
    if let Some(flow) = &mut stream.flow {
        if flow.end.is_none() {
            flow.end = Some(Err(error.clone()));
        }
        wakers.extend(flow.pump.take());
    }
    wakers.extend(stream.waker.take());
}

/// Lets every other ready task run once.
pub(super) async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|task| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        task.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn write_some(socket: &dyn Socket, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    // Progress: each turn writes at least one byte.
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match socket.try_write(rest) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return (written, Err(e)),
        }
    }
    (written, Ok(()))
}

fn u64_of(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// The error of a connection that the network ended.
pub(super) fn broken(error: &io::Error) -> Error {
    Error::unavailable("micro.transport", format!("the connection broke: {error}"))
}

fn too_slow(timeout: std::time::Duration) -> Error {
    Error::unavailable("micro.transport", format!("the peer read nothing for {timeout:?}"))
}
