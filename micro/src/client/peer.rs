//! The connections to one node, dialed when they are needed and shared by all who call it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use crate::client::Inner;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::Connection;
use crate::core::net::Address;

/// Connections to one node, beyond the configured ones, while those are full.
const EXTRA_MAX: usize = 3;

/// One node's address with the open connections to it.
#[derive(Debug)]
pub(super) struct Peer {
    address: Address,
    /// How many connections calls are spread over.
    wanted: usize,
    open: ArcSwap<Vec<Arc<dyn Connection>>>,
    next: AtomicUsize,
    /// Held while dialing, so that many callers wait for one dial.
    dialing: Mutex<()>,
}

impl Peer {
    pub(super) fn new(address: Address, wanted: usize) -> Self {
        Self {
            address,
            wanted,
            open: ArcSwap::default(),
            next: AtomicUsize::new(0),
            dialing: Mutex::new(()),
        }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Returns a connection without waiting, if as many as wanted are there.
    ///
    /// It may turn out to be closed when a call is started on it.
    pub(super) fn ready(&self) -> Option<Arc<dyn Connection>> {
        let open = self.open.load();
        match open.as_slice() {
            [] => None,
            [only] if self.wanted == 1 => Some(Arc::clone(only)),
            many if many.len() >= self.wanted => {
                let turn = self.next.fetch_add(1, Ordering::Relaxed) % many.len();
                many.get(turn).map(Arc::clone)
            }
            _ => None,
        }
    }

    /// Returns a connection that takes calls, dialing one if need be.
    ///
    /// # Errors
    /// `Retry::Safe` when the node cannot be reached within the dial timeout.
    pub(super) async fn connect(&self, client: &Inner) -> Result<Arc<dyn Connection>> {
        if let Some(connection) = self.usable() {
            return Ok(connection);
        }
        let _dialing = self.dialing.lock().await;
        // Another caller may have dialed meanwhile.
        if let Some(connection) = self.usable() {
            return Ok(connection);
        }
        let open = self.sweep();
        if open.len() >= self.wanted + EXTRA_MAX {
            let turn = self.next.fetch_add(1, Ordering::Relaxed) % open.len();
            let fullest = open.get(turn).map(Arc::clone).ok_or_else(vanished)?;
            fullest.ready().await?;
            return Ok(fullest);
        }
        let dialed = client.transport.dial(&self.address, &client.scope).await?;
        let mut open = self.sweep();
        open.push(Arc::clone(&dialed));
        self.open.store(Arc::new(open));
        Ok(dialed)
    }

    /// Returns an open connection with room, if as many as wanted are there.
    fn usable(&self) -> Option<Arc<dyn Connection>> {
        let open = self.open.load();
        if open.iter().filter(|c| c.is_open()).count() < self.wanted {
            return None;
        }
        let usable = |c: &&Arc<dyn Connection>| c.is_open() && !c.is_full();
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let turns = open.iter().cycle().skip(start % open.len().max(1)).take(open.len());
        turns.into_iter().find(usable).map(Arc::clone)
    }

    /// Forgets closed connections and returns the others.
    fn sweep(&self) -> Vec<Arc<dyn Connection>> {
        let open: Vec<_> = self.open.load().iter().filter(|c| c.is_open()).cloned().collect();
        self.open.store(Arc::new(open.clone()));
        open
    }

    /// Lets running calls finish and starts no more.
    pub(super) fn drain(&self) {
        for connection in self.open.swap(Arc::default()).iter() {
            connection.drain();
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.drain();
    }
}

fn vanished() -> Error {
    Error::unavailable("micro.client", "the connection closed").with_retry(Retry::Safe)
}
