//! The retry budget: retries are a share of calls, so that they never multiply an outage.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::core::clock::Instant;
use crate::core::limits::RetryLimits;

/// Slots of the window, one second each: a call counts for 9 to 10 seconds.
const WINDOW_SECONDS: u64 = 10;

/// Counts calls and retries over ten seconds and tells whether a retry is within the budget.
///
/// The rule is tower's: retries may be 20 % of the calls, and 10 a second besides, so that a
/// client with little traffic can retry too. Share one between all calls to one service, in an
/// `Arc`. [`Budget::deposit`] is on the path of every call: one relaxed load and one relaxed add.
#[derive(Debug)]
pub struct Budget {
    start: Instant,
    policy: Policy,
    calls: [Slot; 10],
    /// Retries by second. Under a lock, so that concurrent withdrawals never overdraw.
    retries: Mutex<[(u64, u64); 10]>,
}

#[derive(Clone, Copy, Debug)]
enum Policy {
    Share { percent: u64, reserve: u64 },
    Unlimited,
}

/// A second and the calls in it: the second's number modulo 2^32 above, the count below.
///
/// The count of one second stays below 2^32 calls, so that it never carries into the number.
#[derive(Debug)]
struct Slot(AtomicU64);

impl Slot {
    fn count(second: u64, packed: u64) -> u64 {
        if packed >> 32 == second & u64::from(u32::MAX) { packed & u64::from(u32::MAX) } else { 0 }
    }

    fn add(&self, second: u64) {
        let packed = self.0.load(Relaxed);
        if packed >> 32 == second & u64::from(u32::MAX) {
            self.0.fetch_add(1, Relaxed);
            return;
        }
        // The slot holds an old second. Whoever loses the race to clear it adds to the winner's;
        // a loss of the race against yet another second miscounts one call, which is harmless.
        let fresh = ((second & u64::from(u32::MAX)) << 32) | 1;
        if self.0.compare_exchange(packed, fresh, Relaxed, Relaxed).is_err() {
            self.0.fetch_add(1, Relaxed);
        }
    }
}

impl Budget {
    /// Makes a budget that allows `percent` retries per hundred calls and `per_second` besides.
    ///
    /// Starts with the reserve of a whole window: `per_second` times ten.
    pub fn new(now: Instant, percent: u32, per_second: u32) -> Self {
        let (percent, per_second) = (u64::from(percent), u64::from(per_second));
        Self::with_policy(now, Policy::Share { percent, reserve: per_second * WINDOW_SECONDS })
    }

    /// Makes the budget of a client.
    pub fn from_limits(now: Instant, limits: &RetryLimits) -> Self {
        Self::new(now, limits.budget_percent, limits.budget_per_second)
    }

    /// Makes a budget that allows every retry.
    pub fn unlimited(now: Instant) -> Self {
        Self::with_policy(now, Policy::Unlimited)
    }

    /// Makes a budget that allows no retry.
    pub fn none(now: Instant) -> Self {
        Self::new(now, 0, 0)
    }

    /// Counts a call; to be called once for each call, not for its retries.
    pub fn deposit(&self, now: Instant) {
        if matches!(self.policy, Policy::Unlimited) {
            return;
        }
        let second = self.second(now);
        if let Some(slot) = self.calls.get(index(second)) {
            slot.add(second);
        }
    }

    /// Takes one retry out of the budget; `false` if it is used up, and then nothing is taken.
    pub fn withdraw(&self, now: Instant) -> bool {
        let Policy::Share { percent, reserve } = self.policy else {
            return true;
        };
        let second = self.second(now);
        let allowed = self.calls_in_window(second).saturating_mul(percent) / 100 + reserve;
        let mut retries = self.retries.lock().unwrap_or_else(PoisonError::into_inner);
        let used: u64 = retries
            .iter()
            .filter(|slot| in_window(slot.0, second))
            .map(|slot| slot.1)
            .fold(0, u64::saturating_add);
        if used >= allowed {
            return false;
        }
        if let Some(slot) = retries.get_mut(index(second)) {
            *slot = if slot.0 == second { (second, slot.1 + 1) } else { (second, 1) };
        }
        true
    }

    fn with_policy(now: Instant, policy: Policy) -> Self {
        let calls = std::array::from_fn(|_| Slot(AtomicU64::new(0)));
        Self { start: now, policy, calls, retries: Mutex::new([(0, 0); 10]) }
    }

    fn calls_in_window(&self, second: u64) -> u64 {
        let oldest = second.saturating_sub(WINDOW_SECONDS - 1);
        (oldest..=second)
            .filter_map(|at| Some(Slot::count(at, self.calls.get(index(at))?.0.load(Relaxed))))
            .sum()
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs()
    }
}

fn index(second: u64) -> usize {
    usize::try_from(second % WINDOW_SECONDS).unwrap_or_default()
}

fn in_window(second: u64, present: u64) -> bool {
    second <= present && present - second < WINDOW_SECONDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::clock;
    use std::time::Duration;

    fn drain(budget: &Budget, now: Instant) -> usize {
        (0..100_000).take_while(|_| budget.withdraw(now)).count()
    }

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn an_idle_client_has_the_reserve_of_one_window() {
        let start = clock::now();
        let budget = Budget::from_limits(start, &RetryLimits::default());
        assert_eq!(drain(&budget, start), 100);
        assert_eq!(drain(&budget, at(start, 9)), 0);
        assert_eq!(drain(&budget, at(start, 10)), 100);
    }

    #[test]
    fn the_limits_of_retries_allow_a_fifth_of_the_calls_and_ten_a_second_besides() {
        let (start, limits) = (clock::now(), RetryLimits::default());
        assert_eq!((limits.budget_percent, limits.budget_per_second), (20, 10));
        for (calls, retries) in [(0, 100), (500, 200), (5000, 1100)] {
            let budget = Budget::from_limits(start, &limits);
            (0..calls).for_each(|_| budget.deposit(start));
            assert_eq!(drain(&budget, start), retries, "{calls} calls");
        }
        let share = RetryLimits { budget_percent: 50, budget_per_second: 0, ..limits.clone() };
        let reserve = RetryLimits { budget_percent: 0, budget_per_second: 50, ..limits };
        for (limits, retries) in [(share, 50), (reserve, 500)] {
            let budget = Budget::from_limits(start, &limits);
            (0..100).for_each(|_| budget.deposit(start));
            assert_eq!(drain(&budget, start), retries, "{limits:?}");
        }
    }

    #[test]
    fn a_fifth_of_the_calls_may_be_retried() {
        let start = clock::now();
        let budget = Budget::new(start, 20, 0);
        for call in 0..1000 {
            budget.deposit(at(start, call / 250));
        }
        assert_eq!(drain(&budget, at(start, 3)), 200);
        assert!(!budget.withdraw(at(start, 4)));
    }

    #[test]
    fn calls_and_retries_are_forgotten_after_the_window() {
        let start = clock::now();
        let budget = Budget::new(start, 20, 0);
        for _ in 0..100 {
            budget.deposit(start);
        }
        assert_eq!(drain(&budget, at(start, 10)), 0);
        assert_eq!(drain(&budget, at(start, 9)), 20);
        for second in [11, 1_000_000] {
            for _ in 0..100 {
                budget.deposit(at(start, second));
            }
        }
        assert_eq!(drain(&budget, at(start, 1_000_000)), 20);
    }

    #[test]
    fn none_refuses_and_unlimited_allows() {
        let start = clock::now();
        let (none, unlimited) = (Budget::none(start), Budget::unlimited(start));
        for _ in 0..1000 {
            none.deposit(start);
            unlimited.deposit(start);
        }
        assert_eq!(drain(&none, start), 0);
        assert_eq!(drain(&unlimited, start), 100_000);
    }

    #[test]
    fn concurrent_withdrawals_never_overdraw() {
        let start = clock::now();
        let budget = Budget::new(start, 20, 0);
        let taken: usize = std::thread::scope(|scope| {
            let depositors: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..5000).for_each(|_| budget.deposit(start))))
                .collect();
            depositors.into_iter().for_each(|thread| thread.join().unwrap());
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| drain(&budget, start))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 4000);
    }

    #[test]
    fn an_instant_before_the_start_counts_as_the_start() {
        let start = clock::now();
        let budget = Budget::new(at(start, 5), 100, 0);
        budget.deposit(start);
        assert!(budget.withdraw(start));
    }
}
