//! What the reader, the writer and the callers of one connection share.
//!
//! Writing: whoever queues frames either writes them at once (it is alone, or much is queued) or
//! lets the other ready tasks queue theirs first and writes for all. One side writes at a time;
//! when the socket is full the connection's own task takes over.

use std::fmt;
use std::io;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::Flush;
use crate::core::limits::Limits;
use crate::core::net::Socket;
use crate::core::shutdown::{TaskHandle, TaskTracker};
use crate::transport::native::hello::Hello;
use crate::transport::native::names::NamesOut;
use crate::transport::native::streams::Streams;

/// Queued bytes from which on they are written at once, so that the peer starts working.
const FLUSH_BYTES: usize = 8 * 1024;

/// The most that an idle write buffer keeps.
const SPARE_BYTES_MAX: usize = 256 * 1024;

/// What somebody waits for, or asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Room in the queue.
    Queue,
    /// Room in the queue, and a stream for one more call.
    Stream,
}

/// One connection.
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
    pub(super) written_at_most: u64,
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
    /// When the peer last took bytes that had to wait for it.
    pub(super) last_taken: Instant,
    /// When the last stream ended.
    pub(super) idle_since: Instant,
    /// The ping that is not answered yet.
    pub(super) pinged: Option<Ping>,
    /// Whether no more calls are started on this side.
    pub(super) draining: bool,
    /// Whether the peer was told to start no more calls.
    pub(super) said_goaway: bool,
    /// Why the connection ended.
    pub(super) closed: Option<Error>,
}

/// A ping on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ping {
    /// Since when its answer is waited for.
    pub(super) since: Instant,
    /// Where it ends in the connection; the wait begins when it was written.
    pub(super) sent_at: u64,
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
            last_taken: now,
            idle_since: now,
            pinged: None,
            draining: false,
            said_goaway: false,
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
                    return self.close(&broken(e));
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
                    Ok(ready) => ready.map_err(broken)?,
                    Err(_) => return Err(too_slow(timeout)),
                }
                let rest = batch.get(written..).unwrap_or_default();
                {
                    let mut state = self.lock();
                    state.written_at_most = state.taken;
                }
                let (count, ended) = write_some(self.socket.as_ref(), rest);
                written += count;
                self.note_taken(count);
                match ended {
                    Err(e) if e.kind() != io::ErrorKind::WouldBlock => return Err(broken(e)),
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

    /// Counts what a peer took that had been slow: it lives, and there may be room again.
    fn note_taken(&self, count: usize) {
        let mut state = self.lock();
        state.count_written(count);
        if count > 0 {
            state.last_taken = clock::now();
            if state.ping_is_written() {
                state.pinged = None;
            }
        }
        if !state.is_full(&self.limits, Need::Queue) {
            self.wake_waiting(&state);
        }
    }

    /// Decides who writes what was queued under `state`, by somebody who is the only one or not.
    pub(super) fn plan_for(&self, state: &mut State, alone: bool) -> Flush {
        if alone && !state.writing { Flush::Now } else { self.plan(state) }
    }

    /// Decides who writes what was queued under `state`.
    pub(super) fn plan(&self, state: &mut State) -> Flush {
        if !state.writing && state.out.len() >= FLUSH_BYTES {
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

    /// Waits until there is what is needed.
    ///
    /// # Errors
    /// Why the connection ended, or takes no more calls.
    pub(super) async fn room(&self, need: Need) -> Result<()> {
        // Progress: each turn waits for a change of what is asked.
        loop {
            let mut notified = std::pin::pin!(self.room.notified());
            notified.as_mut().enable();
            {
                let mut state = self.lock();
                match state.refusal(need) {
                    Some(error) => return Err(error),
                    None if !state.is_full(&self.limits, need) => return Ok(()),
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

    /// Wakes everybody who waits for room, or for the end.
    pub(super) fn changed(&self) {
        self.room.notify_waiters();
    }

    /// Waits for a notice that room, or the life of the connection, has changed.
    pub(super) fn change(&self) -> Notified<'_> {
        self.room.notified()
    }
}

/// Names the connection; what passes through it belongs in no log.
impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Link");
        out.field("remote", &self.remote).field("dialed", &self.dialed).finish_non_exhaustive()
    }
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
    pub(super) fn refusal(&self, need: Need) -> Option<Error> {
        if let Some(error) = &self.closed {
            return Some(error.clone());
        }
        (need == Need::Stream && self.draining).then(|| {
            Error::unavailable("micro.transport", "the node takes no more calls")
                .with_retry(Retry::Safe)
        })
    }

    pub(super) fn is_full(&self, limits: &Limits, need: Need) -> bool {
        self.queued_bytes() > limits.connection.outbound_bytes_max
            || (need == Need::Stream && self.streams.live() >= self.peer.streams_max)
    }

    pub(super) fn queued_bytes(&self) -> usize {
        let unwritten = self.taken.saturating_sub(self.written);
        self.out.len().saturating_add(usize::try_from(unwritten).unwrap_or(usize::MAX))
    }

    /// Keeps the task of a stream; gives it back when the stream is over, or the connection closed.
    pub(super) fn keep_task(&mut self, id: u32, task: TaskHandle) -> Option<TaskHandle> {
        match self.streams.get(id) {
            Some(stream) if self.closed.is_none() => {
                stream.task = Some(task);
                None
            }
            _ => Some(task),
        }
    }

    /// Tells whether the network has taken the ping that waits for its answer.
    pub(super) fn ping_is_written(&self) -> bool {
        self.pinged.is_some_and(|ping| ping.sent_at <= self.written)
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
pub(super) fn broken(error: io::Error) -> Error {
    Error::unavailable("micro.transport", format!("the connection broke: {error}"))
        .with_source(error)
}

fn too_slow(timeout: std::time::Duration) -> Error {
    Error::unavailable("micro.transport", format!("the peer read nothing for {timeout:?}"))
}
