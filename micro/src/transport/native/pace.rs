//! Decides which calls run in place, and which become tasks at once.
//!
//! A call that runs in place costs no task, but the connection reads nothing meanwhile. So the
//! calls of one batch share a budget, and an endpoint that was slow is kept apart for a while. It
//! may have looked slow only because the system ran another process, hence the while is short at
//! first and doubles only as long as the endpoint stays slow.

use std::time::Duration;

use tokio::time::Instant;

/// How long the handlers of one batch may run in place; the rest become tasks at once, so that
/// reading, pings and resets are never held up for longer than this and one handler.
///
/// A batch of small calls, each of which takes about a microsecond, fits.
const BATCH_BUDGET: Duration = Duration::from_millis(1);

/// A handler that takes this long before its first wait is slow.
const SLOW: Duration = Duration::from_micros(200);

/// Calls of a slow endpoint that run apart before one is tried in place again.
const APART_CALLS: u32 = 16;
const APART_CALLS_MAX: u32 = 4096;

/// How many slow endpoints are remembered.
const SLOW_ENDPOINTS_MAX: usize = 64;

/// The time that handlers spent in place, read once a call.
#[derive(Debug)]
pub(super) struct Pace {
    last: Instant,
    /// Whether something ran since `last` that no call is to blame for.
    stale: bool,
    spent: Duration,
    slow: Vec<Slow>,
}

#[derive(Debug)]
struct Slow {
    endpoint: u32,
    /// Calls that still run apart.
    left: u32,
    /// Calls that run apart after the next slow one.
    next: u32,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { last: now, stale: false, spent: Duration::ZERO, slow: Vec::new() }
    }

    /// Begins a batch.
    pub(super) fn begin(&mut self, now: Instant) {
        self.last = now;
        self.stale = false;
        self.spent = Duration::ZERO;
    }

    /// Notes that time passes which no call is to be charged for.
    pub(super) fn pause(&mut self) {
        self.stale = true;
    }

    /// Begins a call in place; `now` is asked only if time has passed that was nobody's.
    pub(super) fn resume(&mut self, now: impl FnOnce() -> Instant) {
        if std::mem::take(&mut self.stale) {
            self.last = now();
        }
    }

    /// Returns the time of the last reading.
    pub(super) fn now(&self) -> Instant {
        self.last
    }

    /// Tells whether a call may run in place.
    pub(super) fn allows(&mut self, endpoint: u32) -> bool {
        if self.spent >= BATCH_BUDGET {
            return false;
        }
        match self.slow.iter_mut().find(|slow| slow.endpoint == endpoint) {
            Some(slow) if slow.left > 0 => {
                slow.left -= 1;
                false
            }
            _ => true,
        }
    }

    /// Counts a call that ran in place up to its end or its first wait.
    pub(super) fn charge(&mut self, endpoint: u32, now: Instant) {
        let spent = now.saturating_duration_since(self.last);
        self.last = now;
        self.spent += spent;
        let known = if self.slow.is_empty() {
            None
        } else {
            self.slow.iter().position(|slow| slow.endpoint == endpoint)
        };
        match (known, spent >= SLOW) {
            (None, false) => {}
            (Some(known), false) => drop(self.slow.swap_remove(known)),
            (Some(known), true) => {
                if let Some(slow) = self.slow.get_mut(known) {
                    slow.left = slow.next;
                    slow.next = slow.next.saturating_mul(2).min(APART_CALLS_MAX);
                }
            }
            (None, true) if self.slow.len() < SLOW_ENDPOINTS_MAX => {
                self.slow.push(Slow { endpoint, left: APART_CALLS, next: APART_CALLS * 2 });
            }
            (None, true) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pace whose clock moves by hand.
    struct Clocked(Pace, Instant);

    impl Clocked {
        fn new() -> Self {
            let now = Instant::now();
            Self(Pace::new(now), now)
        }

        fn run(&mut self, endpoint: u32, length: Duration) {
            self.1 += length;
            self.0.charge(endpoint, self.1);
        }

        /// Returns how many calls run apart before one may run in place.
        fn apart(&mut self, endpoint: u32) -> u32 {
            (0..).take_while(|_| !self.0.allows(endpoint)).count().try_into().unwrap()
        }

        fn begin(&mut self) {
            self.0.begin(self.1);
        }
    }

    #[test]
    fn a_batch_ends_its_stay_in_place_with_its_budget() {
        let mut pace = Clocked::new();
        for _ in 0..9 {
            assert!(pace.0.allows(1));
            pace.run(1, BATCH_BUDGET / 9 + Duration::from_nanos(1));
        }
        assert!(!pace.0.allows(1));
        assert!(!pace.0.allows(2));
        pace.begin();
        assert!(pace.0.allows(1));
    }

    #[test]
    fn a_wait_between_two_calls_is_charged_to_neither() {
        let mut pace = Clocked::new();
        pace.run(1, Duration::from_micros(1));
        pace.0.pause();
        pace.1 += Duration::from_secs(1);
        pace.0.resume(|| pace.1);
        pace.run(2, Duration::from_micros(1));
        assert!(pace.0.allows(1) && pace.0.allows(2));
        assert!(pace.0.spent < BATCH_BUDGET);
    }

    #[test]
    fn an_endpoint_that_was_slow_once_is_kept_apart_for_a_short_while() {
        let mut pace = Clocked::new();
        pace.run(1, SLOW);
        assert!(pace.0.allows(2), "other endpoints run on");
        assert_eq!(pace.apart(1), APART_CALLS);
        pace.run(1, Duration::from_micros(1));
        assert_eq!(pace.apart(1), 0, "it is forgiven by one quick call");
        assert!(pace.0.slow.is_empty());
    }

    #[test]
    fn an_endpoint_that_stays_slow_is_tried_ever_more_rarely() {
        let mut pace = Clocked::new();
        let mut expected = APART_CALLS;
        for _ in 0..20 {
            pace.run(1, SLOW);
            pace.begin();
            assert_eq!(pace.apart(1), expected);
            expected = (expected * 2).min(APART_CALLS_MAX);
        }
        assert_eq!(expected, APART_CALLS_MAX);
    }

    #[test]
    fn a_peer_that_calls_many_slow_endpoints_costs_bounded_memory() {
        let mut pace = Clocked::new();
        for endpoint in 0..1000 {
            pace.run(endpoint, SLOW);
        }
        assert_eq!(pace.0.slow.len(), SLOW_ENDPOINTS_MAX);
    }
}
