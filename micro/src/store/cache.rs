//! Keeps records that were read, so that reading them again asks nobody.
//!
//! Consistency: what this decorator wrote is read back at once; what others wrote may be seen as
//! late as [`CachedConfig::age_max`], and never a record whose time is over. Absence is not kept.
//! Durability: the backend's. Limits: [`CachedConfig`]; the record that was not read for longest
//! goes first. Failure behaviour: a failing backend fails every read that is not kept.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::hash::RandomState;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::Result;
use crate::core::future::BoxFuture;
use crate::store::Capabilities;
use crate::store::Key;
use crate::store::Page;
use crate::store::Query;
use crate::store::Record;
use crate::store::Space;
use crate::store::Store;
use crate::store::Version;
use crate::store::Watch;
use crate::store::Write;

/// Counters that tell a read whether its key was written meanwhile; keys share them.
const STRIPES: usize = 64;

/// What a cache may hold, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CachedConfig {
    /// How late a write of another process may be seen: 1 s.
    pub age_max: Duration,
    /// Records at most: 10,000.
    pub records_max: usize,
    /// Bytes of their keys, values and metadata at most: 16 MiB.
    pub bytes_max: usize,
}

impl Default for CachedConfig {
    fn default() -> Self {
        Self { age_max: Duration::from_secs(1), records_max: 10_000, bytes_max: 16 * 1024 * 1024 }
    }
}

impl CachedConfig {
    /// Replaces [`Self::age_max`].
    #[must_use]
    pub fn with_age_max(mut self, age_max: Duration) -> Self {
        self.age_max = age_max;
        self
    }

    /// Replaces [`Self::records_max`].
    #[must_use]
    pub fn with_records_max(mut self, records_max: usize) -> Self {
        self.records_max = records_max;
        self
    }

    /// Replaces [`Self::bytes_max`].
    #[must_use]
    pub fn with_bytes_max(mut self, bytes_max: usize) -> Self {
        self.bytes_max = bytes_max;
        self
    }
}

/// A store whose reads are kept for a while.
///
/// ```
/// use micro::store::{Cached, CachedConfig, Memory};
///
/// let store = micro::Store::new(Cached::new(Memory::new(), CachedConfig::default()));
/// assert!(!store.capabilities().linearizable);
/// ```
#[derive(Debug)]
pub struct Cached<S> {
    inner: S,
    config: CachedConfig,
    kept: Arc<Kept>,
}

#[derive(Debug)]
struct Kept {
    state: Mutex<State>,
    hasher: RandomState,
}

#[derive(Debug)]
struct State {
    slots: HashMap<(Space, Key), Slot>,
    /// Keys by when they were read last, longest ago first.
    uses: BTreeMap<u64, (Space, Key)>,
    last_use: u64,
    bytes: usize,
    writes: [u64; STRIPES],
}

#[derive(Debug)]
struct Slot {
    record: Record,
    /// When the record itself ends.
    ends: Option<Instant>,
    until: Instant,
    used: u64,
}

impl<S: Store> Cached<S> {
    /// Keeps what is read from `inner`.
    pub fn new(inner: S, config: CachedConfig) -> Self {
        let state = State {
            slots: HashMap::new(),
            uses: BTreeMap::new(),
            last_use: 0,
            bytes: 0,
            writes: [0; STRIPES],
        };
        let kept = Kept { state: Mutex::new(state), hasher: RandomState::new() };
        Self { inner, config, kept: Arc::new(kept) }
    }

    async fn read_through(&self, space: &Space, key: &Key) -> Result<Option<Record>> {
        let place = (space.clone(), key.clone());
        let stripe = self.kept.stripe(&place);
        let before = {
            let mut state = self.kept.state();
            if let Some(record) = state.hit(&place, clock::now()) {
                return Ok(Some(record));
            }
            state.writes.get(stripe).copied()
        };
        let read = self.inner.read(space, key).await?;
        if let Some(record) = &read {
            let mut state = self.kept.state();
            if state.writes.get(stripe).copied() == before {
                state.keep(place, record, &self.config);
            }
        }
        Ok(read)
    }

    /// Forgets a key, and again when what is returned is dropped: a read that began in between may
    /// have seen either state.
    fn changing(&self, space: &Space, key: &Key) -> Changing {
        let place = (space.clone(), key.clone());
        let changing =
            Changing { stripe: self.kept.stripe(&place), place, kept: self.kept.clone() };
        changing.forget();
        changing
    }
}

/// A key that is being written.
struct Changing {
    kept: Arc<Kept>,
    place: (Space, Key),
    stripe: usize,
}

impl Changing {
    fn forget(&self) {
        let mut state = self.kept.state();
        state.take(&self.place);
        if let Some(writes) = state.writes.get_mut(self.stripe) {
            *writes = writes.wrapping_add(1);
        }
    }
}

impl Drop for Changing {
    fn drop(&mut self) {
        self.forget();
    }
}

impl Kept {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stripe(&self, place: &(Space, Key)) -> usize {
        usize::try_from(self.hasher.hash_one(place) % 64).unwrap_or_default()
    }
}

impl State {
    fn hit(&mut self, place: &(Space, Key), now: Instant) -> Option<Record> {
        if self.slots.get(place)?.until <= now {
            self.take(place);
            return None;
        }
        self.last_use += 1;
        let slot = self.slots.get_mut(place)?;
        self.uses.remove(&std::mem::replace(&mut slot.used, self.last_use));
        self.uses.insert(self.last_use, place.clone());
        let expiry = slot.ends.map(|ends| clock::remaining(now, ends));
        Some(slot.record.clone().with_expiry(expiry))
    }

    fn keep(&mut self, place: (Space, Key), record: &Record, config: &CachedConfig) {
        self.take(&place);
        let bytes = record.bytes();
        if bytes > config.bytes_max || config.records_max == 0 {
            return;
        }
        while self.slots.len() >= config.records_max || self.bytes + bytes > config.bytes_max {
            let Some((_, oldest)) = self.uses.pop_first() else { return };
            self.take(&oldest);
        }
        let now = clock::now();
        let ends = record.expiry.map(|expiry| clock::after(now, expiry));
        let age = clock::after(now, config.age_max);
        let until = ends.map_or(age, |ends| ends.min(age));
        self.last_use += 1;
        self.bytes += bytes;
        self.uses.insert(self.last_use, place.clone());
        let slot = Slot { record: record.clone(), ends, until, used: self.last_use };
        self.slots.insert(place, slot);
    }

    fn take(&mut self, place: &(Space, Key)) {
        if let Some(slot) = self.slots.remove(place) {
            self.bytes -= slot.record.bytes();
            self.uses.remove(&slot.used);
        }
    }
}

impl<S: Store> Store for Cached<S> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { linearizable: false, ..self.inner.capabilities() }
    }

    fn read<'a>(&'a self, space: &'a Space, key: &'a Key) -> BoxFuture<'a, Result<Option<Record>>> {
        Box::pin(self.read_through(space, key))
    }

    fn write<'a>(&'a self, space: &'a Space, write: Write) -> BoxFuture<'a, Result<Version>> {
        Box::pin(async move {
            let _changing = self.changing(space, &write.key);
            self.inner.write(space, write).await
        })
    }

    fn delete<'a>(
        &'a self,
        space: &'a Space,
        key: &'a Key,
        version: Option<Version>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let _changing = self.changing(space, key);
            self.inner.delete(space, key, version).await
        })
    }

    fn list<'a>(&'a self, space: &'a Space, query: &'a Query) -> BoxFuture<'a, Result<Page>> {
        self.inner.list(space, query)
    }

    fn watch<'a>(&'a self, space: &'a Space, prefix: &'a str) -> BoxFuture<'a, Result<Watch>> {
        self.inner.watch(space, prefix)
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Memory;

    fn cached(config: CachedConfig) -> (Memory, Cached<Memory>, Space, Key) {
        let memory = Memory::new();
        let key = Key::new("a").unwrap();
        (memory.clone(), Cached::new(memory, config), Space::unbound(), key)
    }

    async fn value(store: &impl Store, space: &Space, key: &Key) -> Option<String> {
        let record = store.read(space, key).await.unwrap();
        record.map(|record| String::from_utf8(record.value.to_vec()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn foreign_writes_are_seen_within_the_age_and_own_ones_at_once() {
        let (memory, cached, space, key) = cached(CachedConfig::default());
        memory.write(&space, Write::new(key.clone(), "1")).await.unwrap();
        assert_eq!(value(&cached, &space, &key).await.as_deref(), Some("1"));
        memory.write(&space, Write::new(key.clone(), "2")).await.unwrap();
        assert_eq!(value(&cached, &space, &key).await.as_deref(), Some("1"));
        clock::sleep(Duration::from_secs(1)).await;
        assert_eq!(value(&cached, &space, &key).await.as_deref(), Some("2"));
        cached.write(&space, Write::new(key.clone(), "3")).await.unwrap();
        assert_eq!(value(&cached, &space, &key).await.as_deref(), Some("3"));
        cached.delete(&space, &key, None).await.unwrap();
        assert_eq!(value(&cached, &space, &key).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_kept_record_ends_with_its_own_time_and_counts_it_down() {
        let (_, cached, space, key) = cached(CachedConfig::default().with_age_max(MINUTE));
        let ttl = Duration::from_secs(5);
        cached.write(&space, Write::new(key.clone(), "1").with_ttl(ttl)).await.unwrap();
        cached.read(&space, &key).await.unwrap();
        clock::sleep(Duration::from_secs(2)).await;
        let record = cached.read(&space, &key).await.unwrap().unwrap();
        assert_eq!(record.expiry, Some(Duration::from_secs(3)));
        clock::sleep(Duration::from_secs(3)).await;
        assert_eq!(cached.read(&space, &key).await.unwrap(), None);
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn what_was_not_read_for_longest_goes_first() {
        let config = CachedConfig::default().with_records_max(2).with_age_max(MINUTE);
        let (_, cached, space, _) = cached(config);
        let keys = ["a", "b", "c"].map(|text| Key::new(text).unwrap());
        for key in &keys {
            cached.write(&space, Write::new(key.clone(), "1")).await.unwrap();
        }
        for index in [0, 1, 0, 2] {
            cached.read(&space, &keys[index]).await.unwrap();
        }
        let state = cached.kept.state();
        let mut left: Vec<_> = state.slots.keys().map(|place| place.1.to_string()).collect();
        left.sort();
        assert_eq!(left, ["a", "c"]);
        assert_eq!(state.uses.len(), 2);
    }
}
