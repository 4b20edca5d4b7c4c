//! The dialing side: what it does with the frames of the server.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use crate::core::error::{Error, Result};
use crate::core::exchange::{Answer, Reset};
use crate::transport::native::after::After;
use crate::transport::native::ending::fail;
use crate::transport::native::frame::{self, FLAG_END, FLAG_ERROR, Header, Kind};
use crate::transport::native::inbound;
use crate::transport::native::link::{Link, State};
use crate::transport::native::names::malformed;
use crate::transport::native::reader::{Frame, Frames, Split};
use crate::transport::native::streams::Stream;

/// Wakes the callers whose answers have arrived, all of a batch after the lock is released.
#[derive(Debug, Default)]
pub(super) struct Replies {
    after: After,
}

impl Frames for Replies {
    async fn batch(&mut self, link: &Arc<Link>, batch: Bytes) -> Result<()> {
        let (result, answer) = {
            let mut guard = link.lock();
            let state = &mut *guard;
            let now = state.last_read;
            let result = all(link, state, &batch, now, &mut self.after);
            (result, !state.out.is_empty())
        };
        self.after.run(link);
        if answer && result.is_ok() {
            link.flush();
        }
        result
    }
}

fn all(
    link: &Link,
    state: &mut State,
    batch: &Bytes,
    now: Instant,
    after: &mut After,
) -> Result<()> {
    let mut frames = Split::new(batch);
    while let Some(frame) = frames.next() {
        if !inbound::run(link, state, (&frame, &mut frames), after)? {
            one(link, state, &frame, now, after)?;
        }
    }
    Ok(())
}

fn one(
    link: &Link,
    state: &mut State,
    frame: &Frame<'_>,
    now: Instant,
    after: &mut After,
) -> Result<()> {
    let header = frame.header;
    let id = header.stream;
    if !matches!(header.kind, Kind::Data | Kind::Accept | Kind::End | Kind::Reset) {
        return inbound::common(link, state, header, frame.payload(), after);
    }
    let read = state.reads;
    // A frame of a stream that this side has given up finds nothing and is passed over.
    let Some((stream, partials)) = state.streams.get_counted(id).filter(|found| !found.0.over)
    else {
        return Ok(());
    };
    let fault = match header.kind {
        Kind::Data => match inbound::join(stream, partials, frame, &link.limits)? {
            Ok(None) => None,
            Ok(Some(message)) => {
                message_for(stream, header, message, Arrival { link, read, now })?;
                after.wakers.extend(stream.waker.take());
                None
            }
            Err(error) => Some((error, Reset::TooLarge)),
        },
        Kind::Accept => accepted(stream, after),
        _ => {
            last_word(stream, header, frame.payload(), now, after)?;
            None
        }
    };
    if let Some((error, reason)) = fault {
        give_up(stream, error, now, after);
        frame::put(&mut state.out, Kind::Reset, 0, id, &[frame::reason_byte(reason)]);
    }
    Ok(())
}

/// Ends a stream for its caller; whatever the server still sends is passed over.
fn give_up(stream: &mut Stream, error: Error, now: Instant, after: &mut After) {
    fail(stream, Answer { at: now, result: Err(error) }, after);
    stream.over = true;
    after.tasks.extend(stream.task.take());
}

/// How a message came.
struct Arrival<'a> {
    link: &'a Link,
    read: u64,
    now: Instant,
}

fn message_for(
    stream: &mut Stream,
    header: Header,
    message: Bytes,
    Arrival { link, read, now }: Arrival<'_>,
) -> Result<()> {
    match &mut stream.flow {
        Some(flow) if flow.opened => {
            inbound::deliver(flow, message, read, link)?;
            if header.has(FLAG_END) {
                flow.end = flow.end.take().or(Some(Ok(())));
            }
        }
        _ if stream.answer.is_none() => {
            stream.answer = Some(Answer { at: now, result: Ok(message) });
            stream.over = true;
        }
        _ => {}
    }
    Ok(())
}

/// A stream of responses begins; returns the fault of a server that makes one of a plain call.
fn accepted(stream: &mut Stream, after: &mut After) -> Option<(Error, Reset)> {
    let Some(flow) = &mut stream.flow else {
        let detail = "the node answered one message by a stream";
        return Some((Error::internal("micro.transport", detail), Reset::Protocol));
    };
    stream.deadline = None;
    flow.opened = true;
    after.wakers.extend(stream.waker.take());
    None
}

/// Handles the frames with which the server ends a stream, or stops to read it.
fn last_word(
    stream: &mut Stream,
    header: Header,
    payload: &[u8],
    now: Instant,
    after: &mut After,
) -> Result<()> {
    let opened = stream.flow.as_ref().is_some_and(|flow| flow.opened);
    let error = match header.kind {
        Kind::End if header.has(FLAG_ERROR) => match inbound::error_of(header, payload)? {
            error if opened => error.after_running(),
            error => error,
        },
        // What a message was cut short by must not pass for a clean end.
        Kind::End if !stream.partial.is_empty() => return Err(malformed()),
        Kind::End => match &mut stream.flow {
            Some(flow) if flow.opened => {
                flow.end = flow.end.take().or(Some(Ok(())));
                stream.over = true;
                after.tasks.extend(stream.task.take());
                after.wakers.extend(stream.waker.take());
                return Ok(());
            }
            _ => {
                let detail = "the node ended the call without an answer";
                Error::internal("micro.transport", detail)
            }
        },
        // The server reads no more requests; its answer is still to come.
        _ if header.has(FLAG_END) => {
            after.tasks.extend(stream.task.take());
            return Ok(());
        }
        _ => inbound::reset_error(frame::reason_from(payload)),
    };
    give_up(stream, error, now, after);
    Ok(())
}

/// The error of a connection that the server ended.
pub(super) fn ended() -> Error {
    Error::unavailable("micro.transport", "the node closed the connection")
}

/// The error of a connection that ends with its process, or its task.
pub(super) fn stopped() -> Error {
    Error::unavailable("micro.transport", "the node stopped")
}
