//! The nodes of one snapshot, prepared for choosing among them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use crate::registry::Instance;

use super::Pick;
use super::consistent_hash::hash_node;
use super::eligible::Eligible;
use super::load::Load;
use super::near::CALLS_BUSY;
use super::near::Tiers;
use super::outlier::Outliers;
use super::skew::Skew;

/// A node that may be chosen.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Candidate {
    /// What the registry says of the node.
    pub instance: Arc<Instance>,
    /// What calls to the node say of it.
    pub load: Arc<Load>,
    /// The hash of the node's id.
    pub(super) hash: u64,
}

impl Candidate {
    pub(super) fn new(instance: Arc<Instance>, load: Arc<Load>) -> Self {
        let hash = hash_node(&instance.id);
        Self { instance, load, hash }
    }
}

/// The nodes of one snapshot; immutable. Made by [`LoadTable::candidates`](super::LoadTable::candidates).
pub struct Candidates {
    /// What comes first stands in front, draining nodes stand at the end.
    items: Box<[Candidate]>,
    tiers: Tiers,
    skew: Skew,
    outliers: Arc<Outliers>,
    /// Kept by service, so that it survives changes of the snapshot.
    cursor: Arc<AtomicUsize>,
}

impl Candidates {
    pub(super) fn new(
        (items, tiers): (Vec<Candidate>, Tiers),
        outliers: Arc<Outliers>,
        cursor: Arc<AtomicUsize>,
    ) -> Self {
        let skew = Skew::of(&items);
        Self { items: items.into(), tiers, skew, outliers, cursor }
    }

    /// Returns how many nodes there are, draining and ejected ones included.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Returns whether there is no node at all.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Returns a node by the index that [`Selector::pick`](super::Selector::pick) chose.
    pub fn get(&self, index: usize) -> Option<&Candidate> {
        self.items.get(index)
    }

    /// Returns all nodes in the order of their indexes: those that come [first](super::Near) in
    /// front, draining ones last, else by id.
    pub fn iter(&self) -> std::slice::Iter<'_, Candidate> {
        self.items.iter()
    }

    /// Lets `policy` choose among the nodes that the request allows.
    ///
    /// Nodes that failed this call, that the filter refuses, or that lack an endpoint which others
    /// have are never offered. Nodes in good standing are offered first, and of these the
    /// [near](super::Near) ones before all; if the policy finds none of them open, ejected nodes
    /// are offered too; then draining ones. When too many nodes are ejected at once, ejection is
    /// ignored altogether. A single node skips all that.
    ///
    /// `policy` is called up to five times and returns `None` only if no offered node
    /// [is open](Eligible::is_open).
    pub fn choose(
        &self,
        request: &Pick<'_>,
        policy: impl Fn(&Eligible<'_>) -> Option<usize>,
    ) -> Option<usize> {
        if let Some(near) = self.choose_near(request, &policy) {
            return Some(near);
        }
        self.choose_anywhere(request, policy)
    }

    /// Lets `policy` choose among the nodes in good standing that come first; nothing where all are
    /// alike.
    fn choose_near(
        &self,
        request: &Pick<'_>,
        policy: &impl Fn(&Eligible<'_>) -> Option<usize>,
    ) -> Option<usize> {
        let Tiers { ready, zone, subset } = self.tiers;
        if zone == ready && subset.is_none() {
            return None;
        }
        let serving = self.skew.serving(request.endpoint);
        let mut offered = Eligible::new(&self.items, 0..zone, request, serving);
        if self.outliers.in_force(request.now) {
            offered = offered.without_ejected(self.outliers.seconds(request.now));
        }
        let is_idle = |index: &usize| {
            self.items.get(*index).is_some_and(|node| node.load.in_flight() < CALLS_BUSY)
        };
        let kept = subset.and_then(|part| policy(&offered.within(0..part))).filter(is_idle);
        kept.or_else(|| if zone < ready { policy(&offered) } else { None })
    }

    /// Lets `policy` choose as [`Self::choose`] does, but with all nodes alike.
    pub(super) fn choose_anywhere(
        &self,
        request: &Pick<'_>,
        policy: impl Fn(&Eligible<'_>) -> Option<usize>,
    ) -> Option<usize> {
        let serving = self.skew.serving(request.endpoint);
        let all = Eligible::new(&self.items, 0..self.items.len(), request, serving);
        if self.items.len() == 1 {
            return all.is_open(0).then_some(0);
        }
        let ready = all.within(0..self.tiers.ready);
        if self.outliers.in_force(request.now) {
            let standing = ready.without_ejected(self.outliers.seconds(request.now));
            if let Some(index) = policy(&standing) {
                return Some(index);
            }
        }
        policy(&ready).or_else(|| policy(&all.within(self.tiers.ready..self.items.len())))
    }

    /// Returns the next number of a sequence that all callers of the service share.
    pub(super) fn turn(&self) -> usize {
        self.cursor.fetch_add(1, Relaxed)
    }
}

impl<'a> IntoIterator for &'a Candidates {
    type Item = &'a Candidate;
    type IntoIter = std::slice::Iter<'a, Candidate>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for Candidates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::selector::ConsistentHash;
    use crate::selector::LeastConnections;
    use crate::selector::Outcome;
    use crate::selector::P2c;
    use crate::selector::Random;
    use crate::selector::RoundRobin;
    use crate::selector::Selector;
    use crate::selector::fixture::Nodes;
    use crate::selector::fixture::instance;

    #[test]
    fn a_draining_node_is_chosen_only_when_it_is_alone() {
        let draining = |id: &str| Arc::new(Instance { draining: true, ..instance(id) });
        let nodes = Nodes::of(vec![draining("a"), Arc::new(instance("b")), draining("c")]);
        let picked = nodes.tally(&Random::new(), 1000);
        assert_eq!(nodes.candidates().get(0).expect("three").instance.id, "b");
        assert_eq!(picked, [1000, 0, 0]);
        let nodes = Nodes::of(vec![draining("a")]);
        assert_eq!(nodes.tally(&Random::new(), 10), [10]);
        let nodes = Nodes::of(vec![draining("a"), draining("b")]);
        assert!(nodes.tally(&Random::new(), 1000).iter().all(|count| *count > 0));
    }

    #[test]
    fn an_ejected_node_is_chosen_before_a_draining_one() {
        let draining = Arc::new(Instance { draining: true, ..instance("b") });
        let nodes = Nodes::of(vec![Arc::new(instance("a")), draining]);
        nodes.finish(0, Duration::from_secs(1), Outcome::Unreachable);
        assert_eq!(nodes.tally(&Random::new(), 100), [100, 0]);
    }

    #[test]
    fn a_single_ejected_node_is_still_used() {
        let nodes = Nodes::new(1);
        nodes.finish(0, Duration::from_secs(1), Outcome::Unreachable);
        assert_eq!(nodes.tally(&Random::new(), 10), [10]);
    }

    #[test]
    fn an_exclusion_from_an_older_snapshot_still_holds() {
        let nodes = Nodes::new(2);
        let older = [Arc::new(Instance { address: "elsewhere:1".into(), ..instance("node-0") })];
        let mut request = Pick::new(nodes.now(), "");
        request.excluded = &older;
        assert_eq!(nodes.tally_for(&Random::new(), 100, &request), [0, 100]);
    }

    fn policies() -> Vec<Box<dyn Selector>> {
        vec![
            Box::new(P2c::new()),
            Box::new(Random::new()),
            Box::new(RoundRobin::new()),
            Box::new(LeastConnections::new()),
            Box::new(ConsistentHash::new()),
        ]
    }

    proptest! {
        #[test]
        fn what_is_excluded_or_filtered_is_never_chosen_and_what_is_open_always(
            states in prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>(), 0_u8..4), 0..40),
            key in any::<Option<u64>>(),
        ) {
            let nodes = Nodes::of(
                states
                    .iter()
                    .enumerate()
                    .map(|(n, (_, _, draining, _))| {
                        Arc::new(Instance { draining: *draining, ..instance(&format!("n{n:02}")) })
                    })
                    .collect(),
            );
            let state = |i: &Instance| states[i.id[1..].parse::<usize>().expect("a number")];
            for (index, candidate) in nodes.candidates().iter().enumerate() {
                for _ in 0..state(&candidate.instance).3 {
                    nodes.finish(index, Duration::from_millis(1), Outcome::Failure);
                }
            }
            let excluded: Vec<_> = nodes
                .candidates()
                .iter()
                .map(|c| Arc::clone(&c.instance))
                .filter(|i| state(i).0)
                .collect();
            let filter = |i: &Instance| !state(i).1;
            let mut request = Pick::new(nodes.now(), "");
            request.key = key;
            request.excluded = &excluded;
            request.filter = Some(&filter);
            let allowed = |i: &Instance| !state(i).0 && !state(i).1;
            let some_allowed = nodes.candidates().iter().any(|c| allowed(&c.instance));
            let some_ready =
                nodes.candidates().iter().any(|c| allowed(&c.instance) && !c.instance.draining);
            for policy in policies() {
                let picked = policy.pick(nodes.candidates(), &request);
                prop_assert_eq!(picked.is_some(), some_allowed, "{}", policy.name());
                if let Some(index) = picked {
                    let node = &nodes.candidates().get(index).expect("in range").instance;
                    prop_assert!(allowed(node), "{}", policy.name());
                    prop_assert!(!(node.draining && some_ready), "{}", policy.name());
                }
            }
        }
    }
}
