//! Frames that mean the same on both sides: messages, credit, pings.

use std::ops::Range;

use bytes::Bytes;

use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::Reset;
use crate::core::limits::Limits;
use crate::transport::native::after::After;
use crate::transport::native::frame::{
    self, FLAG_ERROR, FLAG_FINAL, FLAG_MORE, FLAG_SAFE, HEADER_BYTES, Header, Kind,
};
use crate::transport::native::hello::Hello;
use crate::transport::native::link::{Link, Need, State};
use crate::transport::native::names::malformed;
use crate::transport::native::reader::{Frame, Split};
use crate::transport::native::streams::{Flow, Partials, Stream};
use crate::transport::native::varint;

/// Joins the parts of a message; the inner result is `None` while more is to come.
///
/// # Errors
/// The inner error is 413 when the message is longer than the limit: the stream has to be reset.
/// The outer one ends the connection: the peer floods it with unfinished messages.
pub(super) fn join(
    stream: &mut Stream,
    partials: &mut Partials,
    frame: &Frame<'_>,
    limits: &Limits,
) -> Result<Result<Option<Bytes>>> {
    let payload = frame.payload();
    let limit = limits.message.bytes_max;
    if stream.partial.len() + payload.len() > limit {
        let partial = std::mem::take(&mut stream.partial);
        partials.bytes = partials.bytes.saturating_sub(partial.len());
        let detail = format!("a message has more than {limit} bytes, the limit");
        return Ok(Err(Error::too_large("micro.transport", detail)));
    }
    if frame.header.has(FLAG_MORE) {
        partials.grow(payload.len(), limits)?;
        stream.partial.extend_from_slice(payload);
        return Ok(Ok(None));
    }
    if stream.partial.is_empty() {
        return Ok(Ok(Some(frame.share())));
    }
    partials.bytes = partials.bytes.saturating_sub(stream.partial.len());
    stream.partial.extend_from_slice(payload);
    Ok(Ok(Some(std::mem::take(&mut stream.partial).freeze())))
}

impl Partials {
    /// Counts a part of a message of which more is to come.
    ///
    /// # Errors
    /// When the peer leaves too much unfinished, or sends parts without a byte; the connection
    /// ends.
    pub(super) fn grow(&mut self, length: usize, limits: &Limits) -> Result<()> {
        self.empty = if length == 0 { self.empty + 1 } else { 0 };
        if self.empty > limits.stream.empty_frames_max {
            return Err(flood("parts of messages without a byte"));
        }
        self.bytes += length;
        if self.bytes > limits.message.reassembly_bytes_max {
            return Err(flood("unfinished messages"));
        }
        Ok(())
    }
}

/// What a message costs of its stream's credit beside its length, however many frames carry it.
pub(super) const MESSAGE_COST: usize = HEADER_BYTES;

/// How many reads may lie in an inbox by reference: a message keeps all that was read with it.
const READS_HELD_MAX: usize = 8;

/// Puts a message into the inbox of a stream.
///
/// # Errors
/// When the peer sends more than its credit; the connection ends.
pub(super) fn deliver(flow: &mut Flow, message: Bytes, read: u64, link: &Link) -> Result<()> {
    let part = 0..message.len();
    deliver_parts(flow, &message, std::iter::once(part), (read, link))
}

/// Puts a message into the inbox of its stream, and with it those of the stream that follow at once.
///
/// `false` if the frame is not a message of an open stream that stands for itself: nothing is done.
///
/// # Errors
/// When the peer sends more than its credit; the connection ends.
pub(super) fn run(
    link: &Link,
    state: &mut State,
    (frame, frames): (&Frame<'_>, &mut Split<'_>),
    after: &mut After,
) -> Result<bool> {
    let (header, max) = (frame.header, link.limits.message.bytes_max);
    let (id, read) = (header.stream, state.reads);
    if !header.is_message() || header.length > max {
        return Ok(false);
    }
    let Some(stream) = state.streams.get(id) else { return Ok(false) };
    let whole = stream.partial.is_empty() && stream.pending.is_none() && !stream.over;
    // A stream of requests is open from its beginning.
    let Some(flow) = stream.flow.as_mut().filter(|flow| whole && (flow.opened || !link.dialed))
    else {
        return Ok(false);
    };
    let (batch, first) = frame.parts();
    let rest = std::iter::from_fn(|| frames.next_message(id, max));
    deliver_parts(flow, batch, std::iter::once(first).chain(rest), (read, link))?;
    after.wakers.extend(stream.waker.take());
    Ok(true)
}

#[inline]
fn deliver_parts(
    flow: &mut Flow,
    whole: &Bytes,
    parts: impl Iterator<Item = Range<usize>>,
    (read, link): (u64, &Link),
) -> Result<()> {
    if flow.stopped || flow.end.is_some() {
        parts.for_each(drop);
        return Ok(());
    }
    if flow.reads.0 != read {
        flow.reads = (read, flow.reads.1 + 1);
    }
    let Flow { inbox, unread, owed, reads, .. } = flow;
    let mut within = true;
    let counted = parts.take_while(|part| {
        // The peer may begin a message while its credit is above zero, so that one may exceed it.
        within = *unread + *owed < link.own.window_bytes;
        *unread += part.len() + MESSAGE_COST;
        within
    });
    // Limit: a slow reader holds few whole reads; what arrives after them is copied out.
    if reads.1 <= READS_HELD_MAX {
        inbox.share(whole, counted);
    } else {
        inbox.copy(whole, counted);
    }
    if within { Ok(()) } else { Err(flood("messages beyond the credit of their stream")) }
}

fn flood(what: &str) -> Error {
    Error::too_many_requests("micro.transport", format!("the peer floods the connection: {what}"))
}

/// Reads the error of an end frame.
pub(super) fn error_of(header: Header, payload: &[u8]) -> Result<Error> {
    let mut input = payload;
    let after = varint::take(&mut input).ok_or_else(malformed)?;
    let mut error = Error::parse(&String::from_utf8_lossy(input));
    if after > 0 {
        error = error.with_retry_after(std::time::Duration::from_millis(after));
    }
    Ok(match (header.has(FLAG_SAFE), header.has(FLAG_FINAL)) {
        (true, _) => error.with_retry(Retry::Safe),
        (false, true) => error.with_retry(Retry::Never),
        (false, false) => error,
    })
}

/// Returns the flags of the end frame that carries an error.
pub(super) fn error_flags(error: &Error) -> u8 {
    let verdict = match error.retry() {
        Retry::Safe => FLAG_SAFE,
        // Where the code alone says so the flag is left out.
        Retry::Never if Retry::of(error.code()) != Retry::Never => FLAG_FINAL,
        Retry::Never | Retry::Unknown => 0,
    };
    FLAG_ERROR | verdict
}

/// Returns the error that stands for a reset by the peer.
pub(super) fn reset_error(reason: Reset) -> Error {
    let id = "micro.transport";
    match reason {
        Reset::Refused => {
            Error::too_many_requests(id, "the node refused the call").with_retry(Retry::Safe)
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
    after: &mut After,
) -> Result<()> {
    match header.kind {
        Kind::Hello => greet(link, state, payload, after)?,
        // Limit: pings are answered only while the queue has room, so that a flood of them that
        // nobody reads the answers of costs nothing.
        Kind::Ping if !state.is_full(&link.limits, Need::Queue) => {
            if let Some(ping) = payload.first_chunk::<PING_BYTES>() {
                frame::put(&mut state.out, Kind::Pong, 0, 0, ping);
            }
        }
        Kind::GoAway => {
            state.draining = true;
            after.accused |= frame::reason_from(payload) == Reset::Protocol;
            link.keeper.notify_one();
            link.wake_waiting(state);
        }
        Kind::Credit => {
            let bytes = *payload.first_chunk::<4>().ok_or_else(malformed)?;
            if let Some(flow) = state.streams.get(header.stream).and_then(|s| s.flow.as_mut()) {
                let ceiling = i64::from(u32::MAX);
                let credit = flow.credit.saturating_add(i64::from(u32::from_be_bytes(bytes)));
                flow.credit = credit.min(ceiling);
                after.wakers.extend(flow.pump.take());
            }
        }
        _ => {}
    }
    Ok(())
}

/// Takes the settings of the peer, which hold for the streams that are open already too.
fn greet(link: &Link, state: &mut State, payload: &[u8], after: &mut After) -> Result<()> {
    if std::mem::replace(&mut state.greeted, true) {
        return Err(malformed());
    }
    let before = std::mem::replace(&mut state.peer, Hello::take(payload, &link.limits)?);
    let signed = |window: usize| i64::try_from(window).unwrap_or(i64::MAX);
    let more = signed(state.peer.window_bytes) - signed(before.window_bytes);
    for (_, stream) in state.streams.iter_mut() {
        if let Some(flow) = &mut stream.flow {
            flow.credit = flow.credit.saturating_add(more);
            after.wakers.extend(flow.pump.take());
        }
    }
    link.wake_waiting(state);
    Ok(())
}

/// The payload of a ping, which its pong repeats.
pub(super) const PING_BYTES: usize = 8;
