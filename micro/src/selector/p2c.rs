//! The default: the better of two nodes drawn at random, judged by latency and calls in flight.

use super::Pick;
use super::Selector;
use super::candidates::Candidates;

/// Draws two nodes at random and takes the one that is expected to answer first.
///
/// What is expected is the node's latency times its calls in flight. The latency is an average
/// that follows a rise at once and a fall over ten seconds; a failure adds five seconds, which wear
/// off over ten; a node that appears or returns grows into its share over ten seconds. Two draws
/// instead of a search for the best keep many clients from running to the same node.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct P2c {}

impl P2c {
    /// Makes the policy.
    pub fn new() -> Self {
        Self {}
    }
}

impl Selector for P2c {
    fn name(&self) -> &'static str {
        "p2c"
    }

    fn pick(&self, candidates: &Candidates, request: &Pick<'_>) -> Option<usize> {
        candidates.choose(request, |open| {
            let (first, second) = open.sample_two()?;
            let Some(second) = second else { return Some(first) };
            let (a, b) = (open.get(first)?, open.get(second)?);
            let second_is_better = !a.load.is_better(&b.load, request.now);
            Some(if second_is_better { second } else { first })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BinaryHeap;
    use std::time::Duration;

    use super::*;
    use crate::selector::Outcome;
    use crate::selector::Random;
    use crate::selector::fixture::Nodes;
    use crate::selector::fixture::instance;

    /// Keeps `concurrency` calls in flight for `length`; node `n` takes `latency(n)` milliseconds.
    fn simulate(
        nodes: &mut Nodes,
        policy: &dyn Selector,
        concurrency: usize,
        length: Duration,
        latency: impl Fn(usize) -> u64,
    ) -> Vec<u32> {
        fastrand::seed(11);
        let mut counts = vec![0_u32; nodes.candidates().len()];
        let (mut calls, end) = (BinaryHeap::new(), nodes.now() + length);
        let begin = |nodes: &Nodes, counts: &mut Vec<u32>| {
            let index =
                policy.pick(nodes.candidates(), &Pick::new(nodes.now(), "")).expect("nodes");
            nodes.load(index).start();
            counts[index] += 1;
            let done = nodes.now() + Duration::from_millis(latency(index));
            std::cmp::Reverse((done, nodes.now(), index))
        };
        for _ in 0..concurrency {
            calls.push(begin(nodes, &mut counts));
        }
        while let Some(std::cmp::Reverse((done, started, index))) = calls.pop() {
            nodes.advance_to(done.min(end));
            if done > end {
                nodes.load(index).finish(end, started, Outcome::Abandoned);
                break;
            }
            nodes.load(index).finish(done, started, Outcome::Success);
            calls.push(begin(nodes, &mut counts));
        }
        for std::cmp::Reverse((_, started, index)) in calls {
            nodes.load(index).finish(end, started, Outcome::Abandoned);
        }
        counts
    }

    #[test]
    fn a_node_ten_times_as_fast_gets_at_least_five_times_the_calls() {
        let latency = |index| if index == 0 { 10 } else { 100 };
        for concurrency in [1, 16] {
            let length = Duration::from_secs(60);
            let counts = simulate(&mut Nodes::new(2), &P2c::new(), concurrency, length, latency);
            assert!(counts[0] >= 5 * counts[1], "{concurrency} in flight: {counts:?}");
            let random = simulate(&mut Nodes::new(2), &Random::new(), concurrency, length, latency);
            assert!(random[0] < 2 * random[1], "the test tells them apart: {random:?}");
        }
    }

    #[test]
    fn equal_nodes_get_equal_shares_within_a_fifth() {
        let length = Duration::from_secs(60);
        // Calls that all end together would make whichever node is looked at first the emptiest.
        let latency = |_| fastrand::u64(15..25);
        let counts = simulate(&mut Nodes::new(10), &P2c::new(), 64, length, latency);
        let mean = counts.iter().sum::<u32>() / 10;
        assert!(counts.iter().all(|c| c.abs_diff(mean) * 5 <= mean), "{counts:?}");
    }

    /// I9: nobody waits longer than ten seconds, however slow it was.
    #[test]
    fn a_slow_node_is_tried_every_ten_seconds() {
        let mut nodes = Nodes::new(3);
        let latency = |index| if index == 0 { 1000 } else { 1 };
        simulate(&mut nodes, &P2c::new(), 4, Duration::from_secs(20), latency);
        for _ in 0..5 {
            let counts = simulate(&mut nodes, &P2c::new(), 4, Duration::from_secs(10), latency);
            assert!(counts[0] > 0, "{counts:?}");
            assert!(counts[0] * 100 < counts[1], "{counts:?}");
        }
    }

    #[test]
    fn a_node_that_hangs_holds_no_more_calls_than_its_share() {
        let latency = |index| if index == 0 { 3_600_000 } else { 5 };
        let counts =
            simulate(&mut Nodes::new(4), &P2c::new(), 64, Duration::from_secs(30), latency);
        assert!(counts[0] <= 40, "{counts:?}");
        assert!(counts[1] > 10_000, "{counts:?}");
    }

    #[test]
    fn a_node_that_recovers_gets_its_share_back() {
        let mut nodes = Nodes::new(2);
        let slow = |index| if index == 0 { 2000 } else { 5 };
        simulate(&mut nodes, &P2c::new(), 8, Duration::from_secs(20), slow);
        nodes.advance(Duration::from_secs(2));
        simulate(&mut nodes, &P2c::new(), 8, Duration::from_secs(15), |_| 5);
        let counts = simulate(&mut nodes, &P2c::new(), 8, Duration::from_secs(30), |_| 5);
        assert!(counts[0] * 3 > counts[1], "{counts:?}");
    }

    #[test]
    fn r13_a_joining_node_is_not_flooded_and_has_its_share_after_ten_seconds() {
        let mut nodes = Nodes::new(4);
        simulate(&mut nodes, &P2c::new(), 40, Duration::from_secs(20), |_| 10);
        nodes.add(instance("joining"));
        let joined = (0..5)
            .find(|index| nodes.candidates().get(*index).expect("five").instance.id == "joining")
            .expect("it is there");
        let early = simulate(&mut nodes, &P2c::new(), 40, Duration::from_secs(2), |_| 10);
        let share =
            |counts: &[u32]| f64::from(counts[joined]) / f64::from(counts.iter().sum::<u32>());
        assert!(share(&early) < 0.10, "{early:?}");
        simulate(&mut nodes, &P2c::new(), 40, Duration::from_secs(8), |_| 10);
        let late = simulate(&mut nodes, &P2c::new(), 40, Duration::from_secs(10), |_| 10);
        assert!(share(&late) > 0.15, "{late:?}");
    }

    #[test]
    fn a_failing_node_gets_few_calls_even_where_it_cannot_be_ejected() {
        let mut nodes = Nodes::with_limits(4, crate::selector::OutlierLimits::off());
        let mut counts = [0_u32; 4];
        for _ in 0..10_000 {
            nodes.advance(Duration::from_millis(1));
            let index = P2c::new()
                .pick(nodes.candidates(), &Pick::new(nodes.now(), ""))
                .expect("four nodes");
            let outcome = if index == 0 { Outcome::Failure } else { Outcome::Success };
            nodes.finish(index, Duration::from_millis(1), outcome);
            counts[index] += 1;
        }
        assert!(counts[0] <= 10, "{counts:?}");
    }
}
