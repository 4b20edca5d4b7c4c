//! What a call carries besides its message: deadline, metadata, caller, trace, cancellation.
//!
//! The server runs each handler inside its context, and a client call made there inherits
//! deadline, trace and persistent metadata from it. [`Context::spawn`] carries the trace and the
//! metadata across tasks, but neither deadline nor cancellation.

use std::cell::RefCell;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::core::account::Account;
use crate::core::clock;
use crate::core::descriptor::EndpointSpec;
use crate::core::error::{Error, Result};
use crate::core::metadata::Metadata;
use crate::core::shutdown::{Shutdown, TaskHandle, TaskTracker};
use crate::core::trace::Trace;

/// The surroundings of one call; cheap to clone, shared by its clones.
#[derive(Clone, Debug)]
pub struct Context {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    parts: Parts,
    cancel: Cancel,
    /// The context of the call from which this one was derived; it is the one that is cancelled.
    origin: Option<Context>,
}

/// What a transport or a test puts into a context.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Parts {
    /// When the call's answer is worth nothing any more.
    pub deadline: Option<Instant>,
    /// Metadata of this hop only.
    pub metadata: Metadata,
    /// Metadata that travels on with every call made in this context.
    pub persistent: Metadata,
    /// The authenticated caller.
    pub account: Option<Arc<Account>>,
    /// The place in the trace.
    pub trace: Option<Trace>,
    /// Where the call came from, such as `127.0.0.1:40312`, `unix` or `memory`.
    pub remote: Option<Arc<str>>,
    /// What serves the call.
    pub callee: Option<Arc<Callee>>,
}

/// What serves a call; the same for all calls to an endpoint, which share it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Callee {
    /// The endpoint; there is none where an event is handled.
    pub spec: Option<&'static EndpointSpec>,
    /// The name of the service.
    pub service: Option<Arc<str>>,
    /// The lifecycle of the process.
    pub shutdown: Shutdown,
    /// Owns the tasks that the call spawns.
    pub tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct Cancel {
    done: AtomicBool,
    notify: Notify,
}

thread_local! {
    static CURRENT: RefCell<Option<Context>> = const { RefCell::new(None) };
}

impl Context {
    /// Makes an empty context: no deadline, no caller, no trace.
    pub fn new() -> Self {
        Self::from_parts(Parts::default())
    }

    /// Makes a context of its parts.
    #[inline]
    pub fn from_parts(parts: Parts) -> Self {
        Self { inner: Arc::new(Inner { parts, cancel: Cancel::default(), origin: None }) }
    }

    /// Makes a context of other parts that is cancelled with this one.
    #[must_use]
    pub fn derive(&self, parts: Parts) -> Self {
        let origin = Some(self.inner.origin.as_ref().unwrap_or(self).clone());
        Self { inner: Arc::new(Inner { parts, cancel: Cancel::default(), origin }) }
    }

    /// Returns the context of the running handler, or an empty one outside of handlers.
    pub fn current() -> Self {
        Self::try_current().unwrap_or_default()
    }

    /// Returns the context of the running handler, if there is one.
    pub fn try_current() -> Option<Self> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Returns the context of the running handler where that can be told without waiting or
    /// panicking, as a panic hook needs it.
    pub(crate) fn peek() -> Option<Self> {
        let seen = CURRENT.try_with(|current| current.try_borrow().ok()?.clone());
        seen.unwrap_or_default()
    }

    /// Runs `f` with this context as the current one.
    pub fn enter<R>(&self, f: impl FnOnce() -> R) -> R {
        // Invariant: the guard restores what was current even when `f` unwinds.
        struct Restore(Option<Context>);
        impl Drop for Restore {
            fn drop(&mut self) {
                let previous = self.0.take();
                CURRENT.with_borrow_mut(|current| *current = previous);
            }
        }
        let _restore = Restore(CURRENT.with_borrow_mut(|current| current.replace(self.clone())));
        f()
    }

    /// Runs a future with this context as the current one whenever it is polled.
    pub fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        let mut future = Box::pin(future);
        std::future::poll_fn(move |cx| self.enter(|| future.as_mut().poll(cx)))
    }

    /// Spawns a task that keeps trace and metadata, but neither deadline nor cancellation.
    ///
    /// The task belongs to the serving process: a stop waits for it as it does for calls, and cuts
    /// and counts it at the drain deadline. Outside of a server it belongs to the handle that is
    /// returned: it is aborted when that is dropped, and runs on after [`TaskHandle::detach`].
    pub fn spawn<F>(&self, future: F) -> TaskHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let parts = Parts { deadline: None, ..self.inner.parts.clone() };
        let tasks = parts.callee.as_ref().map(|callee| callee.tasks.clone());
        let future = Self::from_parts(parts).scope(future);
        match tasks {
            Some(tasks) => tasks.spawn("context", future),
            None => TaskTracker::new().spawn("context", future).abort_on_drop(),
        }
    }

    /// Returns when the call's answer is worth nothing any more.
    pub fn deadline(&self) -> Option<Instant> {
        self.inner.parts.deadline
    }

    /// Returns the time left, zero when the deadline has passed, `None` without a deadline.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline().map(|d| d.saturating_duration_since(clock::now()))
    }

    /// Returns the metadata of this hop.
    pub fn metadata(&self) -> &Metadata {
        &self.inner.parts.metadata
    }

    /// Returns the metadata that travels on with every call made in this context.
    pub fn persistent(&self) -> &Metadata {
        &self.inner.parts.persistent
    }

    /// Returns a context whose calls carry one more persistent pair.
    ///
    /// # Errors
    /// 400 when the key or value is not allowed in metadata or the limit is reached.
    pub fn persist(&self, key: &str, value: &str) -> Result<Self> {
        let mut parts = self.inner.parts.clone();
        parts.persistent.insert(key, value)?;
        Ok(self.derive(parts))
    }

    /// Returns the authenticated caller.
    ///
    /// # Errors
    /// 401 when the caller is anonymous.
    pub fn account(&self) -> Result<&Account> {
        self.inner.parts.account.as_deref().ok_or_else(|| {
            let id = self.service().unwrap_or("micro").to_owned();
            Error::unauthorized(id, "the caller is not authenticated")
        })
    }

    /// Returns the place in the trace.
    pub fn trace(&self) -> Option<Trace> {
        self.inner.parts.trace
    }

    /// Returns where the call came from.
    pub fn remote(&self) -> Option<&str> {
        self.inner.parts.remote.as_deref()
    }

    /// Returns the descriptor of the endpoint that serves the call.
    pub fn spec(&self) -> Option<&'static EndpointSpec> {
        self.callee()?.spec
    }

    /// Returns the name of the service that serves the call.
    pub fn service(&self) -> Option<&str> {
        self.callee()?.service.as_deref()
    }

    fn callee(&self) -> Option<&Callee> {
        self.inner.parts.callee.as_deref()
    }

    /// Returns whether the process is finishing its work before it stops.
    pub fn draining(&self) -> bool {
        self.callee().is_some_and(|callee| callee.shutdown.is_draining())
    }

    /// Waits until the process begins to finish its work before it stops; for ever outside of a
    /// server. Cancel safe.
    ///
    /// For handlers that have no end of their own, such as those of streams:
    /// `tokio::select! { () = ctx.drained() => .., event = events.next() => .. }`.
    pub async fn drained(&self) {
        match self.callee() {
            Some(callee) => callee.shutdown.draining().await,
            None => std::future::pending().await,
        }
    }

    fn cancellation(&self) -> &Cancel {
        let Inner { cancel, origin, .. } = &*self.inner;
        origin.as_ref().map_or(cancel, |origin| &origin.inner.cancel)
    }

    /// Returns whether the caller has gone away or the deadline has ended the call.
    pub fn is_cancelled(&self) -> bool {
        self.cancellation().done.load(Ordering::Acquire)
    }

    /// Waits until the caller goes away or the deadline ends the call.
    ///
    /// Useful to a `detached` handler and to clones in other tasks: any other handler is dropped
    /// at that moment.
    pub async fn cancelled(&self) {
        loop {
            let notified = self.cancellation().notify.notified();
            if self.is_cancelled() {
                return;
            }
            notified.await;
        }
    }

    /// Marks the call as cancelled and wakes whoever waits for it.
    pub(crate) fn cancel(&self) {
        let cancellation = self.cancellation();
        cancellation.done.store(true, Ordering::Release);
        cancellation.notify.notify_waiters();
    }

    /// Returns the parts, to make another context of them.
    pub fn parts(&self) -> &Parts {
        &self.inner.parts
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs `f` inside a context, which is taken out of its slot meanwhile: that costs less than to
/// count one more clone.
pub(crate) fn enter_slot<R>(slot: &mut Option<Context>, f: impl FnOnce() -> R) -> R {
    // Invariant: the guard swaps back what was current even when `f` unwinds.
    struct Swapped<'a>(&'a mut Option<Context>);
    impl Drop for Swapped<'_> {
        fn drop(&mut self) {
            CURRENT.with_borrow_mut(|current| std::mem::swap(current, self.0));
        }
    }
    CURRENT.with_borrow_mut(|current| std::mem::swap(current, slot));
    let _swapped = Swapped(slot);
    f()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_deadline() -> Context {
        let deadline = Some(clock::now() + Duration::from_secs(1));
        Context::from_parts(Parts { deadline, trace: Some(Trace::root()), ..Parts::default() })
    }

    #[test]
    fn a_panic_restores_the_previous_context() {
        let outer = Context::new();
        outer.enter(|| {
            let inner = with_deadline_free();
            drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                inner.enter(|| panic!("handler"));
            })));
            assert!(Context::try_current().unwrap().trace().is_none());
        });
        assert!(Context::try_current().is_none());
    }

    fn with_deadline_free() -> Context {
        Context::from_parts(Parts { trace: Some(Trace::root()), ..Parts::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn spawn_keeps_the_trace_and_drops_the_deadline() {
        let context = with_deadline();
        let (tx, rx) = tokio::sync::oneshot::channel();
        let _task = context.spawn(async move {
            let current = Context::current();
            let _ = tx.send((current.trace(), current.deadline()));
        });
        assert_eq!(rx.await.unwrap(), (context.trace(), None));
    }

    #[tokio::test(start_paused = true)]
    async fn remaining_shrinks_with_time_and_stops_at_zero() {
        let context = with_deadline();
        clock::sleep(Duration::from_millis(400)).await;
        assert_eq!(context.remaining(), Some(Duration::from_millis(600)));
        clock::sleep(Duration::from_secs(5)).await;
        assert_eq!(context.remaining(), Some(Duration::ZERO));
    }

    #[tokio::test]
    async fn cancellation_reaches_every_clone() {
        let context = Context::new();
        let clone = context.clone();
        let waiting = clone.cancelled();
        context.cancel();
        waiting.await;
    }

    #[tokio::test]
    async fn cancellation_reaches_derived_contexts() {
        let context = Context::new();
        let derived = context.persist("a", "b").unwrap().persist("c", "d").unwrap();
        assert!(!derived.is_cancelled());
        let waiting = derived.cancelled();
        context.cancel();
        waiting.await;
        assert!(derived.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_outside_of_a_server_ends_with_its_handle() {
        let alive = Arc::new(());
        let held = Arc::clone(&alive);
        let endless = || {
            let held = Arc::clone(&held);
            Context::new().spawn(async move {
                let _held = held;
                std::future::pending::<()>().await;
            })
        };
        drop(endless());
        endless().detach();
        clock::sleep(Duration::from_secs(1)).await;
        assert_eq!(Arc::strong_count(&alive), 3, "the detached one runs on");
    }

    #[tokio::test(start_paused = true)]
    async fn draining_is_waited_for_not_only_asked_about() {
        let shutdown = Shutdown::new();
        let callee = Callee { shutdown: shutdown.clone(), ..Callee::default() };
        let parts = Parts { callee: Some(Arc::new(callee)), ..Parts::default() };
        let context = Context::from_parts(parts);
        let soon = Duration::from_secs(1);
        assert!(clock::timeout(soon, context.drained()).await.is_err());
        shutdown.drain();
        assert!(clock::timeout(soon, context.drained()).await.is_ok());
        assert!(clock::timeout(soon, Context::new().drained()).await.is_err());
    }
}
