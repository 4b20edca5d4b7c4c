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

/// For how long a node that refused a call looks as if it had failed, at the end of that time: the
/// penalty starts at one second.
const REFUSAL_SECONDS: f64 = 2.0;

/// The time in which a node grows into its full share after it appears or returns.
const SLOW_START_SECONDS: f64 = 10.0;

/// A node that looks worse than the others and had no call for this long is tried again, and the
/// answer replaces what was known, so that no node starves on an outdated estimate.
const SILENCE_SECONDS: f64 = 5.0;

/// Answers that follow the last measured one sooner than this tell of it nothing but a rise.
const RESOLUTION_SECONDS: f64 = 0.001;

/// The bits of [`Load::calls`] that count calls in flight: a million at most.
const IN_FLIGHT_BITS: u32 = 20;
const IN_FLIGHT_MASK: u64 = (1 << IN_FLIGHT_BITS) - 1;

/// Long before every moment that counts.
const NEVER: f64 = f64::MIN;

/// How a call ended, as far as it says something of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The caller gave up; nothing is known.
    Abandoned,
    /// The caller's deadline passed before there was an answer. That is a failure of the node only
    /// where it used to answer in half of the time: callers in a hurry eject no healthy node.
    Expired,
    /// The node is at fault: a lost connection, an internal error.
    Failure,
    /// The node takes no more work for the moment: nothing is measured, and the others are
    /// preferred for two seconds.
    Refused,
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
    /// Calls in flight in the lower bits, answered calls above, so that the end of a call changes
    /// both in one step.
    calls: AtomicU64,
    failures: AtomicU64,
    /// The peak-sensitive average latency; `0.0` before the first answer.
    latency: AtomicSeconds,
    /// When a call ended last that the node did not fail.
    measured_at: AtomicSeconds,
    failed_at: AtomicSeconds,
    warm_from: AtomicSeconds,
    failures_in_a_row: AtomicU32,
    /// The window opens with a failure; these are its moment and the counts before it.
    window_from: AtomicSeconds,
    window_successes: AtomicU64,
    window_failures: AtomicU64,
    ejected_until: AtomicSeconds,
    ejections: AtomicU32,
    /// Whether the present snapshot has the node; others take no place among the ejected.
    member: AtomicBool,
}

impl Load {
    pub(super) fn new(outliers: Arc<Outliers>, now: f64) -> Self {
        Self {
            outliers,
            calls: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            latency: AtomicSeconds::new(0.0),
            measured_at: AtomicSeconds::new(now),
            failed_at: AtomicSeconds::new(NEVER),
            warm_from: AtomicSeconds::new(now),
            failures_in_a_row: AtomicU32::new(0),
            window_from: AtomicSeconds::new(NEVER),
            window_successes: AtomicU64::new(0),
            window_failures: AtomicU64::new(0),
            ejected_until: AtomicSeconds::new(NEVER),
            ejections: AtomicU32::new(0),
            member: AtomicBool::new(true),
        }
    }

    /// Notes that a call to the node starts; each start is followed by one
    /// [`finish`](Self::finish).
    pub fn start(&self) {
        self.calls.fetch_add(1, Relaxed);
    }

    /// Notes the end of a call that started at `started`; this may eject the node.
    pub fn finish(&self, now: Instant, started: Instant, outcome: Outcome) {
        let seconds = self.outliers.seconds(now);
        match outcome {
            Outcome::Abandoned => self.abandon(seconds),
            Outcome::Expired => {
                let waited = now.saturating_duration_since(started).as_secs_f64();
                if waited < 2.0 * self.latency.load() {
                    return self.abandon(seconds);
                }
                self.end(0);
                self.fail(seconds, false);
            }
            Outcome::Success => {
                self.end(1);
                if self.failures_in_a_row.load(Relaxed) != 0 {
                    self.failures_in_a_row.store(0, Relaxed);
                }
                self.measure(now.saturating_duration_since(started).as_secs_f64(), seconds);
            }
            Outcome::Failure => {
                self.end(0);
                self.fail(seconds, false);
            }
            Outcome::Refused => {
                self.end(0);
                let penalty_from = seconds + REFUSAL_SECONDS - DECAY_SECONDS;
                self.failed_at.store(penalty_from.max(self.failed_at.load()));
            }
            Outcome::Unreachable => {
                self.end(0);
                self.fail(seconds, true);
            }
        }
    }

    /// Notes a failed dial, which no single call stands for.
    #[cfg(feature = "client")]
    pub(crate) fn unreachable(&self, now: Instant) {
        self.fail(self.outliers.seconds(now), true);
    }

    fn abandon(&self, now: f64) {
        self.end(0);
        self.measured_at.store(now);
    }

    /// Takes one call out of flight and adds to the answered ones.
    fn end(&self, answered: u64) {
        let before = self.calls.fetch_add((answered << IN_FLIGHT_BITS).wrapping_sub(1), Relaxed);
        if before & IN_FLIGHT_MASK == 0 {
            // A finish without its start must not turn zero into a million.
            self.calls.fetch_add(1, Relaxed);
        }
    }

    /// Returns the number of calls that have started and not finished.
    pub fn in_flight(&self) -> u32 {
        // Invariant: the mask leaves 20 bits.
        u32::try_from(self.calls.load(Relaxed) & IN_FLIGHT_MASK).unwrap_or(u32::MAX)
    }

    /// Returns the average latency, which follows a rise at once and a fall slowly; `None` before
    /// the first answer.
    pub fn latency(&self) -> Option<Duration> {
        let seconds = self.latency.load();
        if seconds > 0.0 { Duration::try_from_secs_f64(seconds).ok() } else { None }
    }

    /// Returns how many calls the node answered.
    pub fn successes(&self) -> u64 {
        self.calls.load(Relaxed) >> IN_FLIGHT_BITS
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

    /// Returns whether the node has had no call for so long that its estimate says nothing. A node
    /// that failed a moment ago has its penalty instead.
    fn is_starving(&self, now: f64) -> bool {
        now - self.measured_at.load() >= SILENCE_SECONDS
            && now - self.failed_at.load() >= DECAY_SECONDS
            && self.in_flight() == 0
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
        } else if elapsed < RESOLUTION_SECONDS {
            return;
        } else {
            let kept = fade(elapsed);
            latency * kept + sample * (1.0 - kept)
        };
        // Zero stands for "not known".
        self.latency.store(next.max(1e-9));
        self.measured_at.store(now);
    }

    fn fail(&self, now: f64, unreachable: bool) {
        self.failed_at.store(now);
        let limits = self.outliers.limits();
        if now - self.window_from.load() > limits.window.as_secs_f64() {
            self.open_window(now);
        }
        let failures = self.failures.fetch_add(1, Relaxed).saturating_add(1);
        let row = self.failures_in_a_row.fetch_add(1, Relaxed).saturating_add(1);
        let row_max = limits.consecutive_failures_max;
        let too_many = (row_max > 0 && row >= row_max) || self.share_exceeded(failures);
        if (unreachable || too_many) && self.member.load(Relaxed) {
            self.outliers.eject(self, now);
        }
    }

    fn open_window(&self, now: f64) {
        self.window_from.store(now);
        self.window_successes.store(self.successes(), Relaxed);
        self.window_failures.store(self.failures(), Relaxed);
    }

    /// Returns whether too many calls of the window failed.
    fn share_exceeded(&self, failures: u64) -> bool {
        let limits = self.outliers.limits();
        let failed = failures.saturating_sub(self.window_failures.load(Relaxed));
        let answered = self.successes().saturating_sub(self.window_successes.load(Relaxed));
        let calls = failed.saturating_add(answered);
        let allowed = calls.saturating_mul(u64::from(limits.failure_percent_max));
        calls >= u64::from(limits.window_calls_min) && failed.saturating_mul(100) >= allowed
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
        self.open_window(end);
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
    fn a_refusal_is_no_answer_no_failure_and_costs_a_second_that_is_gone_after_two() {
        let mut nodes = Nodes::new(10);
        nodes.advance(Duration::from_secs(20));
        for index in [0, 1] {
            nodes.finish(index, 10 * MS, Outcome::Success);
        }
        for _ in 0..100 {
            nodes.finish(0, Duration::ZERO, Outcome::Refused);
        }
        let load = nodes.load(0);
        assert_eq!((load.latency(), load.successes()), (Some(10 * MS), 1));
        assert_eq!((load.failures(), nodes.ejected(0)), (0, false));
        for _ in 0..50 {
            nodes.load(1).start();
        }
        assert!(nodes.load(1).is_better(nodes.load(0), nodes.now()), "fifty calls at 10 ms");
        nodes.advance(Duration::from_secs(2));
        assert!(nodes.load(0).is_better(nodes.load(1), nodes.now()));
    }

    #[test]
    fn a_refusal_does_not_end_a_row_of_failures() {
        let nodes = Nodes::new(10);
        for outcome in [Outcome::Failure, Outcome::Failure, Outcome::Refused, Outcome::Failure] {
            nodes.finish(0, MS, outcome);
        }
        assert!(nodes.ejected(0));
    }

    #[test]
    fn deadlines_eject_a_node_only_if_it_used_to_answer_sooner() {
        let nodes = Nodes::new(10);
        for index in [0, 1] {
            nodes.finish(index, 20 * MS, Outcome::Success);
        }
        for _ in 0..20 {
            nodes.finish(0, 5 * MS, Outcome::Expired);
            nodes.finish(1, 40 * MS, Outcome::Expired);
            nodes.finish(2, 5 * MS, Outcome::Expired);
        }
        assert!(!nodes.ejected(0) && nodes.ejected(1));
        assert_eq!((nodes.load(0).failures(), nodes.load(2).failures()), (0, 20));
    }

    #[test]
    fn calls_in_flight_are_exact_and_never_below_zero() {
        let nodes = Nodes::new(1);
        let (load, now) = (nodes.load(0), nodes.now());
        load.start();
        load.start();
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
            nodes.load(1).start();
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
        assert!(!nodes.load(0).is_better(nodes.load(1), nodes.now()));
        nodes.advance(Duration::from_secs(7));
        nodes.finish(1, MS, Outcome::Success);
        assert!(nodes.load(0).is_better(nodes.load(1), nodes.now()));
    }
}
