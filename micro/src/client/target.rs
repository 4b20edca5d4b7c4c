//! The nodes of one service as its callers see them.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::time::Instant;

use crate::client::Inner;
use crate::client::peer::Peer;
use crate::core::budget::Budget;
use crate::registry::{Instance, View};
use crate::selector::{Candidates, LoadTable, Near, OutlierLimits};

/// Follows the snapshots of a service and keeps the connections of its nodes.
pub(super) struct Target {
    pub(super) view: Arc<View>,
    /// The retries of calls to this service, whose outage thus takes nothing from others.
    pub(super) budget: Arc<Budget>,
    loads: LoadTable,
    nodes: ArcSwap<Nodes>,
    /// Held while the nodes are joined anew after a change.
    joining: Mutex<Joining>,
}

/// The ids of nodes whose address was found unreadable in the latest snapshot.
type Joining = BTreeSet<String>;

/// The nodes of one snapshot; `peers` stand in the order of `candidates`.
#[derive(Debug)]
pub(super) struct Nodes {
    revision: u64,
    pub(super) candidates: Candidates,
    peers: Vec<Arc<Peer>>,
}

impl Nodes {
    /// Returns the peer of a candidate.
    pub(super) fn peer(&self, index: usize) -> Option<&Arc<Peer>> {
        self.peers.get(index)
    }
}

impl Target {
    pub(super) fn new(view: Arc<View>, budget: Arc<Budget>, rules: (OutlierLimits, Near)) -> Self {
        let loads = LoadTable::with_near(rules.0, rules.1);
        let candidates = loads.candidates(&[], crate::core::clock::now());
        let nodes = Nodes { revision: 0, candidates, peers: Vec::new() };
        let nodes = ArcSwap::from_pointee(nodes);
        Self { view, budget, loads, nodes, joining: Mutex::default() }
    }

    /// Returns the nodes of the latest snapshot without waiting.
    pub(super) fn nodes(&self, client: &Inner, now: Instant) -> Arc<Nodes> {
        let nodes = self.nodes.load_full();
        if nodes.revision == self.view.load().revision {
            return nodes;
        }
        self.join(client, now);
        self.nodes.load_full()
    }

    fn join(&self, client: &Inner, now: Instant) {
        let mut joining = self.joining.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = self.view.snapshot();
        if self.nodes.load().revision == snapshot.revision {
            return;
        }
        let instances = self.readable(&snapshot.instances, &mut joining);
        let candidates = self.loads.candidates(&instances, now);
        let address = |instance: &Instance| instance.dialed().ok();
        let peers: Vec<_> = candidates
            .iter()
            .filter_map(|candidate| Some(client.pool.peer(&address(&candidate.instance)?)))
            .collect();
        debug_assert_eq!(peers.len(), candidates.len(), "each candidate has a peer");
        self.nodes.store(Arc::new(Nodes { revision: snapshot.revision, candidates, peers }));
    }

    /// Leaves out the nodes whose address this process cannot read, and says so once for each.
    fn readable(&self, instances: &[Arc<Instance>], known: &mut Joining) -> Vec<Arc<Instance>> {
        let mut unreadable = Joining::new();
        let mut readable = Vec::with_capacity(instances.len());
        for instance in instances {
            match instance.dialed() {
                Ok(_) => readable.push(Arc::clone(instance)),
                Err(error) => {
                    if !known.contains(&instance.id) {
                        let (service, node) = (self.view.service(), &instance.id);
                        tracing::warn!(service, node, %error, "node has no readable address");
                    }
                    unreadable.insert(instance.id.clone());
                }
            }
        }
        *known = unreadable;
        readable
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("service", &self.view.service()).finish_non_exhaustive()
    }
}
