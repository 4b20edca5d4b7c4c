//! What this process has registered, so that a server that forgot it has it again at once.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;

use crate::core::clock;
use crate::core::clock::Instant;
use crate::registry::record::Record;
use crate::registry::redis::{Keep, Shared};

/// The nodes of this process and when their leases end.
#[derive(Default)]
pub(super) struct Own {
    nodes: Mutex<BTreeMap<(String, String), (Record, Instant)>>,
    /// Held while a node is put back and while one is removed, so that none that was removed
    /// comes back.
    turn: tokio::sync::Mutex<()>,
}

impl Own {
    /// Notes a node whose lease was renewed.
    pub(super) fn note(&self, record: &Record, ttl: Duration) {
        let now = clock::now();
        let mut nodes = self.lock();
        // Limit: a process has as many nodes as it keeps registered.
        nodes.retain(|_, (_, end)| *end > now);
        nodes.insert(key(record), (record.clone(), clock::after(now, ttl)));
    }

    /// Forgets a node.
    pub(super) fn forget(&self, record: &Record) {
        self.lock().remove(&key(record));
    }

    /// Returns the nodes whose leases last, with what is left of them.
    fn lasting(&self) -> Vec<(Record, Duration)> {
        let now = clock::now();
        let nodes = self.lock();
        let left = nodes.values().map(|(record, end)| (record, clock::remaining(now, *end)));
        left.filter(|(_, left)| !left.is_zero()).map(|(r, left)| (r.clone(), left)).collect()
    }

    /// Returns a node as it is by now, with what is left of its lease; `None` where that is over
    /// or the node was removed.
    fn present(&self, record: &Record) -> Option<(Record, Duration)> {
        let nodes = self.lock();
        let (record, end) = nodes.get(&key(record))?;
        let left = clock::remaining(clock::now(), *end);
        (!left.is_zero()).then(|| (record.clone(), left))
    }

    /// Waits until no node is put back or removed, and keeps that so.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), (Record, Instant)>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(record: &Record) -> (String, String) {
    let id = record.nodes.first().map(|node| node.id.clone());
    (record.name.clone(), id.unwrap_or_default())
}

/// Registers again what the server forgot, whenever it was away.
pub(super) async fn restore(shared: Weak<Shared>, mut made: watch::Receiver<u64>) {
    made.mark_unchanged();
    while made.changed().await.is_ok() {
        let Some(shared) = shared.upgrade() else { return };
        for (record, _) in shared.own.lasting() {
            let _turn = shared.own.turn().await;
            let Some((record, left)) = shared.own.present(&record) else { continue };
            if let Err(error) = shared.put(&record, left, Keep::WhatIsThere).await {
                tracing::debug!(service = record.name, %error, "not registered again yet");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Node;

    #[tokio::test(start_paused = true)]
    async fn only_leases_that_last_are_restored() {
        let own = Own::default();
        let record = |id: &str| Record {
            name: "a".into(),
            nodes: vec![Node { id: id.into(), ..Node::default() }],
            ..Record::default()
        };
        own.note(&record("1"), Duration::from_secs(5));
        own.note(&record("2"), Duration::from_secs(9));
        own.note(&record("3"), Duration::from_secs(9));
        own.forget(&record("3"));
        clock::sleep(Duration::from_secs(5)).await;
        assert_eq!(own.lasting(), [(record("2"), Duration::from_secs(4))]);
        assert_eq!(own.present(&record("2")), own.lasting().pop());
        assert_eq!((own.present(&record("1")), own.present(&record("3"))), (None, None));
        own.note(&record("2"), Duration::from_secs(9));
        assert_eq!(own.lock().len(), 1, "what is over is forgotten");
    }
}
