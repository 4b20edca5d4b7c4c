//! The dialing side: what it does with the frames of the server.

use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use tokio::time::Instant;

use crate::core::error::{Error, Result};
use crate::core::exchange::{Answer, Reset};
use crate::transport::native::frame::{self, FLAG_END, FLAG_ERROR, Header, Kind};
use crate::transport::native::inbound;
use crate::transport::native::link::{Link, State, fail};
use crate::transport::native::reader::{Frame, Frames, Split};
use crate::transport::native::streams::Stream;

/// Wakes the callers whose answers have arrived, all of a batch after the lock is released.
#[derive(Debug, Default)]
pub(super) struct Replies {
    wakers: Vec<Waker>,
}

impl Frames for Replies {
    async fn batch(&mut self, link: &Arc<Link>, batch: Bytes) -> Result<()> {
        let (result, answer) = {
            let mut guard = link.lock();
            let state = &mut *guard;
            let now = state.last_read;
            let mut handle = |frame| one(link, state, &frame, now, &mut self.wakers);
            let result = Split::new(&batch).try_for_each(&mut handle);
            (result, !state.out.is_empty())
        };
        self.wakers.drain(..).for_each(Waker::wake);
        if answer && result.is_ok() {
            link.flush();
        }
        result
    }
}

fn one(
    link: &Link,
    state: &mut State,
    frame: &Frame<'_>,
    now: Instant,
    wakers: &mut Vec<Waker>,
) -> Result<()> {
    let header = frame.header;
    let id = header.stream;
    if !matches!(header.kind, Kind::Data | Kind::Accept | Kind::End | Kind::Reset) {
        return inbound::common(link, state, header, frame.payload(), wakers);
    }
    let read = state.reads;
    // A frame of a stream that this side has given up finds nothing and is passed over.
    let Some((stream, partials)) = state.streams.get_counted(id).filter(|found| !found.0.over)
    else {
        return Ok(());
    };
    let fault = match header.kind {
        Kind::Data => match inbound::join((&mut *stream, partials), frame, &link.limits)? {
            Ok(None) => None,
            Ok(Some(message)) => {
                message_for(stream, header, now, (message, read, link))?;
                wakers.extend(stream.waker.take());
                None
            }
            Err(error) => Some((error, Reset::TooLarge)),
        },
        Kind::Accept => accepted(stream, wakers),
        _ => {
            last_word(stream, header, frame.payload(), (now, wakers))?;
            None
        }
    };
    if let Some((error, reason)) = fault {
        give_up(stream, &error, now, wakers);
        frame::put(&mut state.out, Kind::Reset, 0, id, &[frame::reason_byte(reason)]);
    }
    Ok(())
}

/// Ends a stream for its caller; whatever the server still sends is passed over.
fn give_up(stream: &mut Stream, error: &Error, now: Instant, wakers: &mut Vec<Waker>) {
    fail(stream, error, now, wakers);
    stream.over = true;
    stream.task = None;
}

fn message_for(
    stream: &mut Stream,
    header: Header,
    now: Instant,
    (message, read, link): (Bytes, u64, &Link),
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
fn accepted(stream: &mut Stream, wakers: &mut Vec<Waker>) -> Option<(Error, Reset)> {
    let Some(flow) = &mut stream.flow else {
        let detail = "the node answered one message by a stream";
        return Some((Error::internal("micro.transport", detail), Reset::Protocol));
    };
    stream.deadline = None;
    flow.opened = true;
    wakers.extend(stream.waker.take());
    None
}

/// Handles the frames with which the server ends a stream, or stops to read it.
fn last_word(
    stream: &mut Stream,
    header: Header,
    payload: &[u8],
    (now, wakers): (Instant, &mut Vec<Waker>),
) -> Result<()> {
    let error = match header.kind {
        Kind::End if header.has(FLAG_ERROR) => inbound::error_of(header, payload)?,
        Kind::End => {
            return match &mut stream.flow {
                Some(flow) if flow.opened => {
                    flow.end = flow.end.take().or(Some(Ok(())));
                    stream.over = true;
                    stream.task = None;
                    wakers.extend(stream.waker.take());
                    Ok(())
                }
                _ => {
                    let detail = "the node ended the call without an answer";
                    give_up(stream, &Error::internal("micro.transport", detail), now, wakers);
                    Ok(())
                }
            };
        }
        // The server reads no more requests; its answer is still to come.
        _ if header.has(FLAG_END) => {
            stream.task = None;
            return Ok(());
        }
        _ => inbound::reset_error(frame::reason_from(payload)),
    };
    give_up(stream, &error, now, wakers);
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
