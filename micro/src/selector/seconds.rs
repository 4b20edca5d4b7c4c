//! Seconds shared by threads without a lock.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// A moment or a length of time in seconds.
///
/// Moments count from the epoch of the service's [`LoadTable`](super::LoadTable). Access is
/// relaxed: the values steer a choice and guard no memory.
pub(super) struct AtomicSeconds(AtomicU64);

impl AtomicSeconds {
    pub(super) const fn new(seconds: f64) -> Self {
        Self(AtomicU64::new(seconds.to_bits()))
    }

    pub(super) fn load(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }

    pub(super) fn store(&self, seconds: f64) {
        self.0.store(seconds.to_bits(), Relaxed);
    }
}
