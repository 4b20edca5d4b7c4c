//! What is known of one node: calls in flight, latency, failures.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::core::clock::Instant;

use super::outlier::Outliers;
use super::seconds::AtomicSeconds;

/// The time over which an old latency loses its weight.
const DECAY_SECONDS: f64 = 10.0;

/// What a failed call adds to the expected latency of its node, shrinking to nothing over
/// [`DECAY_SECONDS`].
const FAILURE_SECONDS: f64 = 5.0;

/// The time in which a node grows into its full share after it appears or returns.
const SLOW_START_SECONDS: f64 = 10.0;

/// A node that looks worse than the others and got no call for this long is tried again, and the
/// answer replaces what was known, so that no node starves on an outdated estimate.
const SILENCE_SECONDS: f64 = 5.0;

/// Long before every moment that counts.
const NEVER: f64 = f64::MIN;

/// How a call ended, as far as it says something of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The caller gave up; nothing is known.
    Abandoned,
    /// The node is at fault: a lost connection, a deadline, a refusal, an internal error.
    Failure,
    /// The node answered; an error of the application counts as an answer.
    Success,
    /// The node cannot be dialed; it is ejected at once.
    Unreachable,
}

/// The load of one node, kept by node id for as long as the registry knows the node and a while
/// longer.
///
/// All methods are lock-free, but for the rare call to [`finish`](Self::finish) that ejects the
/// node. Updates from several threads may overwrite each other: the figures are estimates. Only the
/// count of calls in flight is exact.
pub struct Load {
    outliers: Arc<Outliers>,
    in_flight: AtomicU32,
    /// The peak-sensitive average latency; `0.0` before the first answer.
    latency: AtomicSeconds,
    measured_at: AtomicSeconds,
    started_at: AtomicSeconds,
    failed_at: AtomicSeconds,
    warm_from: AtomicSeconds,
    successes: AtomicU64,
    failures: AtomicU64,
    failures_in_a_row: AtomicU32,
    window_from: AtomicSeconds,
    window_calls: AtomicU32,
    window_failures: AtomicU32,
    ejected_until: AtomicSeconds,
    ejections: AtomicU32,
    /// Whether the present snapshot has the node; others take no place among the ejected.
    member: AtomicBool,
}

impl Load {
    pub(super) fn new(outliers: Arc<Outliers>, now: f64) -> Self {
        Self {
            outliers,
            in_flight: AtomicU32::new(0),
            latency: AtomicSeconds::new(0.0),
            measured_at: AtomicSeconds::new(NEVER),
            started_at: AtomicSeconds::new(now),
            failed_at: AtomicSeconds::new(NEVER),
            warm_from: AtomicSeconds::new(now),
            successes: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            failures_in_a_row: AtomicU32::new(0),
            window_from: AtomicSeconds::new(now),
            window_calls: AtomicU32::new(0),
            window_failures: AtomicU32::new(0),
            ejected_until: AtomicSeconds::new(NEVER),
            ejections: AtomicU32::new(0),
            member: AtomicBool::new(true),
        }
    }

    /// Notes that a call to the node starts; each start is followed by one
    /// [`finish`](Self::finish).
    pub fn start(&self, now: Instant) {
        self.in_flight.fetch_add(1, Relaxed);
        self.started_at.store(self.outliers.seconds(now));
    }

    /// Notes the end of a call that started at `started`; this may eject the node.
    pub fn finish(&self, now: Instant, started: Instant, outcome: Outcome) {
        // A finish without its start must not turn zero into four billion.
        let _unmatched =
            self.in_flight.fetch_update(Relaxed, Relaxed, |calls| calls.checked_sub(1));
        let seconds = self.outliers.seconds(now);
        match outcome {
            Outcome::Abandoned => {}
            Outcome::Success => {
                self.successes.fetch_add(1, Relaxed);
                if self.failures_in_a_row.load(Relaxed) != 0 {
                    self.failures_in_a_row.store(0, Relaxed);
                }
                self.count_in_window(seconds, false);
                self.measure(now.saturating_duration_since(started).as_secs_f64(), seconds);
            }
            Outcome::Failure => self.fail(seconds, false),
            Outcome::Unreachable => self.fail(seconds, true),
        }
    }

    /// Returns the number of calls that have started and not finished.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Returns the average latency, which follows a rise at once and a fall slowly; `None` before
    /// the first answer.
    pub fn latency(&self) -> Option<Duration> {
        let seconds = self.latency.load();
        if seconds > 0.0 { Duration::try_from_secs_f64(seconds).ok() } else { None }
    }

    /// Returns how many calls the node answered.
    pub fn successes(&self) -> u64 {
        self.successes.load(Relaxed)
    }

    /// Returns how many calls the node failed.
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// Returns whether the node is ejected at `now`.
    pub fn is_ejected(&self, now: Instant) -> bool {
        self.ejected_at(self.outliers.seconds(now))
    }

    /// Returns whether `self` is expected to answer a further call before `other`.
    pub(super) fn is_better(&self, other: &Self, now: Instant) -> bool {
        let now = self.outliers.seconds(now);
        if self.is_starving(now) {
            return true;
        }
        let (mine, theirs) = (self.latency.load(), other.latency.load());
        // Nothing is known of one of them: take them for equally fast, so that calls in flight
        // decide and a node that never answers gets no more calls than it holds.
        let (mine, theirs) = if mine == 0.0 || theirs == 0.0 {
            (1.0, 1.0)
        } else {
            (mine * self.faded(now), theirs * other.faded(now))
        };
        self.cost(mine, now) <= other.cost(theirs, now)
    }

    /// Returns whether the node got no call for so long that its estimate says nothing. A node
    /// that failed a moment ago has its penalty instead.
    fn is_starving(&self, now: f64) -> bool {
        now - self.started_at.load() >= SILENCE_SECONDS
            && now - self.failed_at.load() >= DECAY_SECONDS
    }

    fn cost(&self, latency: f64, now: f64) -> f64 {
        let mut cost = latency;
        let since_failure = now - self.failed_at.load();
        if since_failure < DECAY_SECONDS {
            cost += FAILURE_SECONDS * (1.0 - since_failure / DECAY_SECONDS);
        }
        let age = now - self.warm_from.load();
        if age < SLOW_START_SECONDS {
            cost *= SLOW_START_SECONDS / age.max(1.0);
        }
        cost * f64::from(self.in_flight().saturating_add(1))
    }

    /// Returns the weight that the average has left since the last answer.
    fn faded(&self, now: f64) -> f64 {
        fade(now - self.measured_at.load())
    }

    fn measure(&self, sample: f64, now: f64) {
        let (latency, elapsed) = (self.latency.load(), now - self.measured_at.load());
        let next = if sample >= latency || elapsed >= SILENCE_SECONDS {
            sample
        } else {
            let kept = fade(elapsed);
            latency * kept + sample * (1.0 - kept)
        };
        // Zero stands for "not known".
        self.latency.store(next.max(1e-9));
        self.measured_at.store(now);
    }

    fn fail(&self, now: f64, unreachable: bool) {
        self.failures.fetch_add(1, Relaxed);
        self.failed_at.store(now);
        let row = self.failures_in_a_row.fetch_add(1, Relaxed).saturating_add(1);
        let share_exceeded = self.count_in_window(now, true);
        let row_max = self.outliers.limits().consecutive_failures_max;
        let row_exceeded = row_max > 0 && row >= row_max;
        if (unreachable || share_exceeded || row_exceeded) && self.member.load(Relaxed) {
            self.outliers.eject(self, now);
        }
    }

    /// Counts a call and returns whether too many of the window's calls failed.
    fn count_in_window(&self, now: f64, failed: bool) -> bool {
        let limits = self.outliers.limits();
        if now - self.window_from.load() > limits.window.as_secs_f64() {
            self.window_from.store(now);
            self.window_calls.store(0, Relaxed);
            self.window_failures.store(0, Relaxed);
        }
        let calls = self.window_calls.fetch_add(1, Relaxed).saturating_add(1);
        if !failed {
            return false;
        }
        let failures = self.window_failures.fetch_add(1, Relaxed).saturating_add(1);
        let allowed = u64::from(calls).saturating_mul(u64::from(limits.failure_percent_max));
        calls >= limits.window_calls_min && u64::from(failures).saturating_mul(100) >= allowed
    }

    pub(super) fn ejected_at(&self, now: f64) -> bool {
        now < self.ejected_until.load()
    }

    pub(super) fn ejection_end(&self) -> f64 {
        self.ejected_until.load()
    }

    /// Returns how often the node was ejected, not counting what lies further back than `memory`.
    pub(super) fn ejections_before(&self, now: f64, memory: Duration) -> u32 {
        if now - self.ejected_until.load() > memory.as_secs_f64() {
            self.ejections.store(0, Relaxed);
        }
        self.ejections.load(Relaxed)
    }

    /// Ejects the node until `end`, from when on it starts slowly and with a clean record.
    pub(super) fn set_ejected(&self, end: f64) {
        self.ejections.fetch_add(1, Relaxed);
        self.failures_in_a_row.store(0, Relaxed);
        self.window_from.store(end);
        self.window_calls.store(0, Relaxed);
        self.window_failures.store(0, Relaxed);
        self.warm_from.store(end);
        self.ejected_until.store(end);
    }

    pub(super) fn set_member(&self, member: bool) {
        self.member.store(member, Relaxed);
    }

    /// Lets the node grow into its share again, after it was away.
    pub(super) fn warm_up(&self, now: f64) {
        self.warm_from.store(now.max(self.warm_from.load()));
    }
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Load")
            .field("in_flight", &self.in_flight())
            .field("latency", &self.latency())
            .field("successes", &self.successes())
            .field("failures", &self.failures())
            .finish_non_exhaustive()
    }
}

/// Returns the weight left after `elapsed` seconds: close to the exponential for what matters, at
/// the price of one division.
fn fade(elapsed: f64) -> f64 {
    let x = (elapsed / DECAY_SECONDS).max(0.0);
    1.0 / (1.0 + x + x * x / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selector::fixture::Nodes;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_fade_is_one_at_once_a_third_after_ten_seconds_and_never_rises() {
        assert!((fade(0.0) - 1.0).abs() < 1e-12);
        assert!((fade(DECAY_SECONDS) - (-1.0_f64).exp()).abs() < 0.04);
        let weights: Vec<f64> = (0..1000).map(|s| fade(f64::from(s))).collect();
        assert!(weights.windows(2).all(|pair| pair[1] < pair[0]));
        assert!(fade(1e9) >= 0.0 && fade(-1.0) <= 1.0);
    }

    #[test]
    fn latency_follows_a_rise_at_once_and_a_fall_slowly() {
        let mut nodes = Nodes::new(1);
        nodes.finish(0, 10 * MS, Outcome::Success);
        nodes.finish(0, 100 * MS, Outcome::Success);
        assert_eq!(nodes.load(0).latency(), Some(100 * MS));
        nodes.advance(Duration::from_secs(1));
        nodes.finish(0, 10 * MS, Outcome::Success);
        let after = nodes.load(0).latency().expect("measured");
        assert!(after > 80 * MS && after < 100 * MS, "{after:?}");
    }

    #[test]
    fn an_answer_after_a_silence_replaces_the_estimate() {
        let mut nodes = Nodes::new(1);
        nodes.finish(0, 1000 * MS, Outcome::Success);
        nodes.advance(Duration::from_secs(6));
        nodes.finish(0, MS, Outcome::Success);
        let latency = nodes.load(0).latency().expect("measured");
        assert!(latency.abs_diff(MS) < Duration::from_nanos(10), "{latency:?}");
    }

    #[test]
    fn only_answers_are_measured_and_only_faults_are_counted_as_failures() {
        let nodes = Nodes::new(10);
        nodes.finish(0, MS, Outcome::Abandoned);
        nodes.finish(0, MS, Outcome::Failure);
        assert_eq!(nodes.load(0).latency(), None);
        nodes.finish(0, MS, Outcome::Success);
        assert_eq!((nodes.load(0).successes(), nodes.load(0).failures()), (1, 1));
        assert!(nodes.load(0).latency().is_some());
    }

    #[test]
    fn calls_in_flight_are_exact_and_never_below_zero() {
        let nodes = Nodes::new(1);
        let (load, now) = (nodes.load(0), nodes.now());
        load.start(now);
        load.start(now);
        assert_eq!(load.in_flight(), 2);
        for _ in 0..3 {
            load.finish(now, now, Outcome::Abandoned);
        }
        assert_eq!(load.in_flight(), 0);
    }

    #[test]
    fn a_failure_costs_five_seconds_that_are_gone_after_ten() {
        let mut nodes = Nodes::new(2);
        nodes.advance(Duration::from_secs(20));
        for index in [0, 1] {
            nodes.finish(index, MS, Outcome::Success);
        }
        nodes.finish(0, MS, Outcome::Failure);
        for _ in 0..1000 {
            nodes.load(1).start(nodes.now());
        }
        assert!(nodes.load(1).is_better(nodes.load(0), nodes.now()), "a thousand calls at 1 ms");
        nodes.advance(Duration::from_secs(10));
        assert!(nodes.load(0).is_better(nodes.load(1), nodes.now()));
    }

    #[test]
    fn a_slow_node_without_calls_is_tried_again_after_five_seconds() {
        let mut nodes = Nodes::new(2);
        nodes.advance(Duration::from_secs(20));
        nodes.finish(0, 2000 * MS, Outcome::Success);
        nodes.finish(1, MS, Outcome::Success);
        nodes.load(0).start(nodes.now());
        nodes.load(0).finish(nodes.now(), nodes.now(), Outcome::Abandoned);
        assert!(!nodes.load(0).is_better(nodes.load(1), nodes.now()));
        nodes.advance(Duration::from_secs(5));
        assert!(nodes.load(0).is_better(nodes.load(1), nodes.now()));
    }
}
