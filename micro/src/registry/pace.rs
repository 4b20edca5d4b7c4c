//! Jitter and backoff, so that many clients of one registry never act in step.

use std::time::Duration;

/// Spreads `pause` evenly over `percent` either way.
pub(super) fn jitter(pause: Duration, percent: u32) -> Duration {
    let spread = f64::from(percent.min(100)) / 100.0;
    pause.mul_f64((fastrand::f64() * 2.0 - 1.0).mul_add(spread, 1.0))
}

/// Returns the pause after the given number of failures in a row: half of it fixed, half random.
pub(super) fn backoff(failures: u32, base: Duration, max: Duration) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let pause = base.saturating_mul(2_u32.saturating_pow(doublings)).min(max);
    pause.mul_f64(fastrand::f64().mul_add(0.5, 0.5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stay_in_bounds_and_differ() {
        let (base, max) = (Duration::from_millis(50), Duration::from_secs(1));
        let mut seen = std::collections::BTreeSet::new();
        for n in 0..1000 {
            let pause = jitter(max, 20);
            assert!(pause >= max.mul_f64(0.799) && pause <= max.mul_f64(1.201));
            seen.insert(pause);
            let pause = backoff(n, base, max);
            assert!(pause >= base / 2 && pause <= max);
        }
        assert!(seen.len() > 900);
        assert!(backoff(u32::MAX, base, max) >= max / 2);
    }
}
