//! The tasks of calls that wait: run a handler to its end and send its answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::time::Instant;

use crate::core::clock;
use crate::core::error::{Error, Result};
use crate::core::exchange::{Flush, Outgoing, Reset, Running, Target};
use crate::transport::native::frame::{self, FLAG_END, Kind};
use crate::transport::native::hello::Hello;
use crate::transport::native::link::{Link, Need, State};
use crate::transport::native::server::insert;
use crate::transport::native::streams::{Flow, Stream};
use crate::transport::native::{inbound, pump};

/// What a task has to finish.
pub(super) enum Work {
    /// A handler that pended, until its deadline.
    Run(Running, Option<Instant>),
    /// A stream that a handler returned in place.
    Answer(Outgoing),
}

/// Whether the stream of a call is in the table of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Entered,
    Unentered,
}

/// A call that moves to a task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) id: u32,
    pub(super) target: Target,
    pub(super) stage: Stage,
}

/// Moves a call to a task of its own; a call that is not in the table is entered.
///
/// A detached call whose connection ended while it ran in place runs on as a task.
pub(super) fn spawn(link: &Arc<Link>, call: Call, work: Work) -> Result<()> {
    let Call { id, target, stage } = call;
    let mut lost = None;
    if stage == Stage::Unentered {
        let mut state = link.lock();
        let mut stream = Stream { detached: target.detached, ..Stream::default() };
        if target.kind.streams_responses() {
            stream.flow = Some(Box::new(Flow::new(state.peer.window_bytes)));
        }
        lost = insert(&mut state, id, stream, link).err();
    }
    if let Some(error) = lost {
        if target.detached {
            let runs = Runs::new(link);
            link.tasks.spawn("native call", outlive(work, runs));
        }
        return Err(error);
    }
    let runs = Runs::new(link);
    // Boxed, because the future is large and is moved several times on its way into the task.
    let call = Box::pin(finish(Arc::clone(link), id, work, target.detached, runs));
    let task = link.tasks.spawn("native call", call).abort_on_drop();
    // The call is over, or was given up, or the connection has closed without this task.
    let orphan = link.lock().keep_task(id, task);
    match orphan {
        Some(task) if target.detached => task.detach(),
        // Aborting a finished task does nothing.
        orphan => drop(orphan),
    }
    Ok(())
}

/// Runs a detached call to its end, of which nobody will hear.
async fn outlive(work: Work, _runs: Runs) {
    if let Work::Run(running, deadline) = work
        && let (_unheard, Some(running)) = within(running, deadline).await
    {
        let _late = running.await;
    }
}

/// Runs a handler until its deadline; returns with its outcome the one that is not over then.
async fn within(
    mut running: Running,
    deadline: Option<Instant>,
) -> (Result<Outgoing>, Option<Running>) {
    let Some(deadline) = deadline else { return (running.await, None) };
    match clock::timeout_at(deadline, &mut running).await {
        Ok(outcome) => (outcome, None),
        Err(_) => {
            running.context().cancel();
            (Err(inbound::reset_error(Reset::Deadline)), Some(running))
        }
    }
}

/// Counts a task as long as it holds its handler, be its stream over or not.
struct Runs(Arc<Link>);

impl Runs {
    fn new(link: &Arc<Link>) -> Self {
        link.running.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(link))
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs a call to its end or its deadline and sends its answer; a detached handler runs on after
/// its deadline.
async fn finish(link: Arc<Link>, id: u32, work: Work, detached: bool, _runs: Runs) {
    let (outcome, left) = match work {
        Work::Answer(outgoing) => (Ok(outgoing), None),
        Work::Run(running, deadline) => within(running, deadline).await,
    };
    let left = left.filter(|_| detached);
    let outcome = match outcome {
        Ok(Outgoing::Message(body)) => Ok(Some(body)),
        Ok(Outgoing::Stream(mut source)) => {
            link.accept(id).await;
            let ended = pump::messages(&link, id, &mut source).await;
            // The handler has run, whatever its stream passes on.
            ended.map(|()| None).map_err(Error::after_running)
        }
        Err(error) => Err(error),
    };
    answer(&link, id, outcome).await;
    if let Some(running) = left {
        // The caller has its answer, whatever the handler still says.
        let _late = running.await;
    }
}

/// Sends how a call ended, and ends its stream.
async fn answer(link: &Link, id: u32, outcome: Result<Option<Bytes>>) {
    // Progress: each turn waits for room in the queue, or ends.
    while link.room(Need::Queue).await.is_ok() {
        if link.conclude(id, &outcome).await {
            return;
        }
    }
}

/// Appends how a call ended; a response beyond the limit becomes an error.
pub(super) fn put_answer(
    out: &mut Vec<u8>,
    peer: &Hello,
    id: u32,
    outcome: &Result<Option<Bytes>>,
) {
    let limit = peer.message_bytes_max;
    match outcome {
        Ok(None) => frame::put(out, Kind::End, 0, id, &[]),
        Ok(Some(body)) if body.len() <= limit => {
            frame::put_message(out, FLAG_END, id, body, peer.frame_bytes_max);
        }
        Ok(Some(body)) => {
            let detail = format!("the response has {} bytes, the limit is {limit}", body.len());
            put_error(out, id, &Error::too_large("micro.transport", detail));
        }
        Err(error) => put_error(out, id, error),
    }
}

pub(super) fn put_error(out: &mut Vec<u8>, id: u32, error: &Error) {
    frame::put(out, Kind::End, inbound::error_flags(error), id, &pump::error_payload(error));
}

impl Link {
    /// Says that a stream of responses begins, unless the call is over.
    async fn accept(&self, id: u32) {
        let flush = {
            let mut state = self.lock();
            if state.streams.get(id).is_none() {
                return;
            }
            frame::put(&mut state.out, Kind::Accept, 0, id, &[]);
            self.plan_beside(&mut state)
        };
        self.settle(flush).await;
    }

    /// Queues the answer of a call unless it is over, and writes it with those of other tasks.
    ///
    /// Returns `false` when the queue is full: nothing was done.
    async fn conclude(&self, id: u32, outcome: &Result<Option<Bytes>>) -> bool {
        let (flush, stream) = {
            let mut state = self.lock();
            if state.streams.get(id).is_none() {
                return true;
            }
            if state.is_full(&self.limits, Need::Queue) {
                return false;
            }
            let State { out, peer, .. } = &mut *state;
            put_answer(out, peer, id, outcome);
            let stream = self.release(&mut state, id);
            (self.plan_beside(&mut state), stream)
        };
        if let Some(task) = stream.and_then(|mut stream| stream.task.take()) {
            // This very task: it must reach its end.
            task.detach();
        }
        self.settle(flush).await;
        true
    }

    /// Decides who writes for a task; it is alone when no call is open.
    fn plan_beside(&self, state: &mut State) -> Flush {
        let alone = state.streams.live() == 0;
        self.plan_for(state, alone)
    }
}
