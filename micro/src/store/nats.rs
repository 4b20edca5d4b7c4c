//! Store in a bucket of keys and values on NATS.
//!
//! A record is under `<database>.<table>.<key>`, its value as it was written. Letters and digits of
//! the names stand for themselves, other bytes for `-`, `=`, `_` or `z` and two digits in
//! hexadecimal, so that keys sort as they should.
//!
//! # Consistency
//! Linearizable: the leader of the bucket's stream answers every read. The version of a record is
//! the sequence of its message, which grows with every write to the bucket.
//!
//! # Durability
//! A write returns when the stream has it. With one replica it survives a crash of the machine only
//! where the server has `sync_interval: always`; otherwise the last writes before it may be lost.
//!
//! # Limits
//! Values of 896 KiB, or the server's `max_payload` less what the metadata takes, if that is less.
//! 1,024 watchers. Times to live are rounded up to whole seconds. Each page of a list has the server
//! name all keys of the table, of which there may be ten million, and then reads the records one by
//! one.
//!
//! # When the server fails
//! What is asked fails with a 503 within 2 s, safe to repeat, or with one that is not within 5 s if
//! the server was asked already. A watch waits, and tells of a gap when the server is back.
//!
//! # Configuration
//! `nats://user:password@host:4222,host/bucket?replicas=3`: the bucket is `micro-store` unless
//! named, and is made with as many replicas, by default 1.
//!
//! # Not supported
//! TLS to the server. Servers before 2.11, which have no times to live of single keys.
//!
//! # Tested against
//! NATS 2.15.1.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::Semaphore;

use crate::core::backoff::Backoff;
use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::future::BoxFuture;
use crate::core::limits::StoreLimits;
use crate::driver::{self, Begin, Bucket, Entry, Follower, Outcome, Put, decode, encode};
use crate::store::hub::WATCHERS_MAX;
use crate::store::query::{Page, Query, SCAN_RECORDS_MAX};
use crate::store::{
    Capabilities, Condition, ERROR_ID, Event, Feed, Key, PAGE_BYTES_MAX, Record, Space, Store,
    Version, Watch, Write, conflict,
};

/// The bucket of stores that name none.
const BUCKET: &str = "micro-store";

/// Bytes of a value, at most: the longest message of a server that is not told otherwise, less the
/// longest metadata.
const VALUE_BYTES_MAX: usize = 896 * 1024;

/// Tries to write where there is no record, while others write and delete it.
const WRITE_TRIES_MAX: usize = 8;

/// Parts of the names of a table that are read for one page: a hundred thousand names each.
const NAME_PARTS_MAX: usize = 100;

/// Records of a page that are read at once.
const READS_MAX: usize = 32;

/// The longest first pause before a watch begins again; it doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(50);

/// The longest pause before a watch begins again.
const PAUSE_MAX: Duration = Duration::from_millis(1500);

/// A store on NATS; clones share it.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use micro::core::shutdown::TaskTracker;
/// use micro::driver::{self, Server};
/// use micro::{Store, store};
///
/// # async fn example() -> micro::Result<()> {
/// let server = Server::new("10.0.0.1", 4222);
/// let nats = Arc::new(driver::Nats::open(&server, &TaskTracker::new())?);
/// let orders = Store::new(store::Nats::new(nats)?).database("shop")?.table("orders")?;
/// orders.put("7", "tea").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Nats {
    bucket: Arc<Bucket>,
    value_bytes_max: usize,
    watchers: Arc<Semaphore>,
    is_closed: Arc<AtomicBool>,
}

impl Nats {
    /// Keeps records in the bucket `micro-store`, one copy, with the usual limits; does no I/O.
    ///
    /// # Errors
    /// As [`Self::in_bucket`].
    pub fn new(nats: Arc<driver::Nats>) -> Result<Self> {
        Self::in_bucket(nats, BUCKET, 1, &StoreLimits::default())
    }

    /// Keeps records in a bucket, of which there are so many copies where it is made.
    ///
    /// # Errors
    /// 412 when the bucket has characters other than letters, digits, `-` and `_`, or the copies
    /// are not 1 to 5.
    pub fn in_bucket(
        nats: Arc<driver::Nats>,
        bucket: &str,
        replicas: usize,
        limits: &StoreLimits,
    ) -> Result<Self> {
        let bucket = if bucket.is_empty() { BUCKET } else { bucket };
        let bucket = Arc::new(Bucket::made(nats, bucket, replicas)?);
        let value_bytes_max = limits.value_bytes_max.min(VALUE_BYTES_MAX);
        let watchers = Arc::new(Semaphore::new(WATCHERS_MAX));
        Ok(Self { bucket, value_bytes_max, watchers, is_closed: Arc::default() })
    }

    fn check_open(&self) -> Result<()> {
        if !self.is_closed.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(Error::unavailable(ERROR_ID, "the store is closed").with_retry(Retry::Safe))
    }

    async fn put(&self, space: &Space, write: Write) -> Result<Version> {
        self.check_open()?;
        write.check(self.name(), &self.capabilities())?;
        let key = format!("{}.{}", table(space), encode(&write.key));
        let note = match write.metadata.is_empty() {
            true => None,
            // Writing text into memory cannot fail.
            false => serde_json::to_string(&write.metadata).ok(),
        };
        for _ in 0..WRITE_TRIES_MAX {
            let expected = match write.condition {
                Condition::Any => None,
                Condition::Version(version) => Some(version.get()),
                // What was removed has left a message, on top of which this one goes.
                Condition::Absent => match self.bucket.read(&key).await? {
                    None => Some(0),
                    Some(entry) if entry.value.is_none() => Some(entry.revision),
                    Some(_) => break,
                },
            };
            let value = write.value.clone();
            let put = Put { key: &key, value, note: note.clone(), life: write.ttl, expected };
            match self.bucket.write(put).await? {
                Outcome::Written(revision) => return Ok(Version::new(revision)),
                // Somebody wrote, or only deleted.
                Outcome::Outdated if write.condition == Condition::Absent => {}
                Outcome::Outdated => break,
            }
        }
        Err(conflict(&write.key, write.condition))
    }

    async fn remove(&self, space: &Space, key: &Key, version: Option<Version>) -> Result<()> {
        self.check_open()?;
        let name = format!("{}.{}", table(space), encode(key));
        // A delete of nothing is told to nobody.
        let found = self.bucket.read(&name).await?.filter(|entry| entry.value.is_some());
        let found = found.map(|entry| Version::new(entry.revision));
        let Some(version) = version else {
            return match found {
                Some(_) => self.bucket.remove(&name, None).await.map(drop),
                None => Ok(()),
            };
        };
        let condition = Condition::Version(version);
        condition.check(key, found)?;
        match self.bucket.remove(&name, Some(version.get())).await? {
            Outcome::Written(_) => Ok(()),
            Outcome::Outdated => Err(conflict(key, condition)),
        }
    }

    async fn page(&self, space: &Space, query: &Query) -> Result<Page> {
        self.check_open()?;
        let table = table(space);
        // One more than is looked at, to know whether there is more.
        let names = self.names(&table, query, SCAN_RECORDS_MAX + 1).await?;
        let is_more = names.len() > SCAN_RECORDS_MAX;
        let (mut page, mut bytes) = (Page::default(), 0_usize);
        let mut last = None;
        let reads = names.into_iter().take(SCAN_RECORDS_MAX).map(|name| {
            let key = format!("{table}.{}", encode(&name));
            async move {
                let read = name.ends_with(&query.suffix);
                let entry = if read { self.bucket.read(&key).await? } else { None };
                Ok::<_, Error>((name, entry))
            }
        });
        let mut reads = stream::iter(reads).buffered(READS_MAX);
        while let Some((name, entry)) = reads.try_next().await? {
            let is_full = page.records.len() >= query.page_records() || bytes >= PAGE_BYTES_MAX;
            if is_full {
                page.next = last;
                return Ok(page);
            }
            if let Some(record) = entry.and_then(|entry| record(&name, entry, query.keys_only)) {
                bytes = bytes.saturating_add(record.bytes());
                page.records.push(record);
            }
            last = Some(name);
        }
        page.next = last.filter(|_| is_more);
        Ok(page)
    }

    /// Names the first keys of a table that a query may list, in order.
    async fn names(&self, table: &str, query: &Query, most: usize) -> Result<Vec<String>> {
        let (pattern, prefix) = (format!("{table}.*"), format!("{table}."));
        let mut names = Vec::new();
        let mut offset = 0;
        for _ in 0..NAME_PARTS_MAX {
            let (keys, total) = self.bucket.keys(&pattern, offset).await?;
            offset = offset.saturating_add(keys.len());
            let is_last = keys.is_empty() || offset >= total;
            for key in keys {
                let Some(name) = key.strip_prefix(&prefix).and_then(decode) else { continue };
                let follows = query.after.as_ref().is_none_or(|after| name > *after);
                if follows && name.starts_with(&query.prefix) {
                    names.push(name);
                }
                if names.len() >= most {
                    return Ok(names);
                }
            }
            if is_last {
                return Ok(names);
            }
        }
        let detail = format!("table `{table}` holds more keys than can be listed");
        Err(Error::too_many_requests(ERROR_ID, detail))
    }
}

impl Store for Nats {
    fn name(&self) -> &'static str {
        "nats"
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
        Box::pin(async move {
            self.check_open()?;
            let entry = self.bucket.read(&format!("{}.{}", table(space), encode(key))).await?;
            Ok(entry.and_then(|entry| record(key, entry, false)))
        })
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
            self.check_open()?;
            let permit = Arc::clone(&self.watchers).try_acquire_owned().map_err(|_full| {
                let detail = format!("the store has {WATCHERS_MAX} watchers already");
                Error::too_many_requests(ERROR_ID, detail)
            })?;
            let (feed, watch) = Feed::channel();
            let place = format!("{}.", table(space));
            let pattern = format!("{place}*");
            let follower = Follower::begin(&self.bucket, &pattern, Begin::Next).await?;
            let (bucket, prefix) = (Arc::clone(&self.bucket), prefix.to_owned());
            let watcher = Watcher { bucket, place, pattern, prefix, feed };
            Ok(watch.with_source(permit).with_driver(watcher.run(follower)))
        })
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        self.is_closed.store(true, Ordering::Release);
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A watch, and what it is of.
struct Watcher {
    bucket: Arc<Bucket>,
    /// How the keys of the table begin.
    place: String,
    pattern: String,
    prefix: String,
    feed: Feed,
}

impl Watcher {
    /// Tells what happens until nobody watches; begins again when the server is back.
    async fn run(self, first: Follower) {
        let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_MAX);
        let mut follower = first;
        loop {
            while let Ok(entry) = follower.next().await {
                backoff.reset();
                if !self.tell(entry) {
                    return;
                }
            }
            // Progress: the server is away, or asked at growing intervals.
            follower = loop {
                clock::sleep(backoff.next_delay()).await;
                match Follower::begin(&self.bucket, &self.pattern, Begin::Next).await {
                    Ok(follower) => break follower,
                    Err(error) => tracing::debug!(%error, "a watch of the store waits"),
                }
            };
            if !self.feed.send(Event::Resync) {
                return;
            }
        }
    }

    /// Returns whether anybody watches.
    fn tell(&self, entry: Entry) -> bool {
        let name = entry.key.strip_prefix(&self.place).and_then(decode);
        let Some(name) = name.filter(|name| name.starts_with(&self.prefix)) else {
            return self.feed.is_watched();
        };
        let put = record(&name, entry, false).map(Event::Put);
        self.feed.send(put.unwrap_or_else(|| Event::deleted(name)))
    }
}

/// Returns how the keys of a table begin.
fn table(space: &Space) -> String {
    format!("{}.{}", encode(space.database()), encode(space.table()))
}

/// Reads a record; `None` where the key has no value.
fn record(name: &str, entry: Entry, keys_only: bool) -> Option<Record> {
    let (value, version) = (entry.value?, Version::new(entry.revision));
    // The server decides when it is over; until then something is left.
    let left = |ends: Duration| ends.saturating_sub(clock::unix_now()).max(Duration::from_nanos(1));
    let expiry = entry.ends.map(left);
    if keys_only {
        return Some(Record::new(name, Bytes::new(), version).with_expiry(expiry));
    }
    let metadata: BTreeMap<String, String> =
        entry.note.and_then(|note| serde_json::from_str(&note).ok()).unwrap_or_default();
    Some(Record::new(name, value, version).with_metadata(metadata).with_expiry(expiry))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::shutdown::TaskTracker;
    use crate::driver::Server;

    fn store(tasks: &TaskTracker) -> Nats {
        let nats = driver::Nats::open(&Server::new("127.0.0.1", 1), tasks).unwrap();
        Nats::new(Arc::new(nats)).unwrap()
    }

    #[tokio::test]
    async fn a_store_that_is_closed_does_nothing() {
        let store = store(&TaskTracker::new());
        let (space, key) = (Space::new("a", "b").unwrap(), Key::new("k").unwrap());
        store.clone().close().await.unwrap();
        let write = Write::new(key.clone(), "v");
        for error in [
            store.read(&space, &key).await.unwrap_err(),
            store.write(&space, write).await.unwrap_err(),
            store.delete(&space, &key, None).await.unwrap_err(),
            store.list(&space, &Query::default()).await.unwrap_err(),
            store.watch(&space, "").await.unwrap_err(),
        ] {
            assert_eq!((error.code(), error.detail()), (503, "the store is closed"));
        }
    }

    /// At the limit, above it and far above it.
    #[tokio::test]
    async fn watchers_are_limited() {
        let store = store(&TaskTracker::new());
        let space = Space::new("a", "b").unwrap();
        let most = u32::try_from(WATCHERS_MAX).unwrap();
        let _places = Arc::clone(&store.watchers).try_acquire_many_owned(most).unwrap();
        for _ in 0..10 {
            assert_eq!(store.watch(&space, "").await.unwrap_err().code(), 429);
        }
    }
}
