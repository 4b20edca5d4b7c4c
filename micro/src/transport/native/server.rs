//! The accepting side: runs calls in place while they do not wait, as tasks when they do.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::time::Instant;

use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{Dispatch, Inbound, Outgoing, Reset, Running, messages_of};
use crate::core::limits::Limits;
use crate::transport::native::after::After;
use crate::transport::native::frame::{
    FLAG_BODY, FLAG_END, FLAG_ERROR, FLAG_EXTRA, FLAG_MORE, Header, Kind,
};
use crate::transport::native::head::{self, Opened, Reading};
use crate::transport::native::hello::Hello;
use crate::transport::native::inbound;
use crate::transport::native::link::{Link, Need, State};
use crate::transport::native::names::{NamesIn, malformed};
use crate::transport::native::pace::Pace;
use crate::transport::native::reader::{Frame, Frames, Split};
use crate::transport::native::streams::{Flow, Stream, slot_of};
use crate::transport::native::task::{Call, Stage, Work, put_answer, put_error, spawn};

/// Answers queued apart from the connection's own queue before they are handed over.
const ANSWER_BYTES: usize = 8 * 1024;

/// Requests up to this length are copied when their calls may last: a part of a read keeps all of
/// it, however short the part is.
const COPIED_BYTES_MAX: usize = 16 * 1024;

/// Calls of a connection that may keep a whole read each before the requests of more are copied.
const READS_KEPT_MAX: usize = 16;

/// Serves the calls of one connection.
#[derive(Debug)]
pub(super) struct Calls {
    dispatch: Arc<dyn Dispatch>,
    names: NamesIn,
    /// What the caller accepts.
    peer: Hello,
    /// Answers of this batch, handed over under one lock.
    answers: Vec<u8>,
    after: After,
    /// Whether a call began in this batch.
    opened: bool,
    /// Calls that broke a limit which the peer knows.
    faults: usize,
    pace: Pace,
}

impl Calls {
    pub(super) fn new(dispatch: Arc<dyn Dispatch>, limits: &Limits) -> Self {
        Self {
            dispatch,
            names: NamesIn::default(),
            peer: Hello::unheard(limits),
            answers: Vec::new(),
            after: After::default(),
            opened: false,
            faults: 0,
            pace: Pace::new(clock::now()),
        }
    }
}

impl Frames for Calls {
    async fn batch(&mut self, link: &Arc<Link>, batch: Bytes) -> Result<()> {
        self.pace.begin(clock::now());
        let result = self.frames(link, &batch).await;
        self.after.run(link);
        result
    }
}

impl Calls {
    async fn frames(&mut self, link: &Arc<Link>, batch: &Bytes) -> Result<()> {
        for frame in Split::new(batch) {
            match frame.header.kind {
                Kind::Open => self.open(link, &frame)?,
                _ => {
                    self.pace.pause();
                    self.other(link, &frame)?;
                }
            }
            if self.answers.len() >= ANSWER_BYTES {
                self.pace.pause();
                self.hand_over(link).await?;
            }
        }
        self.hand_over(link).await
    }

    /// Queues the answers of this batch; waits while the peer does not read.
    async fn hand_over(&mut self, link: &Link) -> Result<()> {
        self.after.run(link);
        let waits = {
            let mut state = link.lock();
            if std::mem::take(&mut self.opened) {
                state.idle_since = state.last_read;
            }
            state.out.append(&mut self.answers);
            state.queued_bytes() > link.limits.connection.outbound_bytes_max
        };
        link.flush();
        if waits { link.room(Need::Queue).await } else { Ok(()) }
    }

    fn open(&mut self, link: &Arc<Link>, frame: &Frame<'_>) -> Result<()> {
        self.opened = true;
        let (now, header, mut input) = (self.pace.now(), frame.header, frame.payload());
        let reading = Reading {
            dispatch: self.dispatch.as_ref(),
            limits: &link.limits.stream,
            timeout_max: link.limits.call.timeout_max,
        };
        let extra = header.has(FLAG_EXTRA);
        let opened = head::take(&mut input, extra, now, &mut self.names, &reading)?;
        if slot_of(header.stream) >= link.own.streams_max {
            self.refuse(header.stream, &inbound::reset_error(Reset::Refused));
            return Ok(());
        }
        if opened.extra.is_err() {
            self.fault(link)?;
        }
        let call = match Self::call(link, opened, now) {
            Ok(call) => call,
            Err(error) => {
                self.refuse(header.stream, &error);
                return Ok(());
            }
        };
        let body = frame.share_last(input.len());
        let whole = header.has(FLAG_BODY) && !header.has(FLAG_MORE);
        if whole && !call.target.kind.streams_requests() {
            // No message may be longer than the limit, even if a frame could hold it.
            if body.len() > link.limits.message.bytes_max {
                self.refuse(header.stream, &inbound::reset_error(Reset::TooLarge));
                return self.fault(link);
            }
            let call = Inbound { body, ..call };
            return self.start(link, header.stream, call, Stage::Unentered);
        }
        match self.accept(link, header, call, body)? {
            Some(call) => self.start(link, header.stream, call, Stage::Entered),
            None => Ok(()),
        }
    }

    /// Counts a call that broke a limit which the peer knows.
    ///
    /// # Errors
    /// When there were too many of them; the connection ends.
    fn fault(&mut self, link: &Link) -> Result<()> {
        self.faults += 1;
        if self.faults > link.limits.stream.local_error_resets_max {
            let detail = "the peer breaks the limits of calls again and again";
            return Err(Error::too_many_requests("micro.transport", detail));
        }
        Ok(())
    }

    /// Makes the call of an open frame, without its message.
    fn call(link: &Link, opened: Opened, now: Instant) -> Result<Inbound> {
        Ok(Inbound {
            target: opened.target?,
            now,
            deadline: opened.deadline,
            content_type: opened.content_type,
            extra: opened.extra?,
            body: Bytes::new(),
            messages: None,
            remote: Arc::clone(&link.remote),
        })
    }

    /// Opens the stream of a call whose messages arrive one by one, or in parts; `None` while the
    /// one message has not all arrived.
    fn accept(
        &mut self,
        link: &Arc<Link>,
        header: Header,
        mut call: Inbound,
        body: Bytes,
    ) -> Result<Option<Inbound>> {
        let id = header.stream;
        let mut stream = Stream { detached: call.target.detached, ..Stream::default() };
        let mut guard = link.lock();
        let state = &mut *guard;
        if header.has(FLAG_MORE) {
            state.streams.count(body.len(), &link.limits)?;
            stream.partial.extend_from_slice(&body);
        }
        if !call.target.kind.streams_requests() {
            let waits = clock::after(call.now, link.limits.call.default_timeout);
            stream.deadline = Some(call.deadline.unwrap_or(waits));
            link.look_sooner(state, stream.deadline);
            stream.pending = Some(Box::new(call));
            insert(state, id, stream, link)?;
            return Ok(None);
        }
        let mut flow = Flow::new(state.peer.window_bytes);
        if header.has(FLAG_BODY) && !header.has(FLAG_MORE) {
            if body.len() > link.limits.message.bytes_max {
                drop(guard);
                self.refuse(id, &inbound::reset_error(Reset::TooLarge));
                return self.fault(link).map(|()| None);
            }
            inbound::deliver(&mut flow, body, state.reads, link)?;
        }
        if header.has(FLAG_END) {
            flow.end = Some(Ok(()));
        }
        stream.flow = Some(Box::new(flow));
        insert(state, id, stream, link)?;
        drop(guard);
        let driver: Arc<Link> = Arc::clone(link);
        call.messages = Some(messages_of(driver, id));
        Ok(Some(call))
    }

    /// Runs a call up to its first wait, if the budget allows; as a task from there on.
    ///
    /// A call whose requests arrive one by one, or in parts, is in the table already.
    fn start(&mut self, link: &Arc<Link>, id: u32, call: Inbound, stage: Stage) -> Result<()> {
        let target = call.target;
        let in_place = stage == Stage::Unentered && self.pace.allows(target.index);
        let mut running = match self.dispatch(link, call, in_place) {
            Ok(running) => running,
            Err(error) => {
                if stage == Stage::Entered {
                    let stream = link.release(&mut link.lock(), id);
                    drop(stream);
                }
                self.refuse(id, &error);
                return Ok(());
            }
        };
        if in_place {
            self.pace.resume(clock::now);
            let polled = poll_now(&mut running);
            let now = clock::now();
            self.pace.charge(target.index, now);
            running.settle(now);
            match polled {
                Poll::Ready(Ok(Outgoing::Message(body))) => {
                    put_answer(&mut self.answers, &self.peer, id, &Ok(Some(body)));
                    return Ok(());
                }
                Poll::Ready(Err(error)) => {
                    self.refuse(id, &error);
                    return Ok(());
                }
                Poll::Ready(Ok(stream)) => {
                    return spawn(link, Call { id, target, stage }, Work::Answer(stream));
                }
                Poll::Pending => {}
            }
        }
        self.pace.pause();
        // The router may have shortened the caller's deadline, or set one.
        let deadline = running.context().deadline();
        spawn(link, Call { id, target, stage }, Work::Run(running, deadline))
    }

    /// Begins a call, unless as many run as may.
    fn dispatch(&self, link: &Link, mut call: Inbound, in_place: bool) -> Result<Running> {
        let running = link.running.load(Ordering::Relaxed);
        if running >= link.limits.call.in_flight_per_connection_max {
            return Err(busy());
        }
        let lasts = !in_place || running >= READS_KEPT_MAX;
        if lasts && call.body.len() <= COPIED_BYTES_MAX {
            call.body = Bytes::copy_from_slice(&call.body);
        }
        self.dispatch.dispatch(call)
    }

    fn refuse(&mut self, id: u32, error: &Error) {
        put_error(&mut self.answers, id, error);
    }

    fn other(&mut self, link: &Arc<Link>, frame: &Frame<'_>) -> Result<()> {
        let (header, id) = (frame.header, frame.header.stream);
        let mut complete = None;
        let mut dropped = None;
        {
            let mut guard = link.lock();
            let state = &mut *guard;
            match header.kind {
                Kind::Data => complete = self.data(link, state, frame)?,
                Kind::End => dropped = self.end(link, state, header, frame.payload())?,
                Kind::Reset => dropped = reset(link, state, id, &mut self.after),
                kind => {
                    inbound::common(link, state, header, frame.payload(), &mut self.after)?;
                    if kind == Kind::Hello {
                        self.peer = state.peer;
                    }
                }
            }
        }
        // The handler is user code: it is dropped outside of the lock.
        drop(dropped);
        self.after.run(link);
        if let Some(call) = complete {
            self.start(link, id, *call, Stage::Entered)?;
        }
        Ok(())
    }

    /// Handles a message of a stream; returns the call whose message is complete.
    fn data(
        &mut self,
        link: &Link,
        state: &mut State,
        frame: &Frame<'_>,
    ) -> Result<Option<Box<Inbound>>> {
        let (header, id) = (frame.header, frame.header.stream);
        let read = state.reads;
        // A frame of a stream that is over finds nothing and is passed over.
        let Some((stream, partials)) = state.streams.get_counted(id) else { return Ok(None) };
        let joined = inbound::join(stream, partials, frame, &link.limits)?;
        let message = match joined {
            Ok(None) => return Ok(None),
            Ok(Some(message)) => message,
            Err(error) => {
                self.after.streams.extend(link.release(state, id));
                self.refuse(id, &error);
                self.fault(link)?;
                return Ok(None);
            }
        };
        if let Some(mut call) = stream.pending.take() {
            stream.deadline = None;
            if call.target.kind.streams_responses() {
                stream.flow = Some(Box::new(Flow::new(self.peer.window_bytes)));
            }
            call.body = message;
            call.now = state.last_read;
            return Ok(Some(call));
        }
        let Some(flow) = &mut stream.flow else { return Ok(None) };
        inbound::deliver(flow, message, read, link)?;
        if header.has(FLAG_END) {
            flow.end = flow.end.take().or(Some(Ok(())));
        }
        self.after.wakers.extend(stream.waker.take());
        Ok(None)
    }

    /// The caller has sent its last message, or its stream of requests has failed.
    fn end(
        &mut self,
        link: &Link,
        state: &mut State,
        header: Header,
        payload: &[u8],
    ) -> Result<Option<Stream>> {
        let id = header.stream;
        let Some(stream) = state.streams.get(id) else { return Ok(None) };
        let ended = match header.has(FLAG_ERROR) {
            true => Err(inbound::error_of(header, payload)?),
            // What a message was cut short by must not pass for a clean end.
            false if !stream.partial.is_empty() => return Err(malformed()),
            false => Ok(()),
        };
        if stream.pending.is_some() {
            let detail = "the request ended before its message was complete";
            self.refuse(id, &Error::bad_request("micro.transport", detail));
            return Ok(link.release(state, id));
        }
        if let Some(flow) = stream.flow.as_mut().filter(|flow| flow.end.is_none()) {
            flow.end = Some(ended);
        }
        self.after.wakers.extend(stream.waker.take());
        Ok(None)
    }
}

/// Enters a stream; a peer that uses a slot again before its call is over breaks the protocol.
pub(super) fn insert(state: &mut State, id: u32, stream: Stream, link: &Link) -> Result<()> {
    if let Some(closed) = &state.closed {
        return Err(closed.clone());
    }
    if state.streams.accept(id, stream, link.own.streams_max) { Ok(()) } else { Err(malformed()) }
}

/// The refusal of a call beyond what runs for one connection at a time.
fn busy() -> Error {
    let detail = "as many calls run for the connection as the node allows";
    Error::too_many_requests("micro.transport", detail).with_retry(Retry::Safe)
}

/// The caller has gone away: its handler is dropped, unless it is detached.
fn reset(link: &Link, state: &mut State, id: u32, after: &mut After) -> Option<Stream> {
    let mut stream = link.release(state, id)?;
    if stream.detached
        && let Some(task) = stream.task.take()
    {
        // What waits for the caller, for credit or for a request, has to see that it is gone.
        after.wakers.extend(stream.flow.as_mut().and_then(|flow| flow.pump.take()));
        after.wakers.extend(stream.waker.take());
        task.detach();
    }
    Some(stream)
}

fn poll_now(running: &mut Running) -> Poll<Result<Outgoing>> {
    // A task of its own polls again, so that a wake-up meant for this poll is not lost.
    let mut task = Context::from_waker(Waker::noop());
    std::pin::Pin::new(running).poll(&mut task)
}
