//! The end of a process, in the only order that loses nothing.
//!
//! Not ready and draining in the registry, serving on until that has spread; then no more work,
//! the calls in flight within their deadline, out of the registry, and everything else ended. A
//! closed lifecycle, as by a second signal, ends each phase at once.

use std::fmt;
use std::future::Future;
use std::sync::PoisonError;
use std::time::Duration;

use crate::core::clock;
use crate::core::error::Result;
use crate::core::shutdown::Shutdown;
use crate::service::hooks::Hooks;
use crate::service::running::{Inner, Running};

/// How a process ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Calls in flight when the process took no more work that ended in time.
    pub finished: usize,
    /// Calls in flight that were cut because they did not end in time.
    pub cut: usize,
    /// Subscriptions whose handlers were cut; their events are delivered again where the broker
    /// keeps them.
    pub cut_subscriptions: usize,
    /// Tasks that did not end when they were told to.
    pub left: usize,
}

impl Report {
    /// Returns whether nothing was cut.
    pub fn is_clean(&self) -> bool {
        self.cut == 0 && self.cut_subscriptions == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stopped: {} calls in flight finished, {} cut", self.finished, self.cut)?;
        match self.cut_subscriptions {
            0 => Ok(()),
            cut => write!(f, ", {cut} subscriptions cut"),
        }
    }
}

/// Runs the phases.
pub(crate) async fn run(running: &Running) -> Report {
    let inner = &running.inner;
    let limits = inner.backends.limits.shutdown.clone();
    let shutdown = inner.backends.shutdown.clone();
    while let Some(hook) = take(inner, |hooks| &mut hooks.before_stop) {
        bounded(&shutdown, limits.drain_timeout, logged("before_stop", hook(running.clone())))
            .await;
    }
    let began = clock::now();
    let until = clock::after(began, limits.lame_duck.saturating_add(limits.drain_timeout));
    let events = inner.readiness.subscriptions().drain(until, &inner.backends.tasks);
    bounded(&shutdown, limits.lame_duck, say_draining(inner)).await;
    let spread = inner.backends.registry.capabilities().propagation.min(limits.lame_duck);
    bounded(&shutdown, spread, std::future::pending()).await;

    let before = inner.server.in_flight();
    let until = clock::after(clock::now(), limits.drain_timeout);
    let cut = tokio::select! {
        cut = inner.server.drain(until) => cut,
        () = shutdown.closed() => inner.server.in_flight(),
    };

    let cut_subscriptions = tokio::select! {
        cut = events.cut() => cut,
        () = shutdown.closed() => 0,
    };
    bounded(&shutdown, limits.close_timeout, deregister(inner)).await;
    if inner.backends.owns_broker {
        bounded(&shutdown, limits.close_timeout, close_broker(inner)).await;
    }
    inner.client.drain();
    shutdown.close();
    inner.backends.tasks.abort_all();
    let left = inner.backends.tasks.wait(clock::after(clock::now(), limits.cancel_timeout)).await;
    while let Some(hook) = take(inner, |hooks| &mut hooks.after_stop) {
        logged("after_stop", hook()).await;
    }
    inner.kept.close().await;
    let report = Report { finished: before.saturating_sub(cut), cut, cut_subscriptions, left };
    tracing::info!(finished = report.finished, cut = report.cut, left, "stopped");
    report
}

/// Takes the next hook of a list; the others stay for a stop that is taken up again.
fn take<H>(inner: &Inner, list: impl FnOnce(&mut Hooks) -> &mut Vec<H>) -> Option<H> {
    let mut hooks = inner.hooks.lock().unwrap_or_else(PoisonError::into_inner);
    let list = list(&mut hooks);
    (!list.is_empty()).then(|| list.remove(0))
}

/// Runs a phase until its time is over or the lifecycle closes.
async fn bounded(shutdown: &Shutdown, limit: Duration, phase: impl Future<Output = ()>) {
    tokio::select! {
        () = shutdown.closed() => {}
        _ = clock::timeout(limit, phase) => {}
    }
}

/// Keeps the failure of a hook from keeping the process.
async fn logged(hook: &'static str, ran: impl Future<Output = Result<()>>) {
    if let Err(error) = ran.await {
        tracing::warn!(hook, %error, "a hook failed");
    }
}

async fn say_draining(inner: &Inner) {
    for lease in inner.readiness.leases() {
        // A lease that ended has nothing to mark.
        let _marked = lease.set_draining().await;
    }
}

async fn close_broker(inner: &Inner) {
    let limit = inner.backends.limits.shutdown.close_timeout;
    if let Err(error) = inner.backends.broker.close(clock::after(clock::now(), limit)).await {
        tracing::warn!(%error, "the broker lost events when it closed");
    }
}

async fn deregister(inner: &Inner) {
    for lease in inner.readiness.leases() {
        if let Err(error) = lease.close().await {
            tracing::warn!(%error, "cannot deregister; the record will expire");
        }
    }
}
