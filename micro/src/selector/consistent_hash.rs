//! The same node for the same key, within a bound on its load.

use super::P2c;
use super::Pick;
use super::Selector;
use super::candidates::Candidates;
use super::eligible::Eligible;

/// How many times the mean of calls in flight a node may have, in percent.
const LOAD_PERCENT_MAX: u64 = 125;

/// Calls in flight below which the bound does not move a key: so few tell nothing of a load.
const CALLS_FREE: u32 = 8;

/// Sends the calls of one routing key to one node, for as long as it is there.
///
/// When a node comes or goes, only its own keys move: each key ranks all nodes by a hash of both
/// and takes the first that is open. A node that has more than 1.25 times the mean of calls in
/// flight, and more than eight, passes further keys on to their next. All clients rank alike. Calls
/// without a key are balanced by [`P2c`].
///
/// It walks over all nodes for each call: about a nanosecond for each.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ConsistentHash {}

impl ConsistentHash {
    /// Makes the policy.
    pub fn new() -> Self {
        Self {}
    }
}

impl Selector for ConsistentHash {
    fn name(&self) -> &'static str {
        "consistent-hash"
    }

    fn pick(&self, candidates: &Candidates, request: &Pick<'_>) -> Option<usize> {
        let Some(key) = request.key else { return P2c::new().pick(candidates, request) };
        candidates.choose_anywhere(request, |open| {
            let (mut nodes, mut calls) = (0_u64, 0_u64);
            let mut first: Option<(u64, usize, u32)> = None;
            for (index, candidate) in open.iter() {
                nodes = nodes.saturating_add(1);
                calls = calls.saturating_add(u64::from(candidate.load.in_flight()));
                let score = mix(key ^ candidate.hash);
                if first.is_none_or(|(best, ..)| score > best) {
                    first = Some((score, index, candidate.load.in_flight()));
                }
            }
            let (_, index, in_flight) = first?;
            let bound = Bound { nodes, calls };
            if bound.admits(in_flight) { Some(index) } else { next(open, key, &bound) }
        })
    }
}

/// The bound on the calls in flight of one node.
struct Bound {
    nodes: u64,
    calls: u64,
}

impl Bound {
    /// Returns whether a node with `in_flight` calls may take one more.
    fn admits(&self, in_flight: u32) -> bool {
        let share = u64::from(in_flight).saturating_add(1).saturating_mul(self.nodes);
        let allowed = self.calls.saturating_add(1).saturating_mul(LOAD_PERCENT_MAX);
        in_flight < CALLS_FREE || share.saturating_mul(100) <= allowed
    }
}

/// Returns the first node in the key's ranking that the bound admits. There is one: not all nodes
/// are above the mean.
fn next(open: &Eligible<'_>, key: u64, bound: &Bound) -> Option<usize> {
    open.iter()
        .filter(|(_, candidate)| bound.admits(candidate.load.in_flight()))
        .max_by_key(|(_, candidate)| mix(key ^ candidate.hash))
        .or_else(|| open.iter().max_by_key(|(_, candidate)| mix(key ^ candidate.hash)))
        .map(|(index, _)| index)
}

/// Returns the routing key of `bytes`, the same in every process and version.
///
/// It is no defence against callers who choose their keys to meet on one node; the bound on its
/// load is.
pub fn route_key(bytes: impl AsRef<[u8]>) -> u64 {
    mix(fnv(bytes.as_ref()))
}

pub(super) fn hash_node(id: &str) -> u64 {
    // Another start than that of keys, so that a key equal to a node's id is nothing special.
    mix(fnv(id.as_bytes()) ^ 0x9e37_79b9_7f4a_7c15)
}

/// FNV-1a, 64 bits.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The finisher of SplitMix64: every bit of the input moves every bit of the output.
pub(super) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::selector::fixture::Nodes;
    use crate::selector::fixture::assert_even;
    use crate::selector::fixture::instance;

    const KEYS: usize = 10_000;

    fn node_of(nodes: &Nodes, key: u64) -> String {
        let mut request = Pick::new(nodes.now(), "");
        request.key = Some(key);
        let index = ConsistentHash::new().pick(nodes.candidates(), &request).expect("nodes");
        nodes.candidates().get(index).expect("in range").instance.id.clone()
    }

    fn placement(nodes: &Nodes) -> Vec<String> {
        (0..KEYS).map(|n| node_of(nodes, route_key(format!("key-{n}")))).collect()
    }

    fn moved(before: &[String], after: &[String]) -> f64 {
        let moved = before.iter().zip(after).filter(|(a, b)| a != b).count();
        f64::from(u32::try_from(moved).expect("few")) / 10_000.0
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn r17_one_node_more_or_less_moves_its_share_of_the_keys(
            count in 2_u32..30, leaving in 0_u32..30, salt in any::<u32>(),
        ) {
            let id = |n: u32| format!("node-{salt}-{n}");
            let all: Vec<_> = (0..count).map(|n| instance(&id(n)).into()).collect();
            let mut nodes = Nodes::of(all);
            let before = placement(&nodes);
            let share = 1.0 / f64::from(count);

            nodes.add(instance(&id(count)));
            prop_assert!(moved(&before, &placement(&nodes)) <= share + 0.05);

            let left = id(leaving % count);
            nodes.keep_ids(|id| id != left && id != format!("node-{salt}-{count}"));
            let after = placement(&nodes);
            prop_assert!(moved(&before, &after) <= share + 0.05);
            for (was, is) in before.iter().zip(&after) {
                prop_assert!(was == is || *was == left, "a key of a node that stayed moved");
            }
        }
    }

    #[test]
    fn keys_spread_evenly_and_stay_where_they_are() {
        let nodes = Nodes::new(8);
        let placed = placement(&nodes);
        assert_eq!(placed, placement(&nodes));
        let mut counts = std::collections::BTreeMap::<_, u32>::new();
        for id in placed {
            *counts.entry(id).or_default() += 1;
        }
        assert_eq!(counts.len(), 8);
        assert_even(&counts.into_values().collect::<Vec<_>>());
    }

    #[test]
    fn an_overloaded_node_passes_keys_on_to_the_same_next_node() {
        let nodes = Nodes::new(4);
        let key = route_key("hot");
        let home = node_of(&nodes, key);
        let index_of = |id: &str| {
            nodes.candidates().iter().position(|c| c.instance.id == id).expect("it is there")
        };
        for _ in 0..CALLS_FREE {
            assert_eq!(node_of(&nodes, key), home);
            nodes.load(index_of(&home)).start();
        }
        let next = node_of(&nodes, key);
        assert_ne!(next, home);
        assert_eq!(node_of(&nodes, key), next);
        for _ in 0..CALLS_FREE {
            nodes.load(index_of(&home)).finish(
                nodes.now(),
                nodes.now(),
                crate::selector::Outcome::Success,
            );
        }
        assert_eq!(node_of(&nodes, key), home);
    }

    #[test]
    fn no_node_gets_more_than_the_bound_however_hot_a_key_is() {
        let nodes = Nodes::new(4);
        for _ in 0..400 {
            let mut request = Pick::new(nodes.now(), "");
            request.key = Some(route_key("hot"));
            let index = ConsistentHash::new().pick(nodes.candidates(), &request).expect("four");
            nodes.load(index).start();
        }
        let most = (0..4).map(|index| nodes.load(index).in_flight()).max();
        assert!(most <= Some(126), "{most:?}");
    }

    #[test]
    fn calls_without_a_key_are_balanced() {
        let picked = Nodes::new(4).tally(&ConsistentHash::new(), 1000);
        assert!(picked.iter().all(|count| *count > 100), "{picked:?}");
    }

    #[test]
    fn routing_keys_are_the_same_in_every_version() {
        assert_eq!(fnv(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv(b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(mix(0x9e37_79b9_7f4a_7c15), 0xe220_a839_7b1d_cdaf);
    }
}
