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
use crate::transport::native::reader::{Frames, Split};
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
            let mut handle = |frame| one(link, state, frame, now, &mut self.wakers);
            let result = Split::new(batch).try_for_each(&mut handle);
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
    (header, payload): (Header, Bytes),
    now: Instant,
    wakers: &mut Vec<Waker>,
) -> Result<()> {
    let id = header.stream;
    if !matches!(header.kind, Kind::Data | Kind::Accept | Kind::End | Kind::Reset) {
        return inbound::common(link, state, header, &payload, wakers);
    }
    // A frame of a stream that this side has given up finds nothing and is passed over.
    let Some(stream) = state.streams.get(id) else { return Ok(()) };
    match header.kind {
        Kind::Data => match inbound::join(stream, header, payload, link.limits.message.bytes_max) {
            Ok(None) => {}
            Ok(Some(message)) => message_for(link, stream, (header, message), (now, wakers))?,
            Err(error) => {
                fail(stream, &error, now, wakers);
                let reason = [frame::reason_byte(Reset::TooLarge)];
                frame::put(&mut state.out, Kind::Reset, 0, id, &reason);
            }
        },
        Kind::Accept => {
            stream.deadline = None;
            if let Some(flow) = &mut stream.flow {
                flow.opened = true;
                wakers.extend(stream.waker.take());
            }
        }
        Kind::End if header.has(FLAG_ERROR) => {
            let error = inbound::error_of(header, &payload)?;
            fail(stream, &error, now, wakers);
            stream.task = None;
        }
        Kind::End => {
            end(stream);
            wakers.extend(stream.waker.take());
            stream.task = None;
        }
        // The server reads no more requests; its answer is still to come.
        _ if header.has(FLAG_END) => stream.task = None,
        _ => {
            fail(stream, &inbound::reset_error(frame::reason_from(&payload)), now, wakers);
            stream.task = None;
        }
    }
    Ok(())
}

fn message_for(
    link: &Link,
    stream: &mut Stream,
    (header, message): (Header, Bytes),
    (now, wakers): (Instant, &mut Vec<Waker>),
) -> Result<()> {
    match &mut stream.flow {
        Some(flow) if flow.opened => {
            inbound::deliver(flow, message, link)?;
            if header.has(FLAG_END) {
                flow.end = Some(Ok(()));
            }
        }
        _ => stream.answer = Some(Answer { at: now, result: Ok(message) }),
    }
    wakers.extend(stream.waker.take());
    Ok(())
}

/// The server's last word without an error.
fn end(stream: &mut Stream) {
    if let Some(flow) = &mut stream.flow
        && flow.end.is_none()
    {
        flow.end = Some(Ok(()));
    }
}

/// The error of a connection that the server ended.
pub(super) fn ended() -> Error {
    Error::unavailable("micro.transport", "the node closed the connection")
}
