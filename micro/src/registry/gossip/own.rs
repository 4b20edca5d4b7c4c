//! The nodes that this process registers, and when their leases end.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::core::clock::{self, Instant};

/// Nodes that one process registers; more are a 429.
pub(super) const OWN_MAX: usize = 256;

/// The nodes of this process.
#[derive(Default)]
pub(super) struct Own {
    nodes: Mutex<BTreeMap<String, OwnNode>>,
    /// Told when a node may expire earlier than all others.
    pub(super) changed: Notify,
}

pub(super) struct OwnNode {
    pub(super) address: String,
    pub(super) since: u64,
    pub(super) expires: Instant,
}

impl Own {
    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<String, OwnNode>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the nodes whose leases ended and returns their keys.
    pub(super) fn ended(&self, now: Instant) -> Vec<String> {
        let mut nodes = self.lock();
        let ended = nodes.iter().filter(|(_, node)| node.expires <= now);
        let ended: Vec<_> = ended.map(|(key, _)| key.clone()).collect();
        nodes.retain(|_, node| node.expires > now);
        ended
    }

    /// Waits until a lease ends or another is begun; cancel safe.
    pub(super) async fn next(&self) {
        let earliest = self.lock().values().map(|node| node.expires).min();
        // Cancel safety: both arms only wait; whoever calls looks at the nodes again.
        match earliest {
            Some(earliest) => tokio::select! {
                () = self.changed.notified() => {}
                () = clock::sleep_until(earliest) => {}
            },
            None => self.changed.notified().await,
        }
    }
}
