//! How long things took, by the bucket.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::debug::pace::nanos;

/// Buckets of a histogram, the one without an upper bound included.
pub(super) const BUCKETS: usize = BOUNDS.len() + 1;

/// The upper bounds of the buckets, in nanoseconds: 50 us to 10 s; each holds what took as long or
/// less, and one more holds the rest.
pub const BOUNDS: [u64; 17] = [
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Returns the bucket of a time in nanoseconds.
#[inline]
pub(super) fn bucket(took: u64) -> usize {
    // Most calls are in the first buckets, so that a walk is faster than a search.
    BOUNDS.iter().position(|bound| took <= *bound).unwrap_or(BOUNDS.len())
}

/// A distribution of times, as it was at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Histogram {
    /// How many there are in each bucket of [`BOUNDS`] and above; not cumulative.
    pub counts: Vec<u64>,
    /// The sum of all times, in nanoseconds.
    pub sum_ns: u64,
}

impl Histogram {
    /// Returns how many times there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Estimates the time that a share of them, such as 0.99, stays within: the upper bound of its
    /// bucket, `None` if there are none or the bucket has no bound.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let mut below = 0;
        for (count, bound) in self.counts.iter().zip(BOUNDS) {
            below += count;
            if ratio(below, total) >= share {
                return Some(Duration::from_nanos(bound));
            }
        }
        None
    }

    pub(super) fn add(&mut self, bucket: usize, count: u64) {
        self.counts.resize(BUCKETS, 0);
        if let Some(counted) = self.counts.get_mut(bucket) {
            *counted += count;
        }
    }
}

/// Divides counts; exact enough for a share.
fn ratio(part: u64, whole: u64) -> f64 {
    // The division of times is the one of integers that std gives as a float.
    Duration::from_nanos(part).div_duration_f64(Duration::from_nanos(whole))
}

impl Extend<Duration> for Histogram {
    fn extend<I: IntoIterator<Item = Duration>>(&mut self, times: I) {
        for time in times {
            let took = nanos(time);
            self.add(bucket(took), 1);
            self.sum_ns = self.sum_ns.saturating_add(took);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_what_is_above_to_the_next() {
        for (index, bound) in BOUNDS.into_iter().enumerate() {
            assert_eq!((bucket(bound), bucket(bound + 1)), (index, index + 1));
        }
        assert_eq!((bucket(0), bucket(u64::MAX)), (0, BUCKETS - 1));
        assert!(BOUNDS.is_sorted());
    }

    #[test]
    fn a_quantile_is_the_bound_of_its_bucket() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        histogram.extend((0..99).map(|_| Duration::from_micros(70)));
        histogram.extend([Duration::from_secs(60)]);
        assert_eq!(histogram.quantile(0.5), Some(Duration::from_micros(100)));
        assert_eq!(histogram.quantile(0.99), Some(Duration::from_micros(100)));
        assert_eq!(histogram.quantile(0.999), None);
        assert_eq!(histogram.count(), 100);
    }
}
