//! Whether a process takes calls.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::core::clock::Instant;
use crate::driver::Drivers;
use crate::registry::Lease;
use crate::service::subscribe::Subscriptions;

/// What readiness depends on; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readiness {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Set when the start is complete.
    leases: OnceLock<Vec<Lease>>,
    subscriptions: Subscriptions,
    drivers: Drivers,
    stopping: AtomicBool,
}

impl Readiness {
    /// Makes the readiness of a process that works over these connections.
    pub(crate) fn over(drivers: Drivers) -> Self {
        Self { inner: Arc::new(Inner { drivers, ..Inner::default() }) }
    }

    /// Completes the start.
    pub(crate) fn started(&self, leases: Vec<Lease>) {
        // A process starts once.
        let _first = self.inner.leases.set(leases);
    }

    /// Ends readiness for good.
    pub(crate) fn stop(&self) {
        self.inner.stopping.store(true, Ordering::Release);
    }

    /// Returns the registrations of the process.
    pub(crate) fn leases(&self) -> &[Lease] {
        self.inner.leases.get().map_or(&[], Vec::as_slice)
    }

    /// Returns the subscriptions of the process.
    pub(crate) fn subscriptions(&self) -> &Subscriptions {
        &self.inner.subscriptions
    }

    /// Returns whether the process was stopped for so long before `now` that the registry has
    /// forgotten it.
    pub(crate) fn is_lapsed(&self, now: Instant) -> bool {
        self.leases().iter().any(|lease| lease.is_lapsed(now))
    }

    /// Returns whether the start is complete, every service registered, every subscription made,
    /// every server that a backend is on within reach, and no stop asked for.
    pub(crate) fn is_ready(&self) -> bool {
        let registered = |leases: &Vec<Lease>| leases.iter().all(Lease::is_registered);
        !self.inner.stopping.load(Ordering::Acquire)
            && self.inner.leases.get().is_some_and(registered)
            && self.inner.subscriptions.is_ready()
            && self.inner.drivers.check().is_ok()
    }
}
