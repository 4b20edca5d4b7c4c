//! The node with the fewest calls in flight.

use super::Pick;
use super::Selector;
use super::candidates::Candidates;

/// Takes the node with the fewest calls in flight from this client; among equals, any.
///
/// It walks over all nodes for each call: about a nanosecond for each.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct LeastConnections {}

impl LeastConnections {
    /// Makes the policy.
    pub fn new() -> Self {
        Self {}
    }
}

impl Selector for LeastConnections {
    fn name(&self) -> &'static str {
        "least-connections"
    }

    fn pick(&self, candidates: &Candidates, request: &Pick<'_>) -> Option<usize> {
        candidates.choose(request, |open| {
            let (mut least, mut equals) = (u32::MAX, 0_usize);
            for (_, candidate) in open.iter() {
                let calls = candidate.load.in_flight();
                if calls < least {
                    (least, equals) = (calls, 0);
                }
                equals = equals.saturating_add(usize::from(calls == least));
            }
            if equals == 0 {
                return None;
            }
            let draw = fastrand::usize(0..equals);
            let mut of_equals = open.iter().filter(|(_, c)| c.load.in_flight() <= least);
            // Calls that start or end between the two walks may leave fewer.
            of_equals.nth(draw).map(|(index, _)| index).or_else(|| open.sample())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selector::fixture::Nodes;
    use crate::selector::fixture::assert_even;

    #[test]
    fn the_node_with_the_fewest_calls_is_always_taken() {
        let nodes = Nodes::new(5);
        for (index, calls) in [4, 2, 7, 1, 3].into_iter().enumerate() {
            for _ in 0..calls {
                nodes.load(index).start();
            }
        }
        assert_eq!(nodes.tally(&LeastConnections::new(), 1000), [0, 0, 0, 1000, 0]);
    }

    #[test]
    fn calls_that_stay_fill_all_nodes_evenly() {
        let nodes = Nodes::new(6);
        for _ in 0..600 {
            let request = Pick::new(nodes.now(), "");
            let index = LeastConnections::new().pick(nodes.candidates(), &request).expect("six");
            nodes.load(index).start();
        }
        assert!((0..6).all(|index| nodes.load(index).in_flight() == 100));
    }

    #[test]
    fn equals_have_the_same_chance() {
        fastrand::seed(5);
        let nodes = Nodes::new(6);
        nodes.load(2).start();
        let mut picked = nodes.tally(&LeastConnections::new(), 100_000);
        assert_eq!(picked.remove(2), 0);
        assert_even(&picked);
    }
}
