//! Whether a process has been looking after its registration all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::core::clock;
use crate::core::clock::Instant;

/// Never, in microseconds.
const NEVER: u64 = u64::MAX;

/// How long the last attempt to register is good for; clones share it.
///
/// An attempt that fails renews it too: what is told apart is a process that was stopped, not a
/// registry that is down.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    since: Instant,
    lasts: Duration,
    /// When the sight is lost, in microseconds after `since`.
    until: Arc<AtomicU64>,
}

impl Sight {
    /// Begins without an attempt: nothing can be lost yet.
    pub(super) fn new(lasts: Duration) -> Self {
        Self { since: clock::now(), lasts, until: Arc::new(AtomicU64::new(NEVER)) }
    }

    /// Notes the end of an attempt.
    pub(super) fn renew(&self, now: Instant) {
        let until = self.micros(now).saturating_add(self.lasts.as_micros());
        self.until.store(u64::try_from(until).unwrap_or(NEVER), Ordering::Relaxed);
    }

    /// Notes that there is nothing to look after.
    pub(super) fn rest(&self) {
        self.until.store(NEVER, Ordering::Relaxed);
    }

    /// Returns whether no attempt has ended for too long before `now`.
    pub(super) fn is_lost(&self, now: Instant) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until != NEVER && self.micros(now) > u128::from(until)
    }

    fn micros(&self, now: Instant) -> u128 {
        now.saturating_duration_since(self.since).as_micros()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_sight_is_lost_after_its_time_and_found_by_the_next_attempt() {
        let lasts = Duration::from_secs(15);
        let sight = Sight::new(lasts);
        let begin = clock::now();
        assert!(!sight.is_lost(begin + lasts * 10), "nothing was tried yet");
        sight.renew(begin);
        for (passed, lost) in
            [(lasts, false), (lasts + Duration::from_micros(1), true), (lasts * 10, true)]
        {
            assert_eq!(sight.is_lost(begin + passed), lost, "{passed:?}");
        }
        sight.renew(begin + lasts * 10);
        assert!(!sight.is_lost(begin + lasts * 10));
        sight.rest();
        assert!(!sight.is_lost(begin + lasts * 100));
    }
}
