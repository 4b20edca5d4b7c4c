//! The end of a process, in the only order that loses nothing.
//!
//! Not ready and draining in the registry, serving on until that has spread; then no more work:
//! the calls in flight, the tasks that handlers spawned and the events that both published, each
//! after those that feed it; out of the registry, and everything else ended. A closed lifecycle,
//! as by a second signal, ends each phase at once.

use std::fmt;
use std::future::Future;
use std::sync::PoisonError;
use std::time::Duration;

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::Result;
use crate::core::shutdown::Shutdown;
use crate::registry::Lease;
use crate::service::hooks::Hooks;
use crate::service::running::{Inner, Running};
use crate::service::subscribe::Draining;

/// What a phase that a closed lifecycle cuts short may still take, so that what is about to end is
/// not counted as cut and what needs one more write is written.
const GRACE: Duration = Duration::from_millis(100);

/// What is left to `after_stop` hooks, whatever was slow before them.
const HOOKS_LEAST: Duration = Duration::from_secs(1);

/// How a process ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Calls in flight when the process took no more work that ended in time.
    pub finished: usize,
    /// Calls in flight that were cut because they did not end in time.
    pub cut: usize,
    /// Tasks of handlers, as of [`Context::spawn`], that were cut because they did not end in time.
    ///
    /// [`Context::spawn`]: crate::core::context::Context::spawn
    pub cut_tasks: usize,
    /// Subscriptions whose handlers were cut, their events being delivered again where the broker
    /// keeps them; one for the whole of a broker that ends with the process and lost events.
    pub cut_subscriptions: usize,
    /// Tasks of the runtime's own that did not end when they were told to.
    pub left: usize,
}

impl Report {
    /// Returns whether nothing was cut.
    pub fn is_clean(&self) -> bool {
        self.cut == 0 && self.cut_tasks == 0 && self.cut_subscriptions == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stopped: {} calls in flight finished, {} cut", self.finished, self.cut)?;
        if self.cut_tasks > 0 {
            write!(f, ", {} tasks cut", self.cut_tasks)?;
        }
        match self.cut_subscriptions {
            0 => Ok(()),
            cut => write!(f, ", {cut} subscriptions cut"),
        }
    }
}

/// Runs the phases.
pub(crate) async fn run(running: &Running) -> Report {
    let inner = &running.inner;
    let limits = &inner.backends.limits.shutdown;
    let shutdown = &inner.backends.shutdown;
    let began = clock::now();
    // Hooks, lame duck and drain share one end, however each of them takes its time.
    let until = clock::after(began, limits.lame_duck.saturating_add(limits.drain_timeout));
    before_stop(running, clock::after(began, limits.drain_timeout)).await;
    // A broker that keeps events gives them to others; one that does not has nobody else.
    let broker = &inner.backends.broker;
    let (inbox, owns) = (broker.inbox(), inner.backends.owns_broker());
    let early = broker.capabilities().durable || (inbox.is_some() && !owns);
    let early = early.then(|| drain_subscriptions(inner, until));
    if let Some(inbox) = inbox.filter(|_| owns) {
        // Other processes give their events to others; what came from them is worked off.
        inbox.leave();
    }
    lame_duck(inner).await;

    let before = inner.server.in_flight();
    let cut = tokio::select! {
        cut = inner.server.drain(until) => cut,
        () = shutdown.closed() => inner.server.in_flight(),
    };
    let cut_tasks = spawned(inner, until).await;
    // What closes shares one end, too, but for the least that each step is left.
    let closed_by = clock::after(clock::now(), limits.close_timeout);
    let handled_by = until.max(closed_by);
    let (cut_subscriptions, ()) = tokio::join!(events(inner, early, handled_by), deregister(inner));
    // Event handlers spawn tasks too.
    let cut_tasks = cut_tasks.max(spawned(inner, until).await);
    inner.client.drain();
    flush(inner, at_least(closed_by, GRACE)).await;
    shutdown.close();
    inner.backends.spawned.abort_all();
    inner.backends.tasks.abort_all();
    let left = inner.backends.tasks.wait(clock::after(clock::now(), limits.cancel_timeout)).await;
    after_stop(inner, at_least(closed_by, HOOKS_LEAST)).await;
    let finished = before.saturating_sub(cut);
    let report = Report { finished, cut, cut_tasks, cut_subscriptions, left };
    tracing::info!(finished, cut, cut_tasks, cut_subscriptions, left, "stopped");
    report
}

/// Runs the hooks, all of them until `until`.
async fn before_stop(running: &Running, until: Instant) {
    let shutdown = &running.inner.backends.shutdown;
    while let Some(hook) = take(&running.inner, |hooks| &mut hooks.before_stop) {
        let ran = logged("before_stop", hook(running.clone()));
        tokio::select! {
            () = shutdown.closed() => {}
            _ = clock::timeout_at(until, ran) => {}
        }
    }
}

/// Puts off an end, so that a step has some time whatever those before it took.
fn at_least(until: Instant, least: Duration) -> Instant {
    until.max(clock::after(clock::now(), least))
}

/// Runs the hooks, and closes the store that they may use, all until `until`.
async fn after_stop(inner: &Inner, until: Instant) {
    while let Some(hook) = take(inner, |hooks| &mut hooks.after_stop) {
        if clock::timeout_at(until, logged("after_stop", hook())).await.is_err() {
            tracing::warn!("an after_stop hook did not end in time");
        }
    }
    if clock::timeout_at(at_least(until, GRACE), inner.kept.close()).await.is_err() {
        tracing::warn!("the store did not close in time");
    }
}

/// Tells the registry, and serves on until everybody may know.
async fn lame_duck(inner: &Inner) {
    let began = clock::now();
    let until = clock::after(began, inner.backends.limits.shutdown.lame_duck);
    let shutdown = &inner.backends.shutdown;
    tokio::select! {
        () = shutdown.closed() => return,
        _ = clock::timeout_at(until, say_draining(inner)) => {}
    }
    let spread = clock::after(clock::now(), inner.backends.registry.capabilities().propagation);
    tokio::select! {
        () = shutdown.closed() => {}
        () = clock::sleep_until(until.min(spread)) => {}
    }
}

/// Waits for the tasks that handlers spawned; returns how many still run at the deadline.
async fn spawned(inner: &Inner, until: Instant) -> usize {
    let tasks = &inner.backends.spawned;
    tokio::select! {
        left = tasks.wait(until) => left,
        () = inner.backends.shutdown.closed() => tasks.len(),
    }
}

/// Has the subscriptions take no more events, each draining in a task of its own.
fn drain_subscriptions(inner: &Inner, until: Instant) -> Draining {
    inner.readiness.subscriptions().drain(until, &inner.backends.tasks)
}

/// Has the recorder send off what it holds.
async fn flush(inner: &Inner, until: Instant) {
    let recorder = inner.monitor.recorder();
    let flushed = clock::timeout_at(until, recorder.flush());
    let flushed = tokio::select! {
        biased;
        flushed = flushed => flushed,
        () = inner.backends.shutdown.closed() => return,
    };
    match flushed {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the recorder was not flushed"),
        Err(_) => tracing::warn!("the recorder was not flushed in time"),
    }
}

/// Lets event handlers finish and flushes the broker; returns how many subscriptions were cut.
async fn events(inner: &Inner, early: Option<Draining>, until: Instant) -> usize {
    if let (None, true) = (&early, inner.backends.owns_broker()) {
        // The broker itself sees to it that events made by event handlers are handled too.
        let lost = close_broker(inner, until).await;
        drop(drain_subscriptions(inner, until));
        return usize::from(lost);
    }
    let early = early.unwrap_or_else(|| drain_subscriptions(inner, until));
    let mut cut = early.cut(cut_short(&inner.backends.shutdown)).await;
    if inner.backends.owns_broker() {
        cut += usize::from(close_broker(inner, until).await);
    }
    cut
}

/// Ends the broker; returns whether it lost something.
async fn close_broker(inner: &Inner, until: Instant) -> bool {
    let broker = &inner.backends.broker;
    let closed = tokio::select! {
        closed = broker.close(until) => closed,
        () = inner.backends.shutdown.closed() => {
            broker.close(clock::after(clock::now(), GRACE)).await
        }
    };
    closed.inspect_err(|error| tracing::warn!(%error, "the broker lost events")).is_err()
}

/// Waits until a closed lifecycle has had its grace.
async fn cut_short(shutdown: &Shutdown) {
    shutdown.closed().await;
    clock::sleep(GRACE).await;
}

/// Takes the next hook of a list; the others stay for a stop that is taken up again.
fn take<H>(inner: &Inner, list: impl FnOnce(&mut Hooks) -> &mut Vec<H>) -> Option<H> {
    let mut hooks = inner.hooks.lock().unwrap_or_else(PoisonError::into_inner);
    let list = list(&mut hooks);
    (!list.is_empty()).then(|| list.remove(0))
}

/// Keeps the failure of a hook from keeping the process.
async fn logged(hook: &'static str, ran: impl Future<Output = Result<()>>) {
    if let Err(error) = ran.await {
        tracing::warn!(hook, %error, "a hook failed");
    }
}

async fn say_draining(inner: &Inner) {
    let leases = inner.readiness.leases();
    // All at once: a registry that is slow to write marks none late because of another.
    leases.iter().for_each(Lease::drain);
    for lease in leases {
        // A lease that ended has nothing to mark.
        let _marked = lease.set_draining().await;
    }
}

async fn deregister(inner: &Inner) {
    let leases = inner.readiness.leases();
    leases.iter().for_each(Lease::end);
    let ended = async {
        for lease in leases {
            if let Err(error) = lease.close().await {
                tracing::warn!(%error, "cannot deregister; the record will expire");
            }
        }
    };
    tokio::select! {
        () = cut_short(&inner.backends.shutdown) => {}
        _ = clock::timeout(inner.backends.limits.shutdown.close_timeout, ended) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::limits::Limits;
    use crate::service::Service;
    use crate::{registry, transport};

    /// So far from the limit is just before or just after it.
    const NEAR: Duration = Duration::from_millis(50);

    /// Stops a process with a task that does not end when it is told to, but when the runtime that
    /// it was spawned on, and that nobody drives, goes: after `needs`. Returns how many tasks were
    /// left, and after how long.
    async fn stopped(cancel_timeout: Duration, needs: Duration) -> (usize, Duration) {
        let mut limits = Limits::default();
        limits.shutdown.lame_duck = Duration::ZERO;
        limits.shutdown.cancel_timeout = cancel_timeout;
        let service = Service::new("test").no_env().limits(limits);
        let service = service.registry(registry::Memory::new());
        let running = service.transport(transport::Memory::default()).start().await.unwrap();
        let idle = tokio::runtime::Builder::new_current_thread().build().unwrap();
        {
            let _within = idle.enter();
            running.inner.backends.tasks.spawn("stuck", std::future::pending::<()>()).detach();
        }
        let stopping = async {
            let began = clock::now();
            (running.stop().await.left, clock::now() - began)
        };
        let ending = async {
            clock::sleep(needs).await;
            idle.shutdown_background();
        };
        tokio::join!(stopping, ending).0
    }

    /// A task that ends just before the limit, just after it and far after it.
    #[tokio::test(start_paused = true)]
    async fn l28_tasks_that_do_not_end_are_waited_for_and_then_left() {
        let default = Limits::DEFAULT.shutdown.cancel_timeout;
        for limit in [default, default * 10] {
            let (left, took) = stopped(limit, limit - NEAR).await;
            assert_eq!(left, 0, "{took:?} of {limit:?}");
            for needs in [limit + NEAR, limit * 10] {
                let (left, took) = stopped(limit, needs).await;
                assert_eq!(left, 1, "{needs:?} of {limit:?}");
                assert!(limit <= took && took < limit + NEAR, "{took:?} of {limit:?}");
            }
        }
    }
}
