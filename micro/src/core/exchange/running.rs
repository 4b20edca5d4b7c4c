//! A call that runs.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};

use crate::core::context::{Context, poll_in};
use crate::core::error::{Error, Result};
use crate::core::exchange::Outgoing;
use crate::core::future::BoxFuture;
use crate::core::stall;

/// A call that runs: a handler inside its context.
///
/// Dropping it drops the handler at its current await and cancels the context. A panic of the
/// handler ends this call with 500 and nothing else.
pub struct Running {
    context: Context,
    future: BoxFuture<'static, Result<Outgoing>>,
    over: bool,
    slot: Option<Slot>,
}

/// Gives back what a call occupies.
pub trait Release: Send + Sync {
    /// Called once, when the call is over.
    fn release(&self);
}

/// What a call occupies while it runs, given back on drop.
pub struct Slot(Arc<dyn Release>);

impl Slot {
    /// Makes the guard of something that was taken from `owner`.
    pub fn new(owner: Arc<dyn Release>) -> Self {
        Self(owner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

impl Running {
    /// Joins a handler's future with the context it runs in.
    pub fn new(context: Context, future: BoxFuture<'static, Result<Outgoing>>) -> Self {
        Self { context, future, over: false, slot: None }
    }

    /// Keeps a slot until the call is over.
    #[must_use]
    pub fn holding(mut self, slot: Slot) -> Self {
        self.slot = Some(slot);
        self
    }

    /// Returns the context of the call.
    pub fn context(&self) -> &Context {
        &self.context
    }
}

impl Future for Running {
    type Output = Result<Outgoing>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let poll = || poll_in(&this.context, this.future.as_mut(), task);
        // The future is never polled again after it unwound, so no broken state is seen.
        let caught = || std::panic::catch_unwind(std::panic::AssertUnwindSafe(poll));
        let polled = stall::marked(this.context.spec(), caught);
        let result = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(result)) => result,
            Err(panic) => Err(panicked(&this.context, panic.as_ref())),
        };
        this.over = true;
        this.slot = None;
        Poll::Ready(result)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.over {
            self.context.cancel();
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
    let message = panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    let endpoint = context.spec().map_or("unknown", |spec| spec.name);
    tracing::error!(endpoint, panic = %message.escape_debug(), "handler panicked");
    let service = context.service().unwrap_or("micro").to_owned();
    Error::internal(service, format!("handler {endpoint} panicked"))
}
