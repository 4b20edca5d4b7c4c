//! The records of this process, each on a lease of its own.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;

use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::driver;
use crate::driver::etcd::{
    Compare, DeleteRangeRequest, KeyValue, Operation, PutRequest, RangeRequest, Span, TxnRequest,
};
use crate::registry::check::ERROR_ID;
use crate::registry::etcd::place::{decode, encode};
use crate::registry::pace::jitter;
use crate::registry::record::{Node, Record};

/// Records of one process; more are a 429.
const HELD_MAX: usize = 65_536;

/// Mean of the pause after a break before nodes are put back.
const RESTORE_PAUSE: Duration = Duration::from_millis(250);

/// Times that a removal looks again because somebody has written meanwhile.
const REMOVE_TRIES_MAX: u32 = 4;

/// What this process has registered.
#[derive(Debug, Default)]
pub(super) struct Holder {
    held: Mutex<HashMap<Bytes, Held>>,
    /// Those of them that are being removed: they are not put back, whatever becomes of that.
    leaving: Mutex<HashSet<Bytes>>,
    /// Held while a node is put back and while one is removed, so that none that was removed
    /// comes back.
    turn: tokio::sync::Mutex<()>,
}

/// A record as it was written.
#[derive(Clone, Debug)]
struct Held {
    lease: i64,
    ttl: Duration,
    value: Bytes,
}

impl Holder {
    /// Registers a node, or renews it where it is as it was: then it costs the renewal of the lease
    /// and a look whether the key is there, neither of which is written to disk.
    pub(super) async fn keep(
        &self,
        etcd: &driver::Etcd,
        key: Bytes,
        (record, node): (&Record, &Node),
        ttl: Duration,
    ) -> Result<()> {
        let value = encode(record)?;
        self.leaving().remove(&key);
        let known = self.held().get(&key).cloned();
        if let Some(held) = &known
            && held.value != value
        {
            check_named(decode(&held.value), record, node)?;
        }
        if let Some(held) = &known
            && held.ttl == ttl
            && etcd.keep_alive(held.lease).await?
        {
            if held.value == value && is_there(etcd, &key, held.lease).await? {
                return Ok(());
            }
            let held = Held { value, ..held.clone() };
            match put(etcd, &key, &held).await {
                Ok(()) => return self.remember(key, held),
                // The lease has ended in between.
                Err(error) if error.code() == 404 => {
                    return self.begin(etcd, key, (record, node), held).await;
                }
                Err(error) => return Err(error),
            }
        }
        self.begin(etcd, key.clone(), (record, node), Held { lease: 0, ttl, value }).await?;
        match known {
            // The key has another lease, so this takes nothing away. If it fails, time does it.
            Some(old) if old.ttl != ttl => etcd.revoke(old.lease).await.or_else(|_left| Ok(())),
            _ => Ok(()),
        }
    }

    /// Registers a node on a lease of its own.
    async fn begin(
        &self,
        etcd: &driver::Etcd,
        key: Bytes,
        (record, node): (&Record, &Node),
        held: Held,
    ) -> Result<()> {
        if self.held().len() >= HELD_MAX && !self.held().contains_key(&key) {
            let detail = format!("this process has registered {HELD_MAX} nodes already");
            return Err(Error::too_many_requests(ERROR_ID, detail).with_retry(Retry::Safe));
        }
        let held = Held { lease: etcd.grant(held.ttl).await?, ..held };
        match claim(etcd, &key, (record, node), &held).await {
            Ok(()) => self.remember(key, held),
            Err(error) => {
                if error.retry() != Retry::Unknown {
                    // Nothing has this lease. If it is not ended here, time does it.
                    drop(etcd.revoke(held.lease).await);
                }
                Err(error)
            }
        }
    }

    /// Removes a node, unless another one has taken its key.
    pub(super) async fn release(
        &self,
        etcd: &driver::Etcd,
        key: Bytes,
        (record, node): (&Record, &Node),
    ) -> Result<()> {
        let is_own =
            |held: &Held| decode(&held.value).is_some_and(|known| is_named(&known, record, node));
        // Before anything is awaited: it stays away whatever becomes of this call.
        if self.held().get(&key).is_some_and(is_own) {
            self.leaving().insert(key.clone());
        }
        let _turn = self.turn.lock().await;
        let held = self.held().get(&key).cloned();
        let lease = held.filter(is_own).map(|held| held.lease);
        for _ in 0..REMOVE_TRIES_MAX {
            let found = etcd.range(Span::key(key.clone()).range()).await?.kvs;
            let Some(found) = found.first() else { break };
            // The end of the lease removes what is on it at that moment and nothing else.
            let is_own = lease == Some(found.lease);
            if is_own || !is_same(found, record, node) || remove(etcd, &key, found).await? {
                break;
            }
        }
        if let Some(lease) = lease {
            etcd.revoke(lease).await?;
            self.held().remove(&key);
            self.leaving().remove(&key);
        }
        Ok(())
    }

    /// Puts all nodes back after each break, without waiting for their heartbeats; ends with the
    /// holder.
    pub(super) async fn restore(holder: Weak<Self>, etcd: Arc<driver::Etcd>) {
        let mut seen = etcd.session_after(0).await;
        loop {
            seen = etcd.session_after(seen).await;
            // All processes of a server find it again at the same moment.
            clock::sleep(jitter(RESTORE_PAUSE, 100)).await;
            let Some(holder) = holder.upgrade() else { return };
            let keys: Vec<Bytes> = holder.held().keys().cloned().collect();
            for key in keys {
                if let Err(error) = holder.put_back(&etcd, key).await {
                    tracing::debug!(%error, "a record waits for its heartbeat");
                    break;
                }
            }
        }
    }

    async fn put_back(&self, etcd: &driver::Etcd, key: Bytes) -> Result<()> {
        let _turn = self.turn.lock().await;
        if self.leaving().contains(&key) {
            return Ok(());
        }
        let Some(held) = self.held().get(&key).cloned() else { return Ok(()) };
        let Some(record) = decode(&held.value) else { return Ok(()) };
        let Some(node) = record.nodes.first() else { return Ok(()) };
        self.keep(etcd, key, (&record, node), held.ttl).await
    }

    fn remember(&self, key: Bytes, held: Held) -> Result<()> {
        self.held().insert(key, held);
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Bytes, Held>> {
        // Every critical section leaves the map whole, so a poisoned lock is still sound.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leaving(&self) -> MutexGuard<'_, HashSet<Bytes>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether the key has the lease; somebody may have removed or replaced it by hand.
async fn is_there(etcd: &driver::Etcd, key: &Bytes, lease: i64) -> Result<bool> {
    let look =
        RangeRequest { keys_only: true, serializable: true, ..Span::key(key.clone()).range() };
    Ok(etcd.range(look).await?.kvs.first().is_some_and(|found| found.lease == lease))
}

async fn put(etcd: &driver::Etcd, key: &Bytes, held: &Held) -> Result<()> {
    let (key, value, lease) = (key.clone(), held.value.clone(), held.lease);
    etcd.put(PutRequest { key, value, lease }).await.map(drop)
}

/// Writes a key that is free, or that an earlier process had for the same node.
async fn claim(
    etcd: &driver::Etcd,
    key: &Bytes,
    (record, node): (&Record, &Node),
    held: &Held,
) -> Result<()> {
    let (value, lease) = (held.value.clone(), held.lease);
    let write = Operation::Put(PutRequest { key: key.clone(), value, lease });
    let look = Operation::Range(Span::key(key.clone()).range());
    let question = TxnRequest {
        compare: vec![Compare::changed_at(key.clone(), 0)],
        success: vec![write.into()],
        failure: vec![look.into()],
    };
    let answer = etcd.txn(question).await?;
    if answer.succeeded {
        return Ok(());
    }
    check_named(answer.found().and_then(|found| decode(&found.value)), record, node)?;
    put(etcd, key, held).await
}

/// Refuses a node whose key another one has.
fn check_named(other: Option<Record>, record: &Record, node: &Node) -> Result<()> {
    let Some(other) = other.filter(|other| !is_named(other, record, node)) else { return Ok(()) };
    let detail = format!(
        "node {} of {} has the key that a node of {} has: `/` is written as `-`",
        node.id, record.name, other.name
    );
    Err(Error::conflict(ERROR_ID, detail))
}

/// Removes a key if it is still as it was found; returns whether it was.
async fn remove(etcd: &driver::Etcd, key: &Bytes, found: &KeyValue) -> Result<bool> {
    let delete = Operation::DeleteRange(DeleteRangeRequest::key(key.clone()));
    let question = TxnRequest {
        compare: vec![Compare::changed_at(key.clone(), found.mod_revision)],
        success: vec![delete.into()],
        failure: Vec::new(),
    };
    Ok(etcd.txn(question).await?.succeeded)
}

fn is_named(other: &Record, record: &Record, node: &Node) -> bool {
    other.name == record.name && other.nodes.iter().all(|known| known.id == node.id)
}

/// Returns whether a key holds this very node, and not its twin at another address.
fn is_same(found: &KeyValue, record: &Record, node: &Node) -> bool {
    decode(&found.value).is_none_or(|known| {
        is_named(&known, record, node)
            && known.nodes.iter().all(|known| known.address == node.address)
    })
}
