//! Store in the memory of one process, shared by clones.
//!
//! Consistency: linearizable. Durability: none. Limits: records, bytes and the length of a value as
//! [`StoreLimits`] says; 1,024 watchers. Failure behaviour: never fails but for limits.
//! Configuration: the limits.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::Error;
use crate::core::error::Result;
use crate::core::future::BoxFuture;
use crate::core::limits::StoreLimits;
use crate::store::Capabilities;
use crate::store::Condition;
use crate::store::ERROR_ID;
use crate::store::Event;
use crate::store::Key;
use crate::store::Page;
use crate::store::Query;
use crate::store::Record;
use crate::store::Space;
use crate::store::Store;
use crate::store::Version;
use crate::store::Watch;
use crate::store::Write;
use crate::store::hub::Hub;
use crate::store::query;

/// A store for one process, and for tests.
///
/// Clones share the records. Time is tokio's: under a paused clock records expire in virtual time.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Rung when the record whose time is over first is another one.
    sooner: Notify,
    limits: StoreLimits,
}

#[derive(Debug, Default)]
struct State {
    spaces: HashMap<Space, BTreeMap<Key, Entry>>,
    /// When records end, soonest first; a version belongs to one record only.
    ends: BTreeMap<(Instant, Version), (Space, Key)>,
    hub: Hub,
    last_version: u64,
    records: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    value: Bytes,
    metadata: BTreeMap<String, String>,
    version: Version,
    ends: Option<Instant>,
    bytes: usize,
}

impl Memory {
    /// Makes an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes an empty store with other limits.
    pub fn with_limits(limits: StoreLimits) -> Self {
        Self { shared: Arc::new(Shared { limits, ..Shared::default() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    fn put(&self, space: &Space, write: Write) -> Result<Version> {
        write.check(self.name(), &self.capabilities())?;
        let now = clock::now();
        let mut state = self.state();
        state.sweep(now);
        let old = state.get(space, &write.key);
        write.condition.check(&write.key, old.map(|entry| entry.version))?;
        let freed = old.map_or((0, 0), |entry| (1, entry.bytes));
        let version = Version::new(state.last_version.saturating_add(1));
        let ends = write.ttl.map(|ttl| clock::after(now, ttl));
        let record = Record::new(write.key.as_str(), write.value, version)
            .with_metadata(write.metadata)
            .with_expiry(write.ttl);
        let bytes = record.bytes();
        state.afford(&self.shared.limits, freed, bytes)?;
        state.last_version = version.get();
        let event = record.clone();
        let Record { value, metadata, .. } = record;
        state.insert(space, write.key.clone(), Entry { value, metadata, version, ends, bytes });
        state.hub.publish(space, &write.key, || Event::Put(event.clone()));
        let soonest = state.ends.first_key_value().map(|(key, _)| key.1);
        if soonest == Some(version) {
            self.shared.sooner.notify_waiters();
        }
        Ok(version)
    }

    fn remove(&self, space: &Space, key: &Key, version: Option<Version>) -> Result<()> {
        let mut state = self.state();
        state.sweep(clock::now());
        if let Some(version) = version {
            let found = state.get(space, key).map(|entry| entry.version);
            Condition::Version(version).check(key, found)?;
        }
        if state.take(space, key) {
            state.hub.publish(space, key, || Event::deleted(key.as_str()));
        }
        Ok(())
    }

    fn page(&self, space: &Space, query: &Query) -> Page {
        let now = clock::now();
        let mut state = self.state();
        state.sweep(now);
        let Some(table) = state.spaces.get(space) else { return Page::default() };
        let after = query.after.as_deref().filter(|after| *after >= query.prefix.as_str());
        let from = after.map_or(Bound::Included(query.prefix.as_str()), Bound::Excluded);
        let candidates = table
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(&query.prefix))
            .map(|(key, entry)| Ok::<_, std::convert::Infallible>((key.to_string(), entry)));
        let read = |key: &str, entry: &Entry| Ok(Some(entry.record(key, now, query.keys_only)));
        query::fill(query, candidates, read).unwrap_or_default()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends records when their time is over, as long as it is polled.
    async fn expire(&self) {
        loop {
            let mut sooner = std::pin::pin!(self.sooner.notified());
            // Invariant: listening begins before the look, so that no change is missed.
            sooner.as_mut().enable();
            let next = {
                let mut state = self.state();
                state.sweep(clock::now());
                state.ends.first_key_value().map(|(key, _)| key.0)
            };
            match next {
                Some(next) => tokio::select! {
                    () = clock::sleep_until(next) => {}
                    () = sooner => {}
                },
                None => sooner.await,
            }
        }
    }
}

impl State {
    /// Returns a record; what has ended was swept before.
    fn get(&self, space: &Space, key: &Key) -> Option<&Entry> {
        self.spaces.get(space)?.get(key)
    }

    fn insert(&mut self, space: &Space, key: Key, entry: Entry) {
        self.take(space, &key);
        self.records += 1;
        self.bytes += entry.bytes;
        if let Some(ends) = entry.ends {
            self.ends.insert((ends, entry.version), (space.clone(), key.clone()));
        }
        self.spaces.entry(space.clone()).or_default().insert(key, entry);
    }

    /// Removes a record; `false` if there was none.
    fn take(&mut self, space: &Space, key: &Key) -> bool {
        let Some(table) = self.spaces.get_mut(space) else { return false };
        let Some(entry) = table.remove(key) else { return false };
        if table.is_empty() {
            self.spaces.remove(space);
        }
        self.records -= 1;
        self.bytes -= entry.bytes;
        if let Some(ends) = entry.ends {
            self.ends.remove(&(ends, entry.version));
        }
        true
    }

    /// Removes what has ended.
    fn sweep(&mut self, now: Instant) {
        while let Some(first) = self.ends.first_entry() {
            if first.key().0 > now {
                return;
            }
            let (space, key) = first.remove();
            self.take(&space, &key);
            self.hub.publish(&space, &key, || Event::deleted(key.as_str()));
        }
    }

    /// Checks that there is room for a record in place of what it frees.
    fn afford(&self, limits: &StoreLimits, freed: (usize, usize), bytes: usize) -> Result<()> {
        let records = self.records + 1 - freed.0;
        let bytes = (self.bytes - freed.1).saturating_add(bytes);
        if records <= limits.memory_records_max && bytes <= limits.memory_bytes_max {
            return Ok(());
        }
        let detail = format!("the store is full: {} records of {} bytes", self.records, self.bytes);
        Err(Error::too_many_requests(ERROR_ID, detail))
    }
}

impl Entry {
    fn record(&self, key: &str, now: Instant, keys_only: bool) -> Record {
        let expiry = self.ends.map(|ends| clock::remaining(now, ends));
        if keys_only {
            return Record::new(key, Bytes::new(), self.version).with_expiry(expiry);
        }
        Record::new(key, self.value.clone(), self.version)
            .with_metadata(self.metadata.clone())
            .with_expiry(expiry)
    }
}

impl Store for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: false,
            linearizable: true,
            ttl: true,
            cas: true,
            watch: true,
            watch_expiry: true,
            value_bytes_max: self.shared.limits.value_bytes_max,
        }
    }

    fn read<'a>(&'a self, space: &'a Space, key: &'a Key) -> BoxFuture<'a, Result<Option<Record>>> {
        Box::pin(async move {
            let now = clock::now();
            let mut state = self.state();
            state.sweep(now);
            Ok(state.get(space, key).map(|entry| entry.record(key, now, false)))
        })
    }

    fn write<'a>(&'a self, space: &'a Space, write: Write) -> BoxFuture<'a, Result<Version>> {
        Box::pin(async move { self.put(space, write) })
    }

    fn delete<'a>(
        &'a self,
        space: &'a Space,
        key: &'a Key,
        version: Option<Version>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.remove(space, key, version) })
    }

    fn list<'a>(&'a self, space: &'a Space, query: &'a Query) -> BoxFuture<'a, Result<Page>> {
        Box::pin(async move { Ok(self.page(space, query)) })
    }

    fn watch<'a>(&'a self, space: &'a Space, prefix: &'a str) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(async move {
            let watch = self.state().hub.watch(space, prefix)?;
            let shared = Arc::clone(&self.shared);
            Ok(watch.with_driver(async move { shared.expire().await }))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_expiry_is_told_when_it_happens_and_frees_its_room() {
        let limits = StoreLimits { memory_records_max: 1, ..StoreLimits::default() };
        let (store, space) = (Memory::with_limits(limits), Space::unbound());
        let mut watch = store.watch(&space, "").await.unwrap();
        let ttl = Duration::from_secs(5);
        store.write(&space, Write::new(key("a"), "1").with_ttl(ttl)).await.unwrap();
        let full = store.write(&space, Write::new(key("b"), "1")).await.unwrap_err();
        assert_eq!(full.code(), 429);
        assert!(matches!(watch.next().await, Some(Event::Put(_))));
        let start = clock::now();
        assert_eq!(watch.next().await, Some(Event::deleted("a")));
        assert_eq!(clock::now() - start, ttl);
        store.write(&space, Write::new(key("b"), "1")).await.unwrap();
    }

    /// At the limit, one above it and ten times as much: ten records fit, of five bytes each.
    #[tokio::test]
    async fn records_and_bytes_are_bounded_at_the_limit_above_it_and_far_above_it() {
        let by_records = StoreLimits { memory_records_max: 10, ..StoreLimits::default() };
        let by_bytes = StoreLimits { memory_bytes_max: 50, ..StoreLimits::default() };
        for (limits, tries) in [by_records, by_bytes]
            .into_iter()
            .flat_map(|limits| [10, 11, 100].map(|tries| (limits.clone(), tries)))
        {
            let (store, space) = (Memory::with_limits(limits.clone()), Space::unbound());
            let mut taken = 0;
            for n in 0..tries {
                let write = Write::new(key(&format!("k{n:02}")), "12");
                match store.write(&space, write).await {
                    Ok(_) => taken += 1,
                    Err(error) => assert_eq!(error.code(), 429, "{error}"),
                }
            }
            assert_eq!((taken, store.state().bytes), (10, 50), "{tries} within {limits:?}");
        }
    }

    #[tokio::test]
    async fn a_full_store_takes_a_replacement_that_fits() {
        let limits = StoreLimits { memory_bytes_max: 5, ..StoreLimits::default() };
        let (store, space) = (Memory::with_limits(limits), Space::unbound());
        store.write(&space, Write::new(key("a"), "1234")).await.unwrap();
        store.write(&space, Write::new(key("a"), "4321")).await.unwrap();
        let error = store.write(&space, Write::new(key("a"), "12345")).await.unwrap_err();
        assert_eq!(error.code(), 429);
        let kept = store.read(&space, &key("a")).await.unwrap().unwrap();
        assert_eq!(kept.value, "4321");
        store.delete(&space, &key("a"), None).await.unwrap();
        assert!(store.state().spaces.is_empty() && store.state().bytes == 0);
    }
}
