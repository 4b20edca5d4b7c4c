//! Store on etcd: one key for each record.
//!
//! # Consistency
//! Linearizable. The version of a record is the revision of its last change, so conditions are
//! decided by the servers. A watch goes on with the next revision after a break.
//!
//! # Durability
//! A write that returned is on the disks of a majority of the members.
//!
//! # Limits
//! A value has at most 1,408 KiB: what etcd's requests of 1.5 MiB leave beside key and metadata.
//! 1,024 watchers. A time to live ends by the clocks of those who read, to the millisecond, and by
//! the lease of etcd at last: whole seconds, rounded up, at least 2 s. Machines whose clocks differ
//! see a record end as much sooner or later, never after the lease. One that is to be written where
//! there is none replaces another only if the servers' clock, too, says that its time is over, to a
//! second; that clock begins anew where the leader of the servers changes. etcd as it comes keeps
//! 2 GiB in all; when it is full writes are a 429.
//!
//! # When the server fails
//! Everything fails within 3 s with a 503: one that is safe to repeat where nothing was sent, and
//! of which a write says that it is not known where something was. Watches stay open, and go on
//! when a member is back.
//!
//! # Configuration
//! `etcd://user:password@host:2379,host2/namespace`: members are tried in turn; the namespace, if
//! there is one, stands before `/micro/store/`. [`Etcd::within`] in code.
//!
//! # Not supported
//! TLS to the server.
//!
//! # Tested against
//! etcd 3.4.23, one member.

mod keys;
mod sealed;
mod watching;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use crate::core::error::{Error, Result, Retry};
use crate::core::future::BoxFuture;
use crate::core::limits::StoreLimits;
use crate::driver;
use crate::driver::etcd::{
    Compare, DeleteRangeRequest, KeyValue, Moment, Operation, PutRequest, RangeRequest, Span,
    TxnRequest,
};
use crate::store::etcd::keys::Keys;
use crate::store::query::{PAGE_BYTES_MAX, SCAN_RECORDS_MAX};
use crate::store::{
    Capabilities, Condition, ERROR_ID, Key, Page, Query, Record, Space, Store, Version, Watch,
    Write, conflict,
};

/// Bytes of a value: etcd's request of 1.5 MiB, without 128 KiB for the key and the metadata.
const VALUE_BYTES_MAX: usize = 1536 * 1024 - 128 * 1024;

/// Times that a change is tried again because what it found has just changed.
const CHANGE_TRIES_MAX: u32 = 16;

/// A store on etcd.
///
/// ```
/// use micro::Store;
/// use micro::core::limits::StoreLimits;
/// use micro::core::shutdown::TaskTracker;
/// use micro::driver::{self, Server};
/// use micro::store;
/// use std::sync::Arc;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let server = Server::new("127.0.0.1", driver::Etcd::PORT);
/// let etcd = Arc::new(driver::Etcd::open(&server, &TaskTracker::new())?);
/// let store = Store::new(store::Etcd::new(etcd, &StoreLimits::default()));
/// # let _ = store;
/// # Ok::<(), micro::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct Etcd {
    etcd: Arc<driver::Etcd>,
    keys: Keys,
    value_bytes_max: usize,
    /// As many clones as there are watchers.
    watchers: Arc<()>,
    is_closed: AtomicBool,
}

impl Etcd {
    /// Makes a store over a connection; asks nothing yet.
    pub fn new(etcd: Arc<driver::Etcd>, limits: &StoreLimits) -> Self {
        let value_bytes_max = limits.value_bytes_max.min(VALUE_BYTES_MAX);
        let (keys, is_closed) = (Keys::within(""), AtomicBool::new(false));
        Self { etcd, keys, value_bytes_max, watchers: Arc::default(), is_closed }
    }

    /// Keeps the records in a namespace of its own; empty for none.
    #[must_use]
    pub fn within(mut self, namespace: &str) -> Self {
        self.keys = Keys::within(namespace);
        self
    }

    fn open(&self) -> Result<&Arc<driver::Etcd>> {
        if self.is_closed.load(Ordering::Acquire) {
            let error = Error::unavailable(ERROR_ID, "the store is closed");
            return Err(error.with_retry(Retry::Safe));
        }
        Ok(&self.etcd)
    }

    async fn put(&self, space: &Space, write: Write) -> Result<Version> {
        write.check(self.name(), &self.capabilities())?;
        let etcd = self.open()?;
        let place = self.keys.key(space, &write.key);
        let lease = match write.ttl {
            Some(ttl) => etcd.grant(ttl).await?,
            None => 0,
        };
        let value = sealed::seal(&write)?;
        let put = Operation::Put(PutRequest { key: place.clone(), value, lease });
        let changed = change(etcd, (&write.key, place), write.condition, put).await;
        match changed {
            Ok(revision) => Ok(Version::new(revision)),
            Err(error) => {
                if lease != 0 && error.retry() != Retry::Unknown {
                    // Nothing has this lease. If it is not ended here, time does it.
                    drop(etcd.revoke(lease).await);
                }
                Err(error)
            }
        }
    }

    async fn remove(&self, space: &Space, key: &Key, version: Option<Version>) -> Result<()> {
        let place = self.keys.key(space, key);
        let delete = Operation::DeleteRange(DeleteRangeRequest::key(place.clone()));
        let condition = version.map_or(Condition::Any, Condition::Version);
        change(self.open()?, (key, place), condition, delete).await.map(drop)
    }

    async fn get(&self, space: &Space, key: &Key) -> Result<Option<Record>> {
        let place = self.keys.key(space, key);
        let found = one(self.open()?, place).await?;
        found.map_or(Ok(None), |found| sealed::open(key, &found))
    }

    async fn page(&self, space: &Space, query: &Query) -> Result<Page> {
        let etcd = self.open()?;
        let mut span = self.keys.prefix(space, &query.prefix);
        if let Some(after) = &query.after {
            span = span.after(&self.keys.text(space, after));
        }
        let (mut page, mut bytes, mut seen) = (Page::default(), 0_usize, 0_usize);
        loop {
            let question = RangeRequest { keys_only: query.keys_only, ..span.range() };
            let missing = query.page_records().saturating_sub(page.records.len());
            let answer = etcd.page(&question, i64::try_from(missing).unwrap_or(i64::MAX)).await?;
            let (last, more) = (answer.kvs.len(), answer.more);
            for (n, found) in answer.kvs.into_iter().enumerate() {
                seen += 1;
                // Somebody else may write there what is no text.
                let name = self.keys.name(space, &found.key).map(str::to_owned);
                if let Some(name) = name.as_deref().filter(|name| query.matches(name))
                    && let Some(record) = listed(etcd, name, &found, query.keys_only).await?
                {
                    bytes = bytes.saturating_add(record.bytes());
                    page.records.push(record);
                }
                let is_full = page.records.len() >= query.page_records();
                if is_full || bytes >= PAGE_BYTES_MAX || seen >= SCAN_RECORDS_MAX {
                    page.next = name.filter(|_| more || n + 1 < last);
                    return Ok(page);
                }
                span = span.after(&found.key);
            }
            if !more || last == 0 {
                return Ok(page);
            }
        }
    }
}

/// Makes the record of a list.
async fn listed(
    etcd: &driver::Etcd,
    name: &str,
    found: &KeyValue,
    keys_only: bool,
) -> Result<Option<Record>> {
    if !keys_only {
        return sealed::open(name, found);
    }
    if found.lease == 0 {
        return Ok(Some(Record::new(name, Bytes::new(), version(found))));
    }
    // When it ends stands in its value.
    let Some(found) = one(etcd, found.key.clone()).await? else { return Ok(None) };
    let record = sealed::open(name, &found)?;
    Ok(record
        .map(|record| Record::new(name, Bytes::new(), record.version).with_expiry(record.expiry)))
}

async fn one(etcd: &driver::Etcd, place: Bytes) -> Result<Option<KeyValue>> {
    Ok(etcd.range(Span::key(place).range()).await?.kvs.into_iter().next())
}

fn version(found: &KeyValue) -> Version {
    Version::new(u64::try_from(found.mod_revision).unwrap_or_default())
}

/// Changes a key if a condition holds, and returns the revision of that.
///
/// A record whose time is over counts as absent, although its lease may hold it for a moment more;
/// who takes its place has the servers say so, too.
async fn change(
    etcd: &driver::Etcd,
    (key, place): (&Key, Bytes),
    condition: Condition,
    operation: Operation,
) -> Result<u64> {
    let at = |revision| Compare::changed_at(place.clone(), revision);
    let mut compare = match condition {
        Condition::Any => Vec::new(),
        Condition::Absent => vec![at(0)],
        Condition::Version(version) => {
            let wanted = i64::try_from(version.get()).ok().filter(|revision| *revision > 0);
            let Some(wanted) = wanted else { return Err(conflict(key, condition)) };
            vec![at(wanted), Compare::without_lease(place.clone())]
        }
    };
    for _ in 0..CHANGE_TRIES_MAX {
        let look = RangeRequest { keys_only: true, ..Span::key(place.clone()).range() };
        let question = TxnRequest {
            compare,
            success: vec![Operation::Range(look).into(), operation.clone().into()],
            failure: vec![Operation::Range(Span::key(place.clone()).range()).into()],
        };
        let answer = etcd.txn(question).await?;
        let (succeeded, revision) = (answer.succeeded, Moment::of(answer.header).revision);
        let found = answer.found();
        if succeeded {
            if let Some(old) = found.filter(|old| old.lease != 0) {
                // The lease of what was replaced holds nothing. If it stays, time ends it.
                drop(etcd.revoke(old.lease).await);
            }
            return Ok(u64::try_from(revision).unwrap_or_default());
        }
        let is_over = match &found {
            Some(found) if condition == Condition::Absent => is_absent(etcd, found).await?,
            Some(found) => sealed::is_over(found),
            None => true,
        };
        compare = match (condition, &found) {
            (Condition::Absent, None) => vec![at(0)],
            (Condition::Absent, Some(found)) if is_over => vec![at(found.mod_revision)],
            (Condition::Version(wanted), Some(found)) if version(found) == wanted && !is_over => {
                vec![at(found.mod_revision)]
            }
            _ => return Err(conflict(key, condition)),
        };
    }
    Err(conflict(key, condition))
}

/// Returns whether the time of a record is over, by the clock here and by that of the servers.
async fn is_absent(etcd: &driver::Etcd, found: &KeyValue) -> Result<bool> {
    if !sealed::is_over(found) || found.lease == 0 {
        return Ok(sealed::is_over(found));
    }
    let life = etcd.lease_life(found.lease).await?;
    Ok(life.is_none_or(|life| sealed::is_over_by(found, life)))
}

impl Store for Etcd {
    fn name(&self) -> &'static str {
        "etcd"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            linearizable: true,
            ttl: true,
            cas: true,
            watch: true,
            watch_expiry: true,
            value_bytes_max: self.value_bytes_max,
        }
    }

    fn read<'a>(&'a self, space: &'a Space, key: &'a Key) -> BoxFuture<'a, Result<Option<Record>>> {
        Box::pin(self.get(space, key))
    }

    fn write<'a>(&'a self, space: &'a Space, write: Write) -> BoxFuture<'a, Result<Version>> {
        Box::pin(self.put(space, write))
    }

    fn delete<'a>(
        &'a self,
        space: &'a Space,
        key: &'a Key,
        version: Option<Version>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.remove(space, key, version))
    }

    fn list<'a>(&'a self, space: &'a Space, query: &'a Query) -> BoxFuture<'a, Result<Page>> {
        Box::pin(self.page(space, query))
    }

    fn watch<'a>(&'a self, space: &'a Space, prefix: &'a str) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(async move {
            let etcd = self.open()?;
            watching::start(etcd, &self.watchers, (self.keys.clone(), space.clone()), prefix).await
        })
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        self.is_closed.store(true, Ordering::Release);
        Box::pin(std::future::ready(Ok(())))
    }
}
