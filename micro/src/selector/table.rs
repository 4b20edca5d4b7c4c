//! The loads of one service's nodes, kept outside the snapshots.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use crate::core::clock;
use crate::core::clock::Instant;
use crate::registry::Instance;

use super::candidates::Candidate;
use super::candidates::Candidates;
use super::load::Load;
use super::near::Near;
use super::outlier::OutlierLimits;
use super::outlier::Outliers;

/// How long the load of a node that went away is kept, so that a node that comes and goes keeps
/// its ejections.
const ABSENT_KEPT: Duration = Duration::from_secs(600);

/// How many loads of absent nodes are kept; beyond it the longest absent are dropped.
const ABSENT_MAX: usize = 1_000;

/// The loads of one service's nodes by node id; they outlive the snapshots they are in.
///
/// Keep one for each service, for as long as the client lives.
pub struct LoadTable {
    outliers: Arc<Outliers>,
    near: Near,
    cursor: Arc<AtomicUsize>,
    /// Locked when the nodes change, never to choose one.
    kept: Mutex<HashMap<String, Kept>>,
}

struct Kept {
    load: Arc<Load>,
    /// When the node went away, if it is away.
    absent_since: Option<Instant>,
}

impl LoadTable {
    /// Makes an empty table for a caller to whom all nodes are alike.
    pub fn new(limits: OutlierLimits) -> Self {
        Self::with_near(limits, Near::all())
    }

    /// Makes an empty table for a caller to whom some nodes come first.
    pub fn with_near(limits: OutlierLimits, near: Near) -> Self {
        Self {
            outliers: Arc::new(Outliers::new(limits, clock::now())),
            near,
            cursor: Arc::default(),
            kept: Mutex::default(),
        }
    }

    /// Joins the nodes of a snapshot with their loads.
    ///
    /// Call it once for each change of the snapshot: it costs a walk over all nodes. Nodes whose id
    /// is known keep their load. Of several nodes with one id only the first is taken.
    pub fn candidates(&self, instances: &[Arc<Instance>], now: Instant) -> Candidates {
        let seconds = self.outliers.seconds(now);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *kept);
        let mut items = Vec::with_capacity(instances.len());
        for instance in instances {
            if kept.contains_key(&instance.id) {
                continue;
            }
            let load = match before.remove(&instance.id) {
                Some(known) => {
                    if known.absent_since.is_some() {
                        known.load.warm_up(seconds);
                    }
                    known.load
                }
                None => Arc::new(Load::new(Arc::clone(&self.outliers), seconds)),
            };
            load.set_member(true);
            items.push(Candidate::new(Arc::clone(instance), Arc::clone(&load)));
            kept.insert(instance.id.clone(), Kept { load, absent_since: None });
        }
        kept.extend(absent(before, now));
        self.outliers.set_members(items.iter().map(|item| &*item.load), seconds);
        drop(kept);
        let tiers = self.near.sort(&mut items);
        Candidates::new((items, tiers), Arc::clone(&self.outliers), Arc::clone(&self.cursor))
    }
}

impl fmt::Debug for LoadTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("LoadTable").field("kept", &kept.len()).finish_non_exhaustive()
    }
}

/// Returns those of the nodes without a place in the snapshot that are worth keeping.
fn absent(nodes: HashMap<String, Kept>, now: Instant) -> Vec<(String, Kept)> {
    let mut absent: Vec<(Instant, String, Arc<Load>)> = nodes
        .into_iter()
        .map(|(id, node)| (node.absent_since.unwrap_or(now), id, node.load))
        .filter(|(since, ..)| now.saturating_duration_since(*since) < ABSENT_KEPT)
        .collect();
    absent.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    absent.truncate(ABSENT_MAX);
    let keep = |(since, id, load): (Instant, String, Arc<Load>)| {
        load.set_member(false);
        (id, Kept { load, absent_since: Some(since) })
    };
    absent.into_iter().map(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selector::Outcome;
    use crate::selector::fixture::Nodes;
    use crate::selector::fixture::instance;

    #[test]
    fn the_load_of_a_node_survives_a_change_of_the_snapshot() {
        let mut nodes = Nodes::new(3);
        nodes.load(1).start();
        let before = Arc::clone(nodes.load(1));
        nodes.keep(|index| index > 0);
        assert!(Arc::ptr_eq(&before, nodes.load(0)));
        assert_eq!(nodes.load(0).in_flight(), 1);
    }

    #[test]
    fn a_node_that_comes_and_goes_keeps_its_ejection() {
        let mut nodes = Nodes::new(3);
        nodes.finish(0, Duration::from_secs(1), Outcome::Unreachable);
        nodes.keep(|index| index > 0);
        nodes.advance(Duration::from_secs(5));
        nodes.restore();
        assert!(nodes.ejected(0));
    }

    #[test]
    fn absent_nodes_take_no_place_among_the_ejected() {
        let mut nodes = Nodes::new(3);
        nodes.finish(0, Duration::from_secs(1), Outcome::Unreachable);
        nodes.keep(|index| index > 0);
        nodes.finish(0, Duration::from_secs(1), Outcome::Unreachable);
        assert!(nodes.ejected(0), "the place of the absent one is free");
    }

    #[test]
    fn absent_nodes_are_forgotten_in_time_and_in_number() {
        let table = LoadTable::new(OutlierLimits::default());
        let start = clock::now();
        let many: Vec<_> =
            (0..ABSENT_MAX + 500).map(|n| Arc::new(instance(&n.to_string()))).collect();
        let kept = |table: &LoadTable| table.kept.lock().expect("no panic").len();
        table.candidates(&many, start);
        assert_eq!(kept(&table), ABSENT_MAX + 500);
        table.candidates(&[], start + Duration::from_secs(1));
        assert_eq!(kept(&table), ABSENT_MAX);
        table.candidates(&[], start + Duration::from_secs(1) + ABSENT_KEPT);
        assert_eq!(kept(&table), 0);
    }

    #[test]
    fn a_repeated_id_is_one_node() {
        let nodes = Nodes::of(vec![Arc::new(instance("a")), Arc::new(instance("a"))]);
        assert_eq!(nodes.candidates().len(), 1);
    }
}
