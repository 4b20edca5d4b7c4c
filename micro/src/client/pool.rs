//! The nodes a client is connected to, by address.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::client::peer::Peer;
use crate::client::recent::Recent;
use crate::core::clock;
use crate::core::net::Address;

/// Addresses named by calls whose connections are kept from one call to the next; beyond it those
/// named longest ago go.
const NAMED_MAX: usize = 256;

/// Finds the peer of an address; nodes of several services at one address share it.
///
/// Whoever calls a node keeps its peer alive: the peers of nodes that left the registry drain.
#[derive(Debug)]
pub(super) struct Pool {
    connections: usize,
    peers: Mutex<Peers>,
}

#[derive(Debug)]
struct Peers {
    known: HashMap<Address, Weak<Peer>>,
    /// The peers that nothing but calls to their address keeps alive.
    named: Recent<Address, Arc<Peer>>,
    drained: bool,
}

impl Pool {
    /// Makes a pool that spreads the calls to a node over so many connections, and keeps a named
    /// address for `idle` after the last call.
    pub(super) fn new(connections: usize, idle: Duration) -> Self {
        let named = Recent::new(NAMED_MAX, idle);
        let peers = Peers { known: HashMap::new(), named, drained: false };
        Self { connections, peers: Mutex::new(peers) }
    }

    /// Finds the peer of a node, kept alive by the caller.
    pub(super) fn peer(&self, address: &Address) -> Arc<Peer> {
        self.find(&mut self.lock(), address)
    }

    /// Finds the peer of an address that a call names, kept alive for further calls.
    pub(super) fn named(&self, address: &Address) -> Arc<Peer> {
        let now = clock::now();
        let mut peers = self.lock();
        let mut fallen = peers.named.sweep(now);
        if let Some(peer) = peers.named.get(address, now) {
            drop(peers);
            return peer;
        }
        let peer = self.find(&mut peers, address);
        if !peers.drained {
            fallen.extend(peers.named.insert(address.clone(), Arc::clone(&peer), now));
        }
        // The last owner of a peer drains its connections, which is not for this lock.
        drop(peers);
        drop(fallen);
        peer
    }

    fn find(&self, peers: &mut Peers, address: &Address) -> Arc<Peer> {
        if let Some(peer) = peers.known.get(address).and_then(Weak::upgrade) {
            return peer;
        }
        peers.known.retain(|_, peer| peer.strong_count() > 0);
        let peer = Arc::new(Peer::new(address.clone(), self.connections));
        if peers.drained {
            peer.drain();
        }
        peers.known.insert(address.clone(), Arc::downgrade(&peer));
        peer
    }

    /// Lets running calls finish; no peer dials any more.
    pub(super) fn drain(&self) {
        let (peers, named) = {
            let mut peers = self.lock();
            peers.drained = true;
            let known: Vec<_> = peers.known.values().filter_map(Weak::upgrade).collect();
            (known, peers.named.take_all())
        };
        peers.iter().for_each(|peer| peer.drain());
        drop(named);
    }

    pub(super) fn is_drained(&self) -> bool {
        self.lock().drained
    }

    fn lock(&self) -> MutexGuard<'_, Peers> {
        // Every critical section leaves the maps whole, so a poisoned lock is still sound.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
