//! What the callers of a connection share behind one lock: reply slots and bytes to write.
//!
//! Whoever appends to an empty, idle buffer promises to write it after the other ready tasks have
//! appended theirs; at [`FLUSH_AT`] whoever appends writes. The write itself happens outside the
//! lock. When the socket is full the rest is left to the writer task.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;

use super::slots::Slots;
use super::{FLUSH_AT, frame};
use crate::message::Message;
use crate::outcome::{Fault, Outcome};

/// The shared half of a connection.
#[derive(Debug)]
pub(super) struct Link {
    state: Mutex<State>,
    socket: OwnedWriteHalf,
    stalled: Notify,
}

#[derive(Debug, Default)]
struct State {
    slots: Slots,
    out: Vec<u8>,
    /// An emptied buffer, kept for its memory.
    spare: Vec<u8>,
    /// Some caller will flush.
    promised: bool,
    /// Somebody writes; no one else may until it is done.
    writing: bool,
    /// A flush was asked for during the write.
    again: bool,
    /// What a full socket left of a batch: the batch and how much of it is written.
    rest: Option<(Vec<u8>, usize)>,
    failed: Option<String>,
}

/// What the caller owes after its message is appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    /// Nothing: somebody else writes.
    Wait,
    /// To yield once and then flush.
    YieldAndFlush,
}

impl Link {
    pub(super) fn new(socket: OwnedWriteHalf) -> Self {
        Self { state: Mutex::default(), socket, stalled: Notify::new() }
    }

    /// Opens a slot, appends the message, and writes at once if the caller is alone or the batch
    /// is large enough.
    pub(super) fn send(&self, message: &Message, waker: &Waker) -> Outcome<(u64, Duty)> {
        let mut state = self.lock();
        state.alive()?;
        let id = state.slots.open(waker);
        if let Err(error) = frame::append(&mut state.out, id, message) {
            state.slots.close(id);
            return Err(error);
        }
        if !state.writing && (state.out.len() >= FLUSH_AT || state.slots.lone()) {
            self.write(state);
            return Ok((id, Duty::Wait));
        }
        if std::mem::replace(&mut state.promised, true) {
            return Ok((id, Duty::Wait));
        }
        Ok((id, Duty::YieldAndFlush))
    }

    /// Keeps the promise of [`Duty::YieldAndFlush`].
    pub(super) fn flush(&self) {
        let mut state = self.lock();
        state.promised = false;
        if state.writing {
            state.again = true;
        } else if !state.out.is_empty() {
            self.write(state);
        }
    }

    /// The answer to a call.
    pub(super) fn poll(&self, id: u64, cx: &Context<'_>) -> Poll<Outcome<Bytes>> {
        let mut state = self.lock();
        match state.slots.poll(id, cx) {
            Poll::Ready(body) => Poll::Ready(Ok(body)),
            Poll::Pending => {
                state.alive().map_or_else(|dead| Poll::Ready(Err(dead)), |()| Poll::Pending)
            }
        }
    }

    /// Gives up a call.
    pub(super) fn close(&self, id: u64) {
        self.lock().slots.close(id);
    }

    /// Hands over a batch of answers under one lock; leaves in `wakers` whom to wake.
    pub(super) fn fill(&self, batch: &mut Vec<(u64, Bytes)>, wakers: &mut Vec<Waker>) {
        let mut state = self.lock();
        for (id, body) in batch.drain(..) {
            wakers.extend(state.slots.fill(id, body));
        }
    }

    /// Fails all calls, present and future.
    pub(super) fn fail(&self, why: &Fault) {
        let mut state = self.lock();
        state.failed.get_or_insert_with(|| why.to_string());
        let wakers = state.slots.wakers();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Finishes what full sockets leave behind, until dropped or the connection fails.
    pub(super) async fn drain(&self) -> Outcome<()> {
        loop {
            self.stalled.notified().await;
            self.socket.writable().await?;
            let mut state = self.lock();
            let (batch, written) = state.rest.take().unwrap_or_default();
            drop(state);
            self.write_batch(batch, written);
        }
    }

    /// Swaps the buffer out and writes it without the lock.
    fn write(&self, mut state: MutexGuard<'_, State>) {
        state.writing = true;
        let batch = state.swap();
        drop(state);
        self.write_batch(batch, 0);
    }

    /// Writes a batch and those that became due meanwhile. `writing` is set before and belongs to
    /// this function, which resets it or leaves it to the writer task.
    fn write_batch(&self, mut batch: Vec<u8>, mut written: usize) {
        loop {
            match self.socket.try_write(batch.get(written..).unwrap_or_default()) {
                Ok(more) => written += more,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    self.lock().rest = Some((batch, written));
                    self.stalled.notify_one();
                    return;
                }
                Err(error) => return self.fail(&error.into()),
            }
            if written < batch.len() {
                continue;
            }
            batch.clear();
            let mut state = self.lock();
            state.spare = batch;
            let due = state.again && !state.out.is_empty() || state.out.len() >= FLUSH_AT;
            state.again = false;
            state.writing = due;
            if !due {
                return;
            }
            (batch, written) = (state.swap(), 0);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn swap(&mut self) -> Vec<u8> {
        let spare = std::mem::take(&mut self.spare);
        std::mem::replace(&mut self.out, spare)
    }

    fn alive(&self) -> Outcome<()> {
        self.failed.as_ref().map_or(Ok(()), |why| Err(why.clone().into()))
    }
}
