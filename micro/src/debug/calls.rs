//! The counters of one endpoint, written by many threads without a meeting.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::debug::histogram::{BUCKETS, Histogram, bucket};
use crate::debug::pace::nanos;
use crate::debug::seat::{SEATS, seat};
use crate::debug::stats::Outcomes;

/// How a call ended, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It did what was asked.
    Ok,
    /// The handler refused: a code from 400 to 499.
    Rejected,
    /// The caller went away.
    Cancelled,
    /// The deadline passed.
    Late,
    /// The handler failed: any other code.
    Failed,
    /// No handler saw it.
    Refused,
}

const OUTCOMES: usize = 6;

impl Outcome {
    /// Returns how a call ended that ended with a code.
    pub fn of(code: u16) -> Self {
        match code {
            200 => Self::Ok,
            499 => Self::Cancelled,
            408 | 504 => Self::Late,
            400..=498 => Self::Rejected,
            _ => Self::Failed,
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Ok => 0,
            Self::Rejected => 1,
            Self::Cancelled => 2,
            Self::Late => 3,
            Self::Failed => 4,
            Self::Refused => 5,
        }
    }
}

/// The counters of one thread.
///
/// Aligned so that no two threads share a cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe {
    begun: AtomicU64,
    /// Calls that are not asked whether they begin a trace.
    #[cfg(feature = "server")]
    hushed: AtomicU64,
    ended: [AtomicU64; OUTCOMES],
    nanos: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

/// Calls of a thread that ask for no trace after one that got none. Turns add up meanwhile, so that
/// no fewer traces begin.
#[cfg(feature = "server")]
const HUSHED: u64 = 15;

/// Adds to a counter: by a plain load and store if no other thread writes it.
#[inline]
fn add(counter: &AtomicU64, value: u64, alone: bool) {
    if alone {
        let sum = counter.load(Ordering::Relaxed).wrapping_add(value);
        counter.store(sum, Ordering::Relaxed);
    } else {
        counter.fetch_add(value, Ordering::Relaxed);
    }
}

/// The counters of one endpoint.
///
/// Each thread writes counters of its own, made at its first call; reading adds them up. Threads
/// beyond the first 32 that live at a time share theirs.
#[derive(Debug)]
pub struct Calls {
    own: Box<[OnceLock<Box<Stripe>>]>,
    shared: Stripe,
}

impl Default for Calls {
    fn default() -> Self {
        Self { own: (0..SEATS).map(|_| OnceLock::new()).collect(), shared: Stripe::default() }
    }
}

impl Calls {
    #[inline]
    fn stripe(&self) -> (&Stripe, bool) {
        let own = seat().and_then(|seat| self.own.get(seat));
        match own {
            Some(own) => (own.get_or_init(Box::default), true),
            None => (&self.shared, false),
        }
    }

    /// Tells whether a call may ask for a trace of its own.
    #[cfg(feature = "server")]
    #[inline]
    pub(crate) fn is_loud(&self) -> bool {
        let (stripe, alone) = self.stripe();
        let hushed = stripe.hushed.load(Ordering::Relaxed);
        if alone && hushed > 0 {
            stripe.hushed.store(hushed - 1, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Has the next few calls of this thread ask for no trace, since there is none for a while:
    /// asking costs a look at the time.
    #[cfg(feature = "server")]
    #[cold]
    pub(crate) fn hush(&self) {
        let (stripe, alone) = self.stripe();
        if alone {
            stripe.hushed.store(HUSHED, Ordering::Relaxed);
        }
    }

    /// Counts a call that begins.
    #[inline]
    pub fn begin(&self) {
        let (stripe, alone) = self.stripe();
        add(&stripe.begun, 1, alone);
    }

    /// Counts the end of a call that began, on whatever thread.
    #[inline]
    pub fn end(&self, outcome: Outcome, took: Duration) {
        let (stripe, alone) = self.stripe();
        let took = nanos(took);
        if let Some(ended) = stripe.ended.get(outcome.index()) {
            add(ended, 1, alone);
        }
        if let Some(counted) = stripe.buckets.get(bucket(took)) {
            add(counted, 1, alone);
        }
        add(&stripe.nanos, took, alone);
    }

    /// Counts a call that no handler saw.
    #[cold]
    pub fn refuse(&self) {
        let (stripe, alone) = self.stripe();
        if let Some(ended) = stripe.ended.get(Outcome::Refused.index()) {
            add(ended, 1, alone);
        }
    }

    /// Adds everything up: how calls ended, how many run, how long they took.
    ///
    /// Calls that begin or end meanwhile may be half counted.
    pub fn read(&self) -> (Outcomes, u64, Histogram) {
        let (mut ended, mut latency) = ([0_u64; OUTCOMES], Histogram::default());
        // Ends before beginnings, so that nothing seems to have ended before it began.
        for stripe in self.stripes() {
            for (sum, counter) in ended.iter_mut().zip(&stripe.ended) {
                *sum += counter.load(Ordering::Relaxed);
            }
            for (index, counter) in stripe.buckets.iter().enumerate() {
                latency.add(index, counter.load(Ordering::Relaxed));
            }
            let nanos = stripe.nanos.load(Ordering::Relaxed);
            latency.sum_ns = latency.sum_ns.saturating_add(nanos);
        }
        let begun: u64 = self.stripes().map(|stripe| stripe.begun.load(Ordering::Relaxed)).sum();
        let [ok, rejected, cancelled, late, failed, refused] = ended;
        let outcomes = Outcomes { ok, rejected, cancelled, late, failed, refused };
        let in_flight = begun.saturating_sub(ok + rejected + cancelled + late + failed);
        (outcomes, in_flight, latency)
    }

    fn stripes(&self) -> impl Iterator<Item = &Stripe> {
        self.own.iter().filter_map(|own| own.get().map(AsRef::as_ref)).chain([&self.shared])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn what_many_threads_count_adds_up() {
        let calls = Arc::new(Calls::default());
        // More threads than there are seats, one after the other and at once.
        for _ in 0..3 {
            let threads: Vec<_> = (0..SEATS + 10)
                .map(|_| {
                    let calls = Arc::clone(&calls);
                    std::thread::spawn(move || {
                        for _ in 0..1000 {
                            calls.begin();
                            calls.end(Outcome::Ok, Duration::from_nanos(10));
                        }
                        calls.begin();
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        }
        let threads = u64::try_from(3 * (SEATS + 10)).unwrap();
        let (outcomes, in_flight, latency) = calls.read();
        assert_eq!((outcomes.ok, in_flight), (threads * 1000, threads));
        assert_eq!((latency.count(), latency.sum_ns), (threads * 1000, threads * 10_000));
    }

    #[test]
    fn a_call_that_ends_on_another_thread_is_not_in_flight() {
        let calls = Arc::new(Calls::default());
        calls.begin();
        let there = Arc::clone(&calls);
        std::thread::spawn(move || there.end(Outcome::Late, Duration::ZERO)).join().unwrap();
        let (outcomes, in_flight, _) = calls.read();
        assert_eq!((outcomes.late, in_flight), (1, 0));
    }

    #[test]
    fn codes_are_counted_as_what_they_mean() {
        for (code, outcome) in [
            (200, Outcome::Ok),
            (400, Outcome::Rejected),
            (408, Outcome::Late),
            (429, Outcome::Rejected),
            (499, Outcome::Cancelled),
            (500, Outcome::Failed),
            (504, Outcome::Late),
            (0, Outcome::Failed),
        ] {
            assert_eq!(Outcome::of(code), outcome, "{code}");
        }
    }
}
