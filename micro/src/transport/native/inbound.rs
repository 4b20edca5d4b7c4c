//! Frames that mean the same on both sides: messages, credit, pings.

use std::task::Waker;

use bytes::Bytes;

use crate::core::error::{Error, Result};
use crate::core::exchange::Reset;
use crate::transport::native::frame::{self, FLAG_ERROR, FLAG_MORE, FLAG_SAFE, Header, Kind};
use crate::transport::native::hello::Hello;
use crate::transport::native::link::{Link, State};
use crate::transport::native::names::malformed;
use crate::transport::native::streams::{Flow, Stream};
use crate::transport::native::varint;

use crate::core::error::Retry;

/// Joins the parts of a message; `None` while more is to come.
///
/// # Errors
/// 413 when the message is longer than the limit; the stream has to be reset.
pub(super) fn join(
    stream: &mut Stream,
    header: Header,
    payload: Bytes,
    limit: usize,
) -> Result<Option<Bytes>> {
    let length = stream.partial.len() + payload.len();
    if length > limit {
        let detail = format!("a message has more than {limit} bytes, the limit");
        return Err(Error::too_large("micro.transport", detail));
    }
    if header.has(FLAG_MORE) {
        stream.partial.extend_from_slice(&payload);
        return Ok(None);
    }
    if stream.partial.is_empty() {
        return Ok(Some(payload));
    }
    stream.partial.extend_from_slice(&payload);
    Ok(Some(stream.partial.split().freeze()))
}

/// Puts a message into the inbox of a stream.
///
/// # Errors
/// When the peer sends more than its credit; the connection ends.
pub(super) fn deliver(flow: &mut Flow, message: Bytes, link: &Link) -> Result<()> {
    if flow.stopped || flow.end.is_some() {
        return Ok(());
    }
    // Limit: credit may be overdrawn by one message, so that a message may exceed the window.
    let most = link.limits.stream.window_bytes + link.limits.message.bytes_max;
    flow.unread_bytes += message.len();
    if flow.unread_bytes > most {
        return Err(Error::too_many_requests("micro.transport", "the peer ignores its credit"));
    }
    // Messages without bytes use no credit; what they cost is bounded by their number.
    if flow.inbox.len() > link.limits.stream.window_bytes / frame::HEADER_BYTES {
        return Err(Error::too_many_requests("micro.transport", "the peer floods a stream"));
    }
    flow.inbox.push_back(message);
    Ok(())
}

/// Reads the error of an end frame.
pub(super) fn error_of(header: Header, payload: &[u8]) -> Result<Error> {
    let mut input = payload;
    let after = varint::take(&mut input).ok_or_else(malformed)?;
    let mut error = Error::parse(&String::from_utf8_lossy(input));
    if after > 0 {
        error = error.with_retry_after(std::time::Duration::from_millis(after));
    }
    Ok(if header.has(FLAG_SAFE) { error.with_retry(Retry::Safe) } else { error })
}

/// Returns the flags of the end frame that carries an error.
pub(super) fn error_flags(error: &Error) -> u8 {
    FLAG_ERROR | if error.retry() == Retry::Safe { FLAG_SAFE } else { 0 }
}

/// Returns the error that stands for a reset by the peer.
pub(super) fn reset_error(reason: Reset) -> Error {
    let id = "micro.transport";
    match reason {
        Reset::Refused => {
            Error::unavailable(id, "the node refused the call").with_retry(Retry::Safe)
        }
        Reset::Draining => {
            Error::unavailable(id, "the node is about to stop").with_retry(Retry::Safe)
        }
        Reset::Deadline => Error::timeout(id, "the deadline passed on the node"),
        Reset::TooLarge => Error::too_large(id, "the node takes no message of that length"),
        Reset::Cancelled => Error::cancelled(id, "the peer gave up the exchange"),
        Reset::Protocol => Error::internal(id, "the node found a breach of the protocol"),
        Reset::Internal => Error::internal(id, "the node failed"),
    }
}

/// Handles the frames that concern the connection or the credit of a stream.
///
/// # Errors
/// When the peer does not keep to the protocol; the connection ends.
pub(super) fn common(
    link: &Link,
    state: &mut State,
    header: Header,
    payload: &[u8],
    wakers: &mut Vec<Waker>,
) -> Result<()> {
    match header.kind {
        Kind::Hello => state.peer = Hello::take(payload, &link.limits)?,
        Kind::Ping => {
            // Limit: pings are answered only while the queue has room, so that a flood of them
            // that nobody reads the answers of costs nothing.
            if payload.len() == PING_BYTES && !state.is_full(&link.limits, false) {
                frame::put(&mut state.out, Kind::Pong, 0, 0, payload);
            }
        }
        Kind::GoAway => {
            state.draining = true;
            link.keeper.notify_one();
            link.wake_waiting(state);
        }
        Kind::Credit => {
            let bytes: [u8; 4] = payload.try_into().map_err(|_| malformed())?;
            if let Some(flow) = state.streams.get(header.stream).and_then(|s| s.flow.as_mut()) {
                let ceiling = i64::from(u32::MAX);
                let credit = flow.credit.saturating_add(i64::from(u32::from_be_bytes(bytes)));
                flow.credit = credit.min(ceiling);
                wakers.extend(flow.pump.take());
            }
        }
        _ => {}
    }
    Ok(())
}

/// The payload of a ping, which its pong repeats.
pub(super) const PING_BYTES: usize = 8;
