//! A call that runs.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};

use tokio::time::Instant;

use crate::core::clock;
use crate::core::context::{Context, enter_slot};
use crate::core::error::{Error, Result};
use crate::core::exchange::Outgoing;
use crate::core::future::BoxFuture;
use crate::core::panic::text;
use crate::core::stall;
use crate::core::trace::Trace;

/// A call that runs: a handler inside its context.
///
/// Dropping it drops the handler at its current await and cancels the context. A panic of the
/// handler ends this call with 500 and nothing else.
pub struct Running {
    /// Away while the handler is polled.
    context: Option<Context>,
    future: BoxFuture<'static, Result<Outgoing>>,
    over: bool,
    slot: Option<Slot>,
}

/// What a call occupies, and who counts how it ended.
pub trait Release: Send + Sync {
    /// Gives back what the call occupies. Called once, when the call is over.
    fn release(&self);

    /// Counts how the call ended. Called once, after [`Release::release`].
    fn tally(&self, ended: &Ended);
}

/// How a call ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Ended {
    /// When the call arrived.
    pub began: Instant,
    /// When it was over.
    pub at: Instant,
    /// The code of its error; 200 if it has none.
    pub code: u16,
    /// Its place in the trace, if that is to be recorded.
    pub trace: Option<Box<Trace>>,
}

/// The code of a call that did what was asked.
pub const DONE: u16 = 200;

/// The code of a call that nobody waited for.
const GIVEN_UP: u16 = 499;

/// What a call occupies while it runs, given back on drop.
pub struct Slot {
    owner: Arc<dyn Release>,
    began: Instant,
    trace: Option<Box<Trace>>,
    /// Whether it was given back.
    free: bool,
    /// Whether it was counted how the call ended.
    told: bool,
    code: u16,
}

impl Slot {
    /// Makes the guard of something that was taken from `owner` for a call that arrived at
    /// `began`; the call is recorded at its place in a trace, if the trace is one that is recorded.
    #[inline]
    pub fn new(owner: Arc<dyn Release>, began: Instant, trace: Option<&Trace>) -> Self {
        let trace = trace.filter(|trace| trace.is_sampled()).map(|trace| Box::new(*trace));
        Self { owner, began, trace, free: false, told: false, code: GIVEN_UP }
    }

    /// Notes how the call ends; what it occupies is given back when the slot is dropped.
    pub fn note(&mut self, code: u16) {
        self.code = code;
    }

    /// Gives back what the call occupies; whoever drops the slot says when that was.
    #[inline]
    pub fn finish(&mut self, code: u16) {
        self.code = code;
        if !std::mem::replace(&mut self.free, true) {
            self.owner.release();
        }
    }

    /// Gives back what a call occupies that ended with a result.
    #[inline]
    pub fn finish_with<T>(&mut self, result: &Result<T>) {
        self.finish(result.as_ref().map_or_else(Error::code, |_| DONE));
    }

    /// Gives back what the call occupies, at a time that was read already; the drop does nothing
    /// more.
    #[inline]
    pub fn end(&mut self, at: Instant) {
        let code = if !self.free && std::thread::panicking() { 500 } else { self.code };
        self.finish(code);
        let trace = self.trace.take();
        self.owner.tally(&Ended { began: self.began, at, code, trace });
        self.told = true;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.told {
            self.end(clock::now());
        }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

impl Running {
    /// Joins a handler's future with the context it runs in.
    #[inline]
    pub fn new(context: Context, future: BoxFuture<'static, Result<Outgoing>>) -> Self {
        Self { context: Some(context), future, over: false, slot: None }
    }

    /// Keeps a slot until the call is over.
    #[must_use]
    #[inline]
    pub fn holding(mut self, slot: Slot) -> Self {
        self.slot = Some(slot);
        self
    }

    /// Counts the end of a call that is over, at a time that was read already.
    #[inline]
    pub fn settle(&mut self, at: Instant) {
        if let Some(slot) = self.slot.as_mut().filter(|_| self.over) {
            slot.end(at);
        }
    }

    /// Returns the context of the call.
    pub fn context(&self) -> Context {
        self.context.clone().unwrap_or_default()
    }
}

impl Future for Running {
    type Output = Result<Outgoing>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let spec = this.context.as_ref().and_then(Context::spec);
        let poll = || enter_slot(&mut this.context, || this.future.as_mut().poll(task));
        // The future is never polled again after it unwound, so no broken state is seen.
        let caught = || std::panic::catch_unwind(std::panic::AssertUnwindSafe(poll));
        let polled = stall::marked(spec, caught);
        let result = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(result)) => result,
            Err(panic) => Err(panicked(&this.context(), panic.as_ref())),
        };
        this.over = true;
        // Others may have the place at once; how the call ended is counted when `self` goes.
        if let Some(slot) = &mut this.slot {
            slot.finish_with(&result);
        }
        Poll::Ready(result)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let context = self.context();
        context.cancel();
        if let (Some(slot), Some(deadline)) = (&mut self.slot, context.deadline())
            && deadline <= clock::now()
        {
            slot.finish(408);
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("context", &self.context).finish_non_exhaustive()
    }
}

/// Turns a panic of user code into the error of the one call it belongs to.
pub(crate) fn panicked(context: &Context, panic: &(dyn std::any::Any + Send)) -> Error {
    let message = text(panic).unwrap_or("no message");
    let endpoint = context.spec().map_or("unknown", |spec| spec.name);
    tracing::error!(endpoint, panic = %message.escape_debug(), "handler panicked");
    let service = context.service().unwrap_or("micro").to_owned();
    Error::internal(service, format!("handler {endpoint} panicked"))
}
