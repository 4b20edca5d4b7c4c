//! Ejection: a node that keeps failing gets no calls for a while.
//!
//! A node is ejected after some failures in a row, after failing a share of its recent calls, or
//! when it cannot be reached at all. Each ejection lasts twice as long as the one before, until the
//! node has behaved for as long as the longest ejection. Few nodes are ejected at a time, and when
//! many are out together (a fault on the caller's side looks like that), ejection is ignored.

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use crate::core::clock::Instant;

use super::load::Load;
use super::seconds::AtomicSeconds;

/// When nodes are ejected, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutlierLimits {
    /// Failures in a row that eject a node: 3. Zero turns this rule off.
    pub consecutive_failures_max: u32,
    /// Failed calls of [`window`](Self::window), in percent, that eject a node: 50. A value above
    /// 100 turns this rule off.
    pub failure_percent_max: u32,
    /// Calls within the window below which the percentage says nothing: 20.
    pub window_calls_min: u32,
    /// The time over which the percentage is taken: 10 s.
    pub window: Duration,
    /// How long the first ejection lasts: 30 s.
    pub ejection_base: Duration,
    /// How long an ejection lasts at most: 300 s.
    pub ejection_max: Duration,
    /// Nodes ejected at a time, in percent of all, but always at least one: 10.
    pub ejected_percent_max: u32,
    /// Ejected nodes, in percent of all, above which ejection is ignored: 50.
    pub panic_percent: u32,
}

impl Default for OutlierLimits {
    fn default() -> Self {
        Self {
            consecutive_failures_max: 3,
            failure_percent_max: 50,
            window_calls_min: 20,
            window: Duration::from_secs(10),
            ejection_base: Duration::from_secs(30),
            ejection_max: Duration::from_secs(300),
            ejected_percent_max: 10,
            panic_percent: 50,
        }
    }
}

impl OutlierLimits {
    /// Returns limits under which nothing is ever ejected.
    pub fn off() -> Self {
        Self { ejection_base: Duration::ZERO, ejection_max: Duration::ZERO, ..Self::default() }
    }

    /// Returns how long the ejection after `earlier` others lasts.
    fn ejection(&self, earlier: u32) -> Duration {
        let factor = 1_u32.checked_shl(earlier).unwrap_or(u32::MAX);
        self.ejection_base.saturating_mul(factor).min(self.ejection_max)
    }
}

/// The ejections of one service, shared by the loads of its nodes.
pub(super) struct Outliers {
    limits: OutlierLimits,
    epoch: Instant,
    /// No node is ejected from this moment on.
    ejecting_until: AtomicSeconds,
    /// Ejection is ignored until this moment.
    panicking_until: AtomicSeconds,
    /// Locked when a node is ejected and when the nodes change, never to choose one.
    members: Mutex<Members>,
}

/// The nodes of the present snapshot.
#[derive(Default)]
struct Members {
    count: usize,
    /// When each ejection ends, for the nodes that are ejected.
    ends: Vec<f64>,
}

impl Outliers {
    pub(super) fn new(limits: OutlierLimits, epoch: Instant) -> Self {
        Self {
            limits,
            epoch,
            ejecting_until: AtomicSeconds::new(0.0),
            panicking_until: AtomicSeconds::new(0.0),
            members: Mutex::default(),
        }
    }

    pub(super) fn limits(&self) -> &OutlierLimits {
        &self.limits
    }

    /// Returns `now` as seconds since the epoch.
    pub(super) fn seconds(&self, now: Instant) -> f64 {
        now.saturating_duration_since(self.epoch).as_secs_f64()
    }

    /// Returns whether ejected nodes exist at `now` and have to be left out.
    pub(super) fn in_force(&self, now: Instant) -> bool {
        let until = self.ejecting_until.load();
        if until == 0.0 {
            return false;
        }
        let now = self.seconds(now);
        now < until && now >= self.panicking_until.load()
    }

    /// Takes the nodes of a changed snapshot.
    pub(super) fn set_members<'a>(&self, loads: impl Iterator<Item = &'a Load>, now: f64) {
        let mut members = self.lock();
        *members = Members::default();
        for load in loads {
            members.count += 1;
            if load.ejected_at(now) {
                members.ends.push(load.ejection_end());
            }
        }
        self.publish(&members);
    }

    /// Ejects a member unless it is out already or too many others are.
    pub(super) fn eject(&self, load: &Load, now: f64) {
        let mut members = self.lock();
        members.ends.retain(|end| *end > now);
        if load.ejected_at(now) || members.ends.len() >= self.ejected_max(members.count) {
            return;
        }
        let length = self.limits.ejection(load.ejections_before(now, self.limits.ejection_max));
        if length.is_zero() {
            return;
        }
        let end = now + length.as_secs_f64();
        load.set_ejected(end);
        members.ends.push(end);
        self.publish(&members);
    }

    fn ejected_max(&self, nodes: usize) -> usize {
        percent_of(self.limits.ejected_percent_max, nodes).max(1)
    }

    /// Computes the moments that choosing compares with, so that it never counts.
    fn publish(&self, members: &Members) {
        let mut ends = members.ends.clone();
        ends.sort_unstable_by(|a, b| b.total_cmp(a));
        self.ejecting_until.store(ends.first().copied().unwrap_or(0.0));
        // While more than `tolerated` ejections last there is panic: that is, until the one with
        // `tolerated` longer ones beside it ends.
        let tolerated = percent_of(self.limits.panic_percent, members.count);
        self.panicking_until.store(ends.get(tolerated).copied().unwrap_or(0.0));
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns `percent` of `count`, rounded down.
fn percent_of(percent: u32, count: usize) -> usize {
    let percent = usize::try_from(percent).unwrap_or(usize::MAX);
    count.saturating_mul(percent) / 100
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selector::Outcome;
    use crate::selector::Pick;
    use crate::selector::Random;
    use crate::selector::Selector;
    use crate::selector::fixture::Nodes;

    fn fail(nodes: &Nodes, index: usize, times: u32) {
        for _ in 0..times {
            nodes.finish(index, Duration::from_millis(1), Outcome::Failure);
        }
    }

    #[test]
    fn failures_in_a_row_eject_and_a_success_between_them_does_not() {
        let nodes = Nodes::new(10);
        fail(&nodes, 0, 2);
        nodes.finish(0, Duration::from_millis(1), Outcome::Success);
        fail(&nodes, 0, 2);
        assert!(!nodes.ejected(0));
        fail(&nodes, 0, 1);
        assert!(nodes.ejected(0));
    }

    #[test]
    fn a_share_of_failed_calls_ejects_without_a_row_of_them() {
        let nodes = Nodes::new(10);
        for call in 0..21 {
            assert!(!nodes.ejected(3), "after {call} calls");
            let failed = call % 2 == 0;
            let outcome = if failed { Outcome::Failure } else { Outcome::Success };
            nodes.finish(3, Duration::from_millis(1), outcome);
        }
        assert!(nodes.ejected(3));
    }

    #[test]
    fn failures_of_an_earlier_window_are_forgotten() {
        let mut nodes = Nodes::new(10);
        for _ in 0..9 {
            fail(&nodes, 3, 1);
            nodes.finish(3, Duration::from_millis(1), Outcome::Success);
        }
        nodes.advance(Duration::from_secs(11));
        fail(&nodes, 3, 1);
        nodes.finish(3, Duration::from_millis(1), Outcome::Success);
        assert!(!nodes.ejected(3));
    }

    #[test]
    fn an_unreachable_node_is_ejected_at_once() {
        let nodes = Nodes::new(3);
        nodes.finish(1, Duration::from_secs(1), Outcome::Unreachable);
        assert!(nodes.ejected(1));
    }

    #[test]
    fn ejections_double_from_thirty_seconds_to_five_minutes() {
        let mut nodes = Nodes::new(10);
        for seconds in [30, 60, 120, 240, 300, 300] {
            fail(&nodes, 0, 3);
            nodes.advance(Duration::from_secs(seconds) - Duration::from_millis(10));
            assert!(nodes.ejected(0), "shorter than {seconds} s");
            nodes.advance(Duration::from_millis(20));
            assert!(!nodes.ejected(0), "longer than {seconds} s");
        }
        nodes.advance(Duration::from_secs(301));
        fail(&nodes, 0, 3);
        nodes.advance(Duration::from_secs(31));
        assert!(!nodes.ejected(0), "five good minutes start over");
    }

    #[test]
    fn a_tenth_of_the_nodes_is_ejected_at_most_and_one_at_least() {
        for (count, most) in [(2, 1), (5, 1), (10, 1), (19, 1), (20, 2), (100, 10)] {
            let nodes = Nodes::new(count);
            for index in 0..count {
                fail(&nodes, index, 3);
            }
            let ejected = (0..count).filter(|index| nodes.ejected(*index)).count();
            assert_eq!(ejected, most, "of {count}");
        }
    }

    #[test]
    fn a_freed_place_is_taken_by_the_next_node_that_fails() {
        let mut nodes = Nodes::new(10);
        fail(&nodes, 0, 3);
        fail(&nodes, 1, 3);
        assert!(nodes.ejected(0) && !nodes.ejected(1));
        nodes.advance(Duration::from_secs(31));
        fail(&nodes, 1, 1);
        assert!(!nodes.ejected(0) && nodes.ejected(1));
    }

    #[test]
    fn ejected_nodes_get_no_calls() {
        let nodes = Nodes::new(10);
        fail(&nodes, 4, 3);
        let request = Pick::new(nodes.now(), "");
        for _ in 0..1000 {
            assert_ne!(Random::new().pick(nodes.candidates(), &request), Some(4));
        }
    }

    fn anarchy() -> OutlierLimits {
        OutlierLimits { ejected_percent_max: 100, ..OutlierLimits::default() }
    }

    #[test]
    fn r14_more_than_half_ejected_means_that_all_are_used() {
        let mut nodes = Nodes::with_limits(10, anarchy());
        for index in 0..5 {
            fail(&nodes, index, 3);
        }
        let picked = nodes.tally(&Random::new(), 1000);
        assert!(picked[..5].iter().all(|count| *count == 0), "half is no panic: {picked:?}");
        nodes.advance(Duration::from_secs(10));
        fail(&nodes, 5, 3);
        let picked = nodes.tally(&Random::new(), 1000);
        assert!(picked.iter().all(|count| *count > 0), "six of ten is panic: {picked:?}");
        nodes.advance(Duration::from_secs(21));
        let picked = nodes.tally(&Random::new(), 1000);
        assert_eq!(picked[5], 0, "five came back, the sixth is still out: {picked:?}");
    }

    #[test]
    fn panic_is_judged_again_when_nodes_go_away() {
        let mut nodes = Nodes::with_limits(10, anarchy());
        for index in 0..4 {
            fail(&nodes, index, 3);
        }
        assert_eq!(nodes.tally(&Random::new(), 1000)[0], 0);
        nodes.keep(|index| index < 6);
        let picked = nodes.tally(&Random::new(), 1000);
        assert!(picked.iter().all(|count| *count > 0), "four of six: {picked:?}");
    }

    #[test]
    fn limits_that_are_off_eject_nothing() {
        let nodes = Nodes::with_limits(10, OutlierLimits::off());
        fail(&nodes, 0, 100);
        nodes.finish(0, Duration::from_millis(1), Outcome::Unreachable);
        assert!(!nodes.ejected(0));
    }

    /// Returns the share of calls that one of ten nodes gets which is up and down for two seconds
    /// each.
    fn share_of_a_flapping_node(limits: OutlierLimits) -> f64 {
        let mut nodes = Nodes::with_limits(10, limits);
        let (mut calls, mut to_flapper) = (0.0, 0.0);
        for tick in 0..120_000_u32 {
            nodes.advance(Duration::from_millis(5));
            let down = (tick / 400) % 2 == 0;
            let request = Pick::new(nodes.now(), "");
            let index = Random::new().pick(nodes.candidates(), &request).expect("ten nodes");
            let failed = down && index == 0;
            let outcome = if failed { Outcome::Failure } else { Outcome::Success };
            nodes.finish(index, Duration::from_millis(1), outcome);
            calls += 1.0;
            to_flapper += if index == 0 { 1.0 } else { 0.0 };
        }
        to_flapper / calls
    }

    /// F31.
    #[test]
    fn a_flapping_node_gets_at_most_a_twentieth_of_the_calls() {
        let share = share_of_a_flapping_node(OutlierLimits::default());
        assert!(share <= 0.05, "{share}");
        let share = share_of_a_flapping_node(OutlierLimits::off());
        assert!(share > 0.09, "the test tells them apart: {share}");
    }
}
