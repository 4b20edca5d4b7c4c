//! One node after the other.

use super::Pick;
use super::Selector;
use super::candidates::Candidates;

/// Takes one node after the other.
///
/// The turn is kept for each service, so that neither calls to other services nor changes of the
/// snapshot disturb it.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct RoundRobin {}

impl RoundRobin {
    /// Makes the policy.
    pub fn new() -> Self {
        Self {}
    }
}

impl Selector for RoundRobin {
    fn name(&self) -> &'static str {
        "round-robin"
    }

    fn pick(&self, candidates: &Candidates, request: &Pick<'_>) -> Option<usize> {
        // One turn for each pick, however many views of the nodes it takes to find an open one.
        let turn = candidates.turn();
        candidates.choose(request, |open| {
            if let Some(range) = open.all_open() {
                return Some(range.start + turn.checked_rem(range.len())?);
            }
            // Counting the open ones, rather than walking on from a closed one, gives the node
            // after a closed one no second share.
            let place = turn.checked_rem(open.iter().count())?;
            open.iter().nth(place).map(|(index, _)| index)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Instance;
    use crate::selector::Outcome;
    use crate::selector::fixture::Nodes;
    use crate::selector::fixture::assert_even;

    #[test]
    fn each_round_has_each_node_once() {
        let nodes = Nodes::new(7);
        for round in 0..100 {
            assert_eq!(nodes.tally(&RoundRobin::new(), 7), [1; 7], "round {round}");
        }
    }

    #[test]
    fn a_pick_that_looks_twice_takes_one_turn() {
        let mut nodes = Nodes::new(4);
        // All that are not draining are ejected, so that the second look finds them.
        for index in 0..4 {
            nodes.finish(index, std::time::Duration::from_secs(1), Outcome::Unreachable);
        }
        nodes.advance(std::time::Duration::from_millis(1));
        let ejected = |node: &Instance| node.id == "node-0";
        assert!(nodes.ejected(0));
        let mut request = Pick::new(nodes.now(), "");
        request.filter = Some(&ejected);
        assert_eq!(nodes.tally_for(&RoundRobin::new(), 10, &request), [10, 0, 0, 0]);
        let next = nodes.tally(&RoundRobin::new(), 3);
        assert_eq!(nodes.candidates().turn(), 13, "{next:?}");
    }

    /// R5: a turn that starts anew for each call would be a random choice.
    #[test]
    fn r5_a_hundred_thousand_picks_are_evener_than_chance() {
        let picked = Nodes::new(10).tally(&RoundRobin::new(), 100_000);
        assert_even(&picked);
        assert_eq!(picked, [10_000; 10]);
    }

    #[test]
    fn services_do_not_disturb_each_other() {
        let (a, b, policy) = (Nodes::new(2), Nodes::new(2), RoundRobin::new());
        let mut counts = ([0; 2], [0; 2]);
        for _ in 0..100 {
            counts.0[policy.pick(a.candidates(), &Pick::new(a.now(), "")).expect("two")] += 1;
            counts.1[policy.pick(b.candidates(), &Pick::new(b.now(), "")).expect("two")] += 1;
        }
        assert_eq!(counts, ([50; 2], [50; 2]));
    }

    #[test]
    fn the_turn_survives_a_change_of_the_snapshot() {
        let mut nodes = Nodes::new(3);
        assert_eq!(nodes.tally(&RoundRobin::new(), 1), [1, 0, 0]);
        nodes.restore();
        assert_eq!(nodes.tally(&RoundRobin::new(), 1), [0, 1, 0]);
    }

    #[test]
    fn the_node_after_a_closed_one_gets_no_second_share() {
        let nodes = Nodes::new(4);
        let filter = |node: &Instance| node.id != "node-1";
        let mut request = Pick::new(nodes.now(), "");
        request.filter = Some(&filter);
        assert_eq!(nodes.tally_for(&RoundRobin::new(), 30, &request), [10, 0, 10, 10]);
    }
}
