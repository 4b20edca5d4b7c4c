//! Nodes to choose among in tests, with a clock of their own.

use std::sync::Arc;
use std::time::Duration;

use crate::core::clock;
use crate::core::clock::Instant;
use crate::registry::Endpoint;
use crate::registry::Instance;

use super::Candidates;
use super::Load;
use super::LoadTable;
use super::Near;
use super::Outcome;
use super::OutlierLimits;
use super::Pick;
use super::Selector;

pub(super) fn instance(id: &str) -> Instance {
    Instance {
        id: id.into(),
        service: "greeter".into(),
        version: "1.0.0".into(),
        address: format!("127.0.0.1:{}", 1000 + id.len()),
        metadata: std::collections::BTreeMap::new(),
        endpoints: Arc::new([]),
        draining: false,
    }
}

pub(super) fn with_endpoints(id: &str, names: &[&str]) -> Instance {
    let endpoint = |name: &&str| Endpoint { name: (*name).into(), ..Endpoint::default() };
    Instance { endpoints: names.iter().map(endpoint).collect(), ..instance(id) }
}

pub(super) struct Nodes {
    table: LoadTable,
    all: Vec<Arc<Instance>>,
    candidates: Candidates,
    now: Instant,
}

impl Nodes {
    /// Makes nodes called `node-0`, `node-1` and so on, whose indexes are these numbers.
    pub(super) fn new(count: usize) -> Self {
        Self::with_limits(count, OutlierLimits::default())
    }

    pub(super) fn with_limits(count: usize, limits: OutlierLimits) -> Self {
        let all = (0..count).map(|n| Arc::new(instance(&format!("node-{n}")))).collect();
        Self::with_table(LoadTable::new(limits), all)
    }

    pub(super) fn with_endpoints(endpoints: &[&[&str]]) -> Self {
        let node =
            |(n, names): (usize, &&[&str])| Arc::new(with_endpoints(&format!("node-{n}"), names));
        Self::of(endpoints.iter().enumerate().map(node).collect())
    }

    pub(super) fn of(all: Vec<Arc<Instance>>) -> Self {
        Self::with_table(LoadTable::new(OutlierLimits::default()), all)
    }

    /// Makes nodes of which some come first.
    pub(super) fn near(all: Vec<Arc<Instance>>, near: Near) -> Self {
        Self::with_table(LoadTable::with_near(OutlierLimits::default(), near), all)
    }

    fn with_table(table: LoadTable, all: Vec<Arc<Instance>>) -> Self {
        let now = clock::now() + Duration::from_secs(1);
        let candidates = table.candidates(&all, now);
        Self { table, all, candidates, now }
    }

    pub(super) fn candidates(&self) -> &Candidates {
        &self.candidates
    }

    pub(super) fn load(&self, index: usize) -> &Arc<Load> {
        &self.candidates.get(index).expect("index in range").load
    }

    pub(super) fn ejected(&self, index: usize) -> bool {
        self.load(index).is_ejected(self.now)
    }

    pub(super) fn now(&self) -> Instant {
        self.now
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.now += by;
    }

    pub(super) fn advance_to(&mut self, now: Instant) {
        self.now = now;
    }

    /// Starts and finishes a call that ends at the present instant.
    pub(super) fn finish(&self, index: usize, took: Duration, outcome: Outcome) {
        self.load(index).start();
        self.load(index).finish(self.now + took, self.now, outcome);
    }

    /// Takes a snapshot that has only the nodes with these numbers.
    pub(super) fn keep(&mut self, keep: impl Fn(usize) -> bool) {
        let kept = self.all.iter().enumerate().filter(|(n, _)| keep(*n));
        let kept: Vec<_> = kept.map(|(_, instance)| Arc::clone(instance)).collect();
        self.candidates = self.table.candidates(&kept, self.now);
    }

    pub(super) fn keep_ids(&mut self, keep: impl Fn(&str) -> bool) {
        let kept: Vec<_> = self.all.iter().filter(|i| keep(&i.id)).map(Arc::clone).collect();
        self.candidates = self.table.candidates(&kept, self.now);
    }

    /// Takes a snapshot with all nodes.
    pub(super) fn restore(&mut self) {
        self.keep(|_| true);
    }

    pub(super) fn add(&mut self, instance: Instance) {
        self.all.push(Arc::new(instance));
        self.restore();
    }

    /// Returns how often each node is chosen.
    pub(super) fn tally(&self, policy: &dyn Selector, picks: u32) -> Vec<u32> {
        self.tally_for(policy, picks, &Pick::new(self.now, ""))
    }

    pub(super) fn tally_for(
        &self,
        policy: &dyn Selector,
        picks: u32,
        request: &Pick<'_>,
    ) -> Vec<u32> {
        let mut counts = vec![0; self.candidates.len()];
        for _ in 0..picks {
            if let Some(index) = policy.pick(&self.candidates, request) {
                counts[index] += 1;
            }
        }
        counts
    }
}

/// Asserts that counts are as even as those of independent even choices: their chi-square is below
/// its 99.99th percentile (by the Wilson-Hilferty approximation).
pub(super) fn assert_even(counts: &[u32]) {
    let cells = f64::from(u32::try_from(counts.len()).expect("few cells"));
    let mean = counts.iter().copied().map(f64::from).sum::<f64>() / cells;
    let chi_square: f64 =
        counts.iter().map(|count| (f64::from(*count) - mean).powi(2) / mean).sum();
    let freedom = (cells - 1.0).max(1.0);
    let spread = 2.0 / (9.0 * freedom);
    let limit = freedom * (1.0 - spread + 3.72 * spread.sqrt()).powi(3);
    assert!(chi_square <= limit, "chi-square {chi_square:.1} > {limit:.1}: {counts:?}");
}
