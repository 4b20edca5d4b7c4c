//! Latencies: recorded into plain memory while measuring, made a histogram afterwards.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::outcome::Outcome;

/// Latencies that all tasks together keep at most; later ones are not recorded.
const KEPT: usize = 1 << 20;

/// With several calls of up to 1 KiB in flight, only every this many calls of a task is timed, so
/// that reading the clock (twice 22 ns) does not become part of the result.
const STRIDE: u64 = 16;

/// What one task recorded.
#[derive(Debug)]
pub(crate) struct Latencies {
    nanoseconds: Vec<u64>,
    mask: u64,
}

impl Latencies {
    /// A recorder that times each slow call and a sample of fast ones.
    pub(crate) fn new(in_flight: usize, payload: usize) -> Self {
        let mask = if in_flight == 1 || payload > 1 << 10 { 0 } else { STRIDE - 1 };
        let room = KEPT / in_flight.max(1);
        Self { nanoseconds: Vec::with_capacity(room), mask }
    }

    /// Whether the call with this number is to be timed.
    pub(crate) fn wants(&self, number: u64) -> bool {
        number & self.mask == 0
    }

    /// Keeps one latency, as long as there is room.
    pub(crate) fn record(&mut self, taken: Duration) {
        if self.nanoseconds.len() < self.nanoseconds.capacity() {
            self.nanoseconds.push(u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX));
        }
    }
}

/// The median and the 99th percentile over all tasks, in microseconds.
pub(crate) fn percentiles(all: &[Latencies]) -> Outcome<Option<(f64, f64)>> {
    let mut histogram = Histogram::<u64>::new_with_max(60_000_000_000, 3)?;
    for nanoseconds in all.iter().flat_map(|one| &one.nanoseconds) {
        histogram.saturating_record(*nanoseconds);
    }
    if histogram.is_empty() {
        return Ok(None);
    }
    let at = |quantile| {
        let value = u32::try_from(histogram.value_at_quantile(quantile)).unwrap_or(u32::MAX);
        f64::from(value) / 1000.0
    };
    Ok(Some((at(0.5), at(0.99))))
}
