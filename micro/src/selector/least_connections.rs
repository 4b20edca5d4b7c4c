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
            let mut best = None;
            let mut equals = 0_u32;
            for (index, candidate) in open.iter() {
                let calls = candidate.load.in_flight();
                match best {
                    Some((least, _)) if calls > least => {}
                    Some((least, _)) if calls == least => {
                        equals = equals.saturating_add(1);
                        // The n-th of equals replaces the one held with a chance of 1/n.
                        if fastrand::u32(0..equals) == 0 {
                            best = Some((calls, index));
                        }
                    }
                    _ => {
                        equals = 1;
                        best = Some((calls, index));
                    }
                }
            }
            best.map(|(_, index)| index)
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
                nodes.load(index).start(nodes.now());
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
            nodes.load(index).start(nodes.now());
        }
        assert!((0..6).all(|index| nodes.load(index).in_flight() == 100));
    }

    #[test]
    fn equals_have_the_same_chance() {
        fastrand::seed(5);
        let nodes = Nodes::new(6);
        nodes.load(2).start(nodes.now());
        let mut picked = nodes.tally(&LeastConnections::new(), 100_000);
        assert_eq!(picked.remove(2), 0);
        assert_even(&picked);
    }
}
