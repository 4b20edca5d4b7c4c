//! Jitter, so that many clients of one registry never act in step.

use std::time::Duration;

/// Spreads `pause` evenly over `percent` either way.
pub(super) fn jitter(pause: Duration, percent: u32) -> Duration {
    let spread = f64::from(percent.min(100)) / 100.0;
    pause.mul_f64((fastrand::f64() * 2.0 - 1.0).mul_add(spread, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stay_in_bounds_and_differ() {
        let pause = Duration::from_secs(1);
        let pauses: Vec<_> = (0..1000).map(|_| jitter(pause, 20)).collect();
        assert!(pauses.iter().all(|p| *p >= pause.mul_f64(0.799) && *p <= pause.mul_f64(1.201)));
        let mean = pauses.iter().sum::<Duration>() / 1000;
        assert!(mean > pause.mul_f64(0.95) && mean < pause.mul_f64(1.05));
        assert_eq!(jitter(pause, 0), pause);
    }
}
