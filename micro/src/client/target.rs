//! The nodes of one service as its callers see them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::time::Instant;

use crate::client::Inner;
use crate::client::peer::Peer;
use crate::core::net::Address;
use crate::registry::View;
use crate::selector::{Candidates, LoadTable, OutlierLimits};

/// Follows the snapshots of a service and keeps the connections of its nodes.
pub(super) struct Target {
    pub(super) view: Arc<View>,
    loads: LoadTable,
    nodes: ArcSwap<Nodes>,
    /// Held while the nodes are joined anew after a change.
    joining: Mutex<()>,
}

/// The nodes of one snapshot; `peers` stand in the order of `candidates`.
#[derive(Debug)]
pub(super) struct Nodes {
    revision: u64,
    pub(super) candidates: Candidates,
    /// None for an address that this process cannot read.
    peers: Vec<Option<Arc<Peer>>>,
}

impl Nodes {
    /// Returns the peer of a candidate.
    pub(super) fn peer(&self, index: usize) -> Option<&Arc<Peer>> {
        self.peers.get(index)?.as_ref()
    }
}

impl Target {
    pub(super) fn new(view: Arc<View>) -> Self {
        let loads = LoadTable::new(OutlierLimits::default());
        let candidates = loads.candidates(&[], crate::core::clock::now());
        let nodes = Nodes { revision: 0, candidates, peers: Vec::new() };
        Self { view, loads, nodes: ArcSwap::from_pointee(nodes), joining: Mutex::new(()) }
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
        let _joining = self.joining.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = self.view.snapshot();
        if self.nodes.load().revision == snapshot.revision {
            return;
        }
        let candidates = self.loads.candidates(&snapshot.instances, now);
        let peer = |address: &str| {
            let address: Address = address.parse().ok()?;
            Some(client.pool.peer(&address))
        };
        let peers = candidates.iter().map(|c| peer(&c.instance.address)).collect();
        self.nodes.store(Arc::new(Nodes { revision: snapshot.revision, candidates, peers }));
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("service", &self.view.service()).finish_non_exhaustive()
    }
}
