//! How a connection ends, and what its calls and its peer learn of it.

use crate::core::clock;
use crate::core::error::{Error, Retry};
use crate::core::exchange::{Answer, Reset};
use crate::transport::native::after::After;
use crate::transport::native::frame::{self, Kind};
use crate::transport::native::link::{Link, State};
use crate::transport::native::streams::Stream;
use crate::transport::native::task::put_error;

impl Link {
    /// Ends the connection: running calls fail, safely if their request was never written.
    pub(super) fn close(&self, error: &Error) {
        let error = self.told(error);
        let mut after = After::default();
        {
            let mut state = self.lock();
            if state.closed.is_some() {
                return;
            }
            state.closed = Some(error.clone().with_retry(Retry::Safe));
            // What somebody is about to write may reach the peer yet.
            let written = state.written_at_most;
            let now = clock::now();
            for (_, stream) in state.streams.iter_mut() {
                let retry = if stream.sent_at > written { Retry::Safe } else { Retry::Unknown };
                let answer = Answer { at: now, result: Err(error.clone().with_retry(retry)) };
                fail(stream, answer, &mut after);
                match stream.task.take() {
                    Some(task) if stream.detached => task.detach(),
                    task => after.tasks.extend(task),
                }
            }
        }
        after.run(self);
        self.changed();
        self.keeper.notify_one();
        // A socket that is gone already cannot be shut down; nothing is lost by that.
        drop(self.socket.shutdown());
    }

    /// Returns how calls see the end of the connection: the breach of a peer is its own fault, not
    /// that of the requests which happen to be on the way.
    fn told(&self, error: &Error) -> Error {
        if !is_breach(error) {
            return error.clone();
        }
        let peer = if self.dialed { "node" } else { "caller" };
        let detail = format!("the {peer} broke the protocol: {}", error.detail());
        Error::unavailable("micro.transport", detail).with_source(error.clone())
    }

    /// Waits until the connection is closed.
    pub(super) async fn closed(&self) {
        // Progress: each turn waits for a notice of change, of which the last is the end's.
        loop {
            let notified = self.change();
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
            if std::mem::replace(&mut state.said_goaway, true) {
                return;
            }
            state.draining = true;
            put_goaway(&mut state, Reset::Draining);
        }
        self.flush();
        self.keeper.notify_one();
    }

    /// Tells the callers of all open calls why they end; the accepting side is about to close.
    pub(super) fn say_end(&self, error: &Error) {
        let mut guard = self.lock();
        let State { streams, out, .. } = &mut *guard;
        for (id, _) in streams.iter_mut() {
            put_error(out, id, error);
        }
    }

    /// Ends the connection; a peer that broke the protocol is told so.
    pub(super) fn part(&self, error: &Error) {
        if is_breach(error) {
            let mut state = self.lock();
            state.draining = true;
            put_goaway(&mut state, Reset::Protocol);
        }
        self.flush();
        self.close(error);
    }
}

fn put_goaway(state: &mut State, reason: Reset) {
    frame::put(&mut state.out, Kind::GoAway, 0, 0, &[frame::reason_byte(reason)]);
}

/// Tells whether the peer is to blame for the end of a connection.
fn is_breach(error: &Error) -> bool {
    error.code() < 500
}

/// Ends a stream with an error and collects whom to wake.
pub(super) fn fail(stream: &mut Stream, answer: Answer, after: &mut After) {
    if let Some(flow) = &mut stream.flow {
        if flow.end.is_none() {
            flow.end = Some(answer.result.clone().map(drop));
        }
        after.wakers.extend(flow.pump.take());
    }
    stream.answer.get_or_insert(answer);
    after.wakers.extend(stream.waker.take());
}
