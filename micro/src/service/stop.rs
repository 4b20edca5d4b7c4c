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
    /// Calls that ran when the process took no more work and ended in time.
    pub served: usize,
    /// Calls that were cut because they did not end in time.
    pub cut: usize,
    /// Tasks that did not end when they were told to.
    pub left: usize,
}

impl Report {
    /// Returns whether nothing was cut.
    pub fn is_clean(&self) -> bool {
        self.cut == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stopped: {} calls in flight served, {} cut", self.served, self.cut)
    }
}

/// Runs the phases.
pub(crate) async fn run(running: &Running) -> Report {
    let inner = &running.inner;
    let limits = inner.backends.limits.shutdown.clone();
    let shutdown = inner.backends.shutdown.clone();
    let mut hooks = take_hooks(inner);
    for hook in std::mem::take(&mut hooks.before_stop) {
        bounded(&shutdown, limits.drain_timeout, logged("before_stop", hook(running.clone()))).await;
    }
    bounded(&shutdown, limits.lame_duck, say_draining(inner)).await;
    let spread = inner.backends.registry.capabilities().propagation.min(limits.lame_duck);
    bounded(&shutdown, spread, std::future::pending()).await;

    let before = inner.server.in_flight();
    let until = clock::after(clock::now(), limits.drain_timeout);
    let cut = tokio::select! {
        cut = inner.server.drain(until) => cut,
        () = shutdown.closed() => inner.server.in_flight(),
    };

    bounded(&shutdown, limits.close_timeout, deregister(inner)).await;
    inner.client.drain();
    shutdown.close();
    inner.backends.tasks.abort_all();
    let left = inner.backends.tasks.wait(clock::after(clock::now(), limits.cancel_timeout)).await;
    for hook in std::mem::take(&mut hooks.after_stop) {
        logged("after_stop", hook()).await;
    }
    let report = Report { served: before.saturating_sub(cut), cut, left };
    tracing::info!(served = report.served, cut = report.cut, left, "stopped");
    report
}

fn take_hooks(inner: &Inner) -> Hooks {
    std::mem::take(&mut *inner.hooks.lock().unwrap_or_else(PoisonError::into_inner))
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

async fn deregister(inner: &Inner) {
    for lease in inner.readiness.leases() {
        if let Err(error) = lease.close().await {
            tracing::warn!(%error, "cannot deregister; the record will expire");
        }
    }
}
