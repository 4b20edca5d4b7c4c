//! Which nodes a caller keeps to as long as they can take its calls: those of its zone, and of
//! many a few.

use super::candidates::Candidate;
use super::consistent_hash::mix;

/// Nodes above which a caller keeps to a part of them (R11): 100, so that many callers of many
/// nodes do not hold a connection for each pair.
const SUBSET_ABOVE: usize = 100;

/// Nodes of such a part (R11): 16, so that the loss of one moves little.
const SUBSET_NODES: usize = 16;

/// Calls in flight to a node of the part from which on further ones go to all nodes: a few callers
/// of many nodes may use them all.
pub(super) const CALLS_BUSY: u32 = 8;

/// Which nodes of a service come first.
///
/// Nodes of the caller's zone come before others. Of more than [`subset_above`](Self::subset_above)
/// nodes a caller keeps to [`subset_nodes`](Self::subset_nodes), each caller to others: those that
/// rank first by a hash of the caller's seed and the node's id. A node that comes or goes changes
/// at most one of them, and over many callers each node is in about as many parts.
///
/// Whatever comes first is left when none of it is open to a call: filtered out, ejected, failed
/// before or without the endpoint. A part is also left while the node chosen in it has eight calls
/// in flight. Routing keys look at all nodes, so that all callers rank alike.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Near {
    /// The zone of the caller; nodes say theirs in their metadata, as `zone`. None by default.
    pub zone: Option<String>,
    /// Nodes above which a caller keeps to a part of them: 100.
    pub subset_above: usize,
    /// Nodes of such a part: 16.
    pub subset_nodes: usize,
    /// What tells callers apart, random by default.
    pub seed: u64,
}

impl Default for Near {
    fn default() -> Self {
        let (subset_above, subset_nodes) = (SUBSET_ABOVE, SUBSET_NODES);
        Self { zone: None, subset_above, subset_nodes, seed: fastrand::u64(..) }
    }
}

impl Near {
    /// Treats all nodes alike, however many there are.
    pub fn all() -> Self {
        Self { zone: None, subset_above: usize::MAX, subset_nodes: usize::MAX, seed: 0 }
    }

    /// Prefers the nodes of a zone.
    #[must_use]
    pub fn with_zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// Keeps to `nodes` of more than `above`.
    #[must_use]
    pub fn with_subset(mut self, above: usize, nodes: usize) -> Self {
        (self.subset_above, self.subset_nodes) = (above, nodes.max(1));
        self
    }

    /// Tells this caller from others: those with one seed keep to the same nodes.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sorts what comes first to the front and what drains to the end.
    pub(super) fn sort(&self, items: &mut [Candidate]) -> Tiers {
        let here = |item: &Candidate| {
            self.zone.as_ref().is_some_and(|zone| item.instance.metadata.get("zone") == Some(zone))
        };
        items.sort_by_key(|item| (item.instance.draining, !here(item)));
        let ready = items.partition_point(|item| !item.instance.draining);
        let offered = items.get_mut(..ready).unwrap_or_default();
        let zone = match offered.partition_point(here) {
            0 => ready,
            near => near,
        };
        let mut tiers = Tiers { ready, zone, subset: None };
        let closest = offered.get_mut(..zone).unwrap_or_default();
        if zone > self.subset_above && zone > self.subset_nodes {
            closest.sort_by_cached_key(|item| std::cmp::Reverse(mix(self.seed ^ item.hash)));
            // Within and beyond the part by id, as everywhere.
            let (part, rest) = closest.split_at_mut(self.subset_nodes);
            for half in [part, rest] {
                half.sort_by(|a, b| a.instance.id.cmp(&b.instance.id));
            }
            tiers.subset = Some(self.subset_nodes);
        }
        tiers
    }
}

/// How many of the sorted nodes come first. Invariant: `subset <= zone <= ready`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tiers {
    /// Those that do not drain.
    pub(super) ready: usize,
    /// Those of the caller's zone; all that do not drain, if it has none there.
    pub(super) zone: usize,
    /// The part of them that the caller keeps to.
    pub(super) subset: Option<usize>,
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::registry::Instance;
    use crate::selector::fixture::{Nodes, instance};
    use crate::selector::{ConsistentHash, P2c, Pick, RoundRobin, Selector, route_key};

    fn many(count: usize) -> Vec<Instance> {
        (0..count).map(|n| instance(&format!("node-{n:04}"))).collect()
    }

    fn nodes(all: Vec<Instance>, near: Near) -> Nodes {
        Nodes::near(all.into_iter().map(Into::into).collect(), near)
    }

    fn chosen(nodes: &Nodes, policy: &dyn Selector, request: &Pick<'_>) -> BTreeSet<String> {
        let pick = |_| {
            let index = policy.pick(nodes.candidates(), request)?;
            Some(nodes.candidates().get(index)?.instance.id.clone())
        };
        (0..2000).filter_map(pick).collect()
    }

    /// Returns the nodes that a caller keeps to.
    fn kept(all: Vec<Instance>, seed: u64) -> BTreeSet<String> {
        let nodes = nodes(all, Near::default().with_seed(seed));
        chosen(&nodes, &RoundRobin::new(), &Pick::new(nodes.now(), ""))
    }

    #[test]
    fn r11_of_a_hundred_nodes_all_are_used_and_of_more_a_part() {
        for (count, used) in [(1, 1), (16, 16), (100, 100), (101, 16), (1000, 16)] {
            assert_eq!(kept(many(count), 7).len(), used, "of {count}");
        }
        assert_eq!(kept(many(500), 7), kept(many(500), 7), "one caller keeps to the same");
        assert_ne!(kept(many(500), 7), kept(many(500), 8), "others keep to others");
    }

    #[test]
    fn every_node_is_in_about_as_many_parts() {
        let (callers, mean) = (1000, 80.0);
        let mut counts: BTreeMap<String, f64> =
            many(200).into_iter().map(|node| (node.id, 0.0)).collect();
        for seed in 0..callers {
            // As random as the seeds of processes.
            for id in kept(many(200), mix(seed)) {
                *counts.get_mut(&id).unwrap() += 1.0;
            }
        }
        // Binomial: a deviation of 8.6, and 184 expected of the sum; its own deviation is 19.
        let far = counts.iter().find(|(_, count)| (**count - mean).abs() > 45.0);
        assert_eq!(far, None);
        let sum: f64 = counts.values().map(|count| (count - mean).powi(2) / mean).sum();
        assert!((90.0..280.0).contains(&sum), "{sum}");
    }

    #[test]
    fn a_node_that_comes_or_goes_changes_one_node_of_a_part_at_most() {
        for seed in 0..50 {
            let before = kept(many(200), seed);
            let more = kept(many(201), seed);
            assert!(before.difference(&more).count() <= 1, "one came");
            for gone in before.iter().take(3) {
                let left = many(200).into_iter().filter(|node| node.id != *gone).collect();
                let after = kept(left, seed);
                assert_eq!(before.difference(&after).collect::<Vec<_>>(), [gone]);
            }
            let others = many(200).into_iter().filter(|node| before.contains(&node.id));
            let stranger = many(200).into_iter().find(|node| !before.contains(&node.id)).unwrap();
            assert_eq!(others.count(), 16);
            let left = many(200).into_iter().filter(|node| node.id != stranger.id).collect();
            assert_eq!(kept(left, seed), before, "a node of others went");
        }
    }

    #[test]
    fn a_busy_part_is_left() {
        let nodes = nodes(many(200), Near::default().with_seed(3));
        let request = Pick::new(nodes.now(), "");
        assert_eq!(chosen(&nodes, &P2c::new(), &request).len(), SUBSET_NODES);
        for index in 0..SUBSET_NODES {
            for _ in 0..CALLS_BUSY {
                nodes.load(index).start();
            }
        }
        assert!(chosen(&nodes, &P2c::new(), &request).len() > 100);
        // Room in it again is taken again.
        for index in 0..SUBSET_NODES {
            for _ in 0..CALLS_BUSY {
                let (load, now) = (nodes.load(index), nodes.now());
                load.finish(now, now, crate::selector::Outcome::Success);
            }
        }
        assert_eq!(chosen(&nodes, &P2c::new(), &request).len(), SUBSET_NODES);
    }

    #[test]
    fn a_part_of_which_nothing_is_open_is_left() {
        let part = kept(many(200), 3);
        let nodes = nodes(many(200), Near::default().with_seed(3));
        let others = |node: &Instance| !part.contains(&node.id);
        let mut request = Pick::new(nodes.now(), "");
        request.filter = Some(&others);
        assert_eq!(chosen(&nodes, &RoundRobin::new(), &request).len(), 184);
    }

    #[test]
    fn a_routing_key_finds_the_same_node_whoever_asks() {
        let one = nodes(many(200), Near::default().with_seed(1).with_zone("a"));
        let two = nodes(many(200), Near::default().with_seed(2));
        let of = |nodes: &Nodes, key: &str| {
            let mut request = Pick::new(nodes.now(), "");
            request.key = Some(route_key(key));
            chosen(nodes, &ConsistentHash::new(), &request)
        };
        for key in ["a", "b", "c", "d", "e"] {
            assert_eq!(of(&one, key).len(), 1);
            assert_eq!(of(&one, key), of(&two, key), "{key}");
        }
    }

    fn in_zone(mut node: Instance, zone: &str) -> Instance {
        node.metadata.insert("zone".into(), zone.into());
        node
    }

    #[test]
    fn nodes_of_the_own_zone_go_first_while_one_of_them_is_open() {
        let zones = ["a", "b", "b", "c"];
        let all = || -> Vec<_> {
            many(4).into_iter().zip(zones).map(|(node, zone)| in_zone(node, zone)).collect()
        };
        let ids = |numbers: &[usize]| -> BTreeSet<_> {
            numbers.iter().map(|n| format!("node-{n:04}")).collect()
        };
        for (zone, used) in [("a", &[0][..]), ("b", &[1, 2]), ("mars", &[0, 1, 2, 3])] {
            let nodes = nodes(all(), Near::all().with_zone(zone));
            let request = Pick::new(nodes.now(), "");
            assert_eq!(chosen(&nodes, &P2c::new(), &request), ids(used), "{zone}");
        }
        let mut nodes = nodes(all(), Near::all().with_zone("a"));
        nodes.finish(0, std::time::Duration::from_secs(1), crate::selector::Outcome::Unreachable);
        let request = Pick::new(nodes.now(), "");
        assert_eq!(chosen(&nodes, &P2c::new(), &request), ids(&[1, 2, 3]), "ejected");
        nodes.keep(|n| n > 0);
        assert_eq!(chosen(&nodes, &P2c::new(), &Pick::new(nodes.now(), "")), ids(&[1, 2, 3]));
    }

    #[test]
    fn of_many_nodes_of_a_zone_a_part_is_used() {
        let zone = |(n, node)| in_zone(node, if n % 2 == 0 { "a" } else { "b" });
        let all: Vec<_> = many(400).into_iter().enumerate().map(zone).collect();
        let nodes = nodes(all, Near::default().with_zone("b"));
        let used = chosen(&nodes, &RoundRobin::new(), &Pick::new(nodes.now(), ""));
        assert_eq!(used.len(), SUBSET_NODES);
        let odd = |id: &String| id.ends_with(['1', '3', '5', '7', '9']);
        assert!(used.iter().all(odd), "{used:?}");
    }
}
