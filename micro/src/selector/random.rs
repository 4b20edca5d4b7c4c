//! Any node, each with the same chance.

use super::Pick;
use super::Selector;
use super::candidates::Candidates;

/// Takes any node, each with the same chance.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Random {}

impl Random {
    /// Makes the policy.
    pub fn new() -> Self {
        Self {}
    }
}

impl Selector for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn pick(&self, candidates: &Candidates, request: &Pick<'_>) -> Option<usize> {
        candidates.choose(request, |open| open.sample())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selector::fixture::Nodes;
    use crate::selector::fixture::assert_even;

    #[test]
    fn every_node_has_the_same_chance() {
        for count in [2, 3, 10, 100] {
            fastrand::seed(3);
            assert_even(&Nodes::new(count).tally(&Random::new(), 100_000));
        }
    }

    #[test]
    fn every_node_that_passes_a_filter_has_the_same_chance() {
        fastrand::seed(3);
        let nodes = Nodes::new(10);
        let filter = |node: &crate::registry::Instance| node.id != "node-3";
        let mut request = Pick::new(nodes.now(), "");
        request.filter = Some(&filter);
        let mut picked = nodes.tally_for(&Random::new(), 100_000, &request);
        assert_eq!(picked.remove(3), 0);
        assert_even(&picked);
    }
}
