//! Pauses between tries: exponential with full jitter.

use std::time::Duration;

use crate::core::limits::RetryLimits;

/// Yields ever longer pauses, each drawn evenly from zero to a ceiling that doubles.
///
/// The ceiling starts at `base` and stops at `max`. Drawing from the whole range, instead of adding
/// a little noise, spreads clients that failed together evenly over time.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    tries: u32,
    rng: fastrand::Rng,
}

impl Backoff {
    /// Makes a backoff whose first pause is at most `base` and whose longest is `max`.
    pub fn new(base: Duration, max: Duration) -> Self {
        Self { base, max, tries: 0, rng: fastrand::Rng::new() }
    }

    /// Makes the backoff of a client's retries.
    pub fn from_limits(limits: &RetryLimits) -> Self {
        Self::new(limits.backoff_base, limits.backoff_max)
    }

    /// Draws the pauses from a fixed sequence, so that a test repeats itself.
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> Self {
        self.rng = fastrand::Rng::with_seed(seed);
        self
    }

    /// Returns the next pause and doubles the ceiling of the one after.
    pub fn next_delay(&mut self) -> Duration {
        let ceiling = self.ceiling();
        self.tries = self.tries.saturating_add(1);
        // A ceiling past 584 years is cut to that.
        let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.rng.u64(0..=nanos))
    }

    /// Returns the next pause, or what the peer asked for if that is longer.
    ///
    /// The peer's wish is cut to `hint_max`, so that it cannot park a caller for ever.
    pub fn next_delay_after_hint(
        &mut self,
        hint: Option<Duration>,
        hint_max: Duration,
    ) -> Duration {
        self.next_delay().max(hint.unwrap_or_default().min(hint_max))
    }

    /// Starts over at `base`; to be called after a success.
    pub fn reset(&mut self) {
        self.tries = 0;
    }

    /// Returns the number of pauses since the start or the last reset.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    fn ceiling(&self) -> Duration {
        let factor = 1u32.checked_shl(self.tries).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BASE: Duration = Duration::from_millis(20);
    const MAX: Duration = Duration::from_secs(1);

    #[test]
    fn one_seed_gives_one_sequence() {
        let draw = || {
            let mut backoff = Backoff::new(BASE, MAX).seeded(7);
            (0..20).map(|_| backoff.next_delay()).collect::<Vec<_>>()
        };
        assert_eq!(draw(), draw());
    }

    #[test]
    fn pauses_fill_the_whole_range() {
        let mut rng = Backoff::new(MAX, MAX).seeded(1);
        let pauses: Vec<_> = (0..1000).map(|_| rng.next_delay()).collect();
        let mean = pauses.iter().sum::<Duration>() / 1000;
        assert!(mean > MAX * 45 / 100 && mean < MAX * 55 / 100, "{mean:?}");
    }

    #[test]
    fn a_reset_starts_over() {
        let mut backoff = Backoff::new(BASE, MAX).seeded(3);
        for _ in 0..10 {
            backoff.next_delay();
        }
        backoff.reset();
        assert!(backoff.next_delay() <= BASE);
        assert_eq!(backoff.tries(), 1);
    }

    #[test]
    fn a_hint_lengthens_up_to_its_limit() {
        let mut backoff = Backoff::new(BASE, MAX);
        let minute = Duration::from_secs(60);
        assert_eq!(backoff.next_delay_after_hint(Some(minute), minute * 5), minute);
        assert_eq!(backoff.next_delay_after_hint(Some(Duration::MAX), minute), minute);
        assert!(backoff.next_delay_after_hint(None, minute) <= MAX);
    }

    proptest! {
        #[test]
        fn every_pause_is_below_its_ceiling(base in any::<u64>(), max in any::<u64>(), seed in any::<u64>()) {
            let (base, max) = (Duration::from_micros(base), Duration::from_micros(max));
            let mut backoff = Backoff::new(base, max).seeded(seed);
            for step in 0..80u32 {
                let ceiling = base.saturating_mul(2u32.saturating_pow(step)).min(max);
                prop_assert!(backoff.next_delay() <= ceiling);
            }
        }
    }
    /// At the limit, above it and far above it: the number of tries changes nothing.
    #[test]
    fn pauses_stay_within_the_limits_of_retries() {
        let limits = RetryLimits { backoff_base: BASE, backoff_max: MAX, ..Default::default() };
        // The seventh ceiling would be 1,280 ms.
        for (tries, most) in [(0, BASE), (5, BASE * 32), (6, MAX), (7, MAX), (70, MAX)] {
            let longest = (0..500).map(|seed| {
                let mut backoff = Backoff::from_limits(&limits).seeded(seed);
                for _ in 0..tries {
                    backoff.next_delay();
                }
                backoff.next_delay()
            });
            let longest = longest.max().unwrap();
            assert!(longest <= most && longest > most * 9 / 10, "{tries}: {longest:?}");
        }
    }
}
