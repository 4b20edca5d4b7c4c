//! The nodes of one service as the cache believes in them.
//!
//! A registry that lost its data answers politely that nothing runs. A state that suddenly misses
//! more than half of the nodes is therefore not believed until a second answer, at least
//! [`CONFIRM_AFTER`] later, agrees; removals that a watch reports one by one always are.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::core::clock::Instant;
use crate::registry::record::Endpoint;
use crate::registry::record::Instance;
use crate::registry::record::Node;
use crate::registry::record::Record;

/// How far apart two answers must be that take away more than half of the nodes.
pub(super) const CONFIRM_AFTER: Duration = Duration::from_secs(5);

/// Distinct endpoint lists that are remembered for sharing between nodes.
const SHAPES_MAX: usize = 16;

/// One node and what its record says of the service.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) instance: Arc<Instance>,
    /// The metadata of the service, shared by equal neighbours.
    pub(super) facts: Arc<BTreeMap<String, String>>,
}

impl Known {
    /// Returns the record that this node would register.
    pub(super) fn to_record(&self) -> Record {
        let instance = &*self.instance;
        Record {
            name: instance.service.to_string(),
            version: instance.version.to_string(),
            metadata: (*self.facts).clone(),
            endpoints: instance.endpoints.to_vec(),
            nodes: vec![Node {
                id: instance.id.clone(),
                address: instance.address.clone(),
                metadata: instance.metadata.clone(),
            }],
        }
    }
}

/// The believed nodes of a service.
#[derive(Debug, Default)]
pub(super) struct Members {
    known: BTreeMap<String, Known>,
    /// Nodes that the last state did not hold. Invariant: a subset of the keys of `known`, and
    /// not empty only while `held_since` is set.
    missing: BTreeSet<String>,
    held_since: Option<Instant>,
    shapes: Vec<Arc<[Endpoint]>>,
}

impl Members {
    /// Adds or replaces the nodes of a record; returns whether anything changed.
    pub(super) fn update(&mut self, record: &Record) -> bool {
        let mut changed = false;
        let facts = self.share_facts(record);
        let endpoints = self.share_shape(record);
        for mut instance in record.instances() {
            if let Some(instance) = Arc::get_mut(&mut instance) {
                instance.endpoints = Arc::clone(&endpoints);
            }
            self.missing.remove(&instance.id);
            let same = |known: &Known| known.instance == instance && known.facts == facts;
            if !self.known.get(&instance.id).is_some_and(same) {
                let known = Known { instance, facts: Arc::clone(&facts) };
                self.known.insert(known.instance.id.clone(), known);
                changed = true;
            }
        }
        self.settle() || changed
    }

    /// Removes a node; returns whether anything changed.
    pub(super) fn remove(&mut self, node: &str) -> bool {
        self.missing.remove(node);
        let removed = self.known.remove(node).is_some();
        self.settle() || removed
    }

    /// Takes over a whole state; returns whether anything changed.
    pub(super) fn reset(&mut self, records: &[Record], now: Instant) -> bool {
        let before = self.known.len();
        let present: BTreeSet<&str> =
            records.iter().flat_map(|record| &record.nodes).map(|node| node.id.as_str()).collect();
        let (count, mut changed) = (present.len(), false);
        let gone: BTreeSet<String> =
            self.known.keys().filter(|id| !present.contains(id.as_str())).cloned().collect();
        for record in records {
            changed |= self.update(record);
        }
        let confirmed =
            self.held_since.is_some_and(|since| now.duration_since(since) >= CONFIRM_AFTER);
        if !gone.is_empty() && count.saturating_mul(2) < before && !confirmed {
            self.held_since.get_or_insert(now);
            self.missing = gone;
            return changed;
        }
        self.missing = gone;
        self.drop_missing() || changed
    }

    /// Returns when a further state should be asked for, if one is being doubted.
    pub(super) fn confirm_at(&self) -> Option<Instant> {
        self.held_since.map(|since| crate::core::clock::after(since, CONFIRM_AFTER))
    }

    /// Returns how many nodes are believed in against the last state.
    pub(super) fn doubted(&self) -> usize {
        self.missing.len()
    }

    /// Returns all nodes, sorted by id.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Known> {
        self.known.values()
    }

    /// Ends the doubt once the nodes that the registry does know are half of all again.
    fn settle(&mut self) -> bool {
        if self.held_since.is_none() {
            return false;
        }
        let present = self.known.len().saturating_sub(self.missing.len());
        if present.saturating_mul(2) < self.known.len() {
            return false;
        }
        self.drop_missing()
    }

    fn drop_missing(&mut self) -> bool {
        self.held_since = None;
        let missing = std::mem::take(&mut self.missing);
        for id in &missing {
            self.known.remove(id);
        }
        !missing.is_empty()
    }

    fn share_shape(&mut self, record: &Record) -> Arc<[Endpoint]> {
        if let Some(shape) = self.shapes.iter().find(|shape| shape[..] == record.endpoints[..]) {
            return Arc::clone(shape);
        }
        let shape: Arc<[Endpoint]> = record.endpoints.clone().into();
        if self.shapes.len() >= SHAPES_MAX {
            self.shapes.retain(|shape| Arc::strong_count(shape) > 1);
            self.shapes.truncate(SHAPES_MAX / 2);
        }
        self.shapes.push(Arc::clone(&shape));
        shape
    }

    fn share_facts(&self, record: &Record) -> Arc<BTreeMap<String, String>> {
        let neighbour = self.known.values().next().filter(|known| *known.facts == record.metadata);
        neighbour
            .map_or_else(|| Arc::new(record.metadata.clone()), |known| Arc::clone(&known.facts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::clock;

    fn state(ids: impl IntoIterator<Item = u32>) -> Vec<Record> {
        let nodes = ids.into_iter().map(|id| Node {
            id: id.to_string(),
            address: format!("127.0.0.1:{}", id + 1),
            ..Node::default()
        });
        vec![Record { name: "greeter".into(), nodes: nodes.collect(), ..Record::default() }]
    }

    fn members(count: u32) -> (Members, Instant) {
        let (mut members, now) = (Members::default(), clock::now());
        members.reset(&state(0..count), now);
        assert_eq!(u32::try_from(members.nodes().count()), Ok(count));
        (members, now)
    }

    #[tokio::test(start_paused = true)]
    async fn losing_half_is_believed_and_losing_more_is_confirmed_first() {
        let (mut ten, now) = members(10);
        assert!(ten.reset(&state(0..5), now));
        assert_eq!((ten.nodes().count(), ten.confirm_at()), (5, None));

        let (mut ten, now) = members(10);
        assert!(!ten.reset(&state(0..4), now));
        assert_eq!((ten.nodes().count(), ten.doubted()), (10, 6));
        assert_eq!(ten.confirm_at(), Some(now + CONFIRM_AFTER));
        assert!(!ten.reset(&state(0..4), now + CONFIRM_AFTER / 2), "too soon to confirm");
        assert!(ten.reset(&state(0..4), now + CONFIRM_AFTER));
        assert_eq!((ten.nodes().count(), ten.confirm_at()), (4, None));
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_answer_is_doubted_even_for_one_node() {
        let (mut one, now) = members(1);
        assert!(!one.reset(&[], now));
        assert_eq!(one.nodes().count(), 1);
        assert!(one.reset(&[], now + CONFIRM_AFTER));
        assert_eq!(one.nodes().count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn r4_explicit_removals_are_believed_at_once() {
        let (mut ten, now) = members(10);
        for id in 0..10 {
            assert!(ten.remove(&id.to_string()));
        }
        assert_eq!((ten.nodes().count(), ten.confirm_at()), (0, None));
        assert!(!ten.reset(&[], now));
        assert_eq!(ten.confirm_at(), None, "nothing is missing from nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_that_return_end_the_doubt() {
        let (mut ten, now) = members(10);
        ten.reset(&[], now);
        for id in 0..4 {
            ten.update(&state([id])[0]);
            assert_eq!(ten.nodes().count(), 10);
        }
        assert!(ten.update(&state([4])[0]), "half are back: the rest is gone");
        assert_eq!((ten.nodes().count(), ten.confirm_at()), (5, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_replacement_of_equal_size_is_no_loss() {
        let (mut ten, now) = members(10);
        assert!(ten.reset(&state(10..20), now));
        assert_eq!(ten.nodes().map(|known| known.instance.id.len()).sum::<usize>(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_repeated_state_changes_nothing_and_endpoints_are_shared() {
        let (mut ten, now) = members(10);
        assert!(!ten.reset(&state(0..10), now));
        let first = Arc::clone(&ten.nodes().next().unwrap().instance.endpoints);
        assert!(ten.nodes().all(|known| Arc::ptr_eq(&known.instance.endpoints, &first)));
    }
}
