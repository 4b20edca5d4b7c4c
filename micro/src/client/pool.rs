//! The nodes a client is connected to, by address.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::client::peer::Peer;
use crate::core::net::Address;

/// Finds the peer of an address; nodes of several services at one address share it.
///
/// Whoever calls a node keeps its peer alive: the peers of nodes that left the registry drain.
#[derive(Debug)]
pub(super) struct Pool {
    connections: usize,
    peers: Mutex<HashMap<Address, Weak<Peer>>>,
}

impl Pool {
    pub(super) fn new(connections: usize) -> Self {
        Self { connections, peers: Mutex::new(HashMap::new()) }
    }

    pub(super) fn peer(&self, address: &Address) -> Arc<Peer> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = peers.get(address).and_then(Weak::upgrade) {
            return peer;
        }
        peers.retain(|_, peer| peer.strong_count() > 0);
        let peer = Arc::new(Peer::new(address.clone(), self.connections));
        peers.insert(address.clone(), Arc::downgrade(&peer));
        peer
    }

    pub(super) fn drain(&self) {
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.values().filter_map(Weak::upgrade).for_each(|peer| peer.drain());
    }
}
