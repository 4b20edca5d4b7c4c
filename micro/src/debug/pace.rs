//! How often something may happen: a rate in the long run, and a burst after a pause.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::core::clock::Instant;

/// Lets things happen at a rate; costs one load while it says no.
#[derive(Debug)]
pub(super) struct Pace {
    since: Instant,
    /// Nanoseconds that one turn uses up.
    turn: u64,
    /// Nanoseconds that may be used up ahead of time.
    ahead: u64,
    /// Nanoseconds after `since` up to which all is used up.
    used: AtomicU64,
}

impl Pace {
    /// Allows `per_second` turns in the long run and `burst` at once; none if either is 0.
    pub(super) fn new(now: Instant, per_second: u32, burst: u32) -> Self {
        let turn = 1_000_000_000_u64.checked_div(per_second.into()).unwrap_or(0);
        let ahead = turn.saturating_mul(burst.into());
        Self { since: now, turn, ahead, used: AtomicU64::new(0) }
    }

    /// Takes a turn at `now`, if there is one.
    pub(super) fn take(&self, now: Instant) -> bool {
        let now = nanos(now.saturating_duration_since(self.since));
        let mut used = self.used.load(Ordering::Relaxed);
        // Progress: each turn of the loop fails only because another caller took one.
        loop {
            let after = used.max(now).saturating_add(self.turn);
            if after - now > self.ahead || self.turn == 0 {
                return false;
            }
            let swap =
                self.used.compare_exchange_weak(used, after, Ordering::Relaxed, Ordering::Relaxed);
            match swap {
                Ok(_) => return true,
                Err(present) => used = present,
            }
        }
    }
}

/// Returns a time in nanoseconds; one of more than 584 years is cut.
pub(super) fn nanos(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1_000_000_000).saturating_add(time.subsec_nanos().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::clock;

    fn taken(pace: &Pace, now: Instant, tries: u32) -> usize {
        (0..tries).filter(|_| pace.take(now)).count()
    }

    #[test]
    fn the_burst_holds_at_it_above_it_and_far_above_it() {
        for tries in [10, 11, 100] {
            let now = clock::now();
            assert_eq!(taken(&Pace::new(now, 1, 10), now, tries), 10);
        }
    }

    #[test]
    fn turns_come_back_at_the_rate_and_no_more_than_the_burst() {
        let start = clock::now();
        let pace = Pace::new(start, 2, 4);
        assert_eq!(taken(&pace, start, 9), 4);
        let at = |seconds| clock::after(start, Duration::from_secs(seconds));
        assert_eq!(taken(&pace, at(1), 9), 2);
        assert_eq!(taken(&pace, at(1000), 9), 4);
    }

    #[test]
    fn no_rate_and_no_burst_allow_nothing() {
        let now = clock::now();
        assert!(!Pace::new(now, 0, 10).take(now));
        assert!(!Pace::new(now, 10, 0).take(now));
    }
}
