//! Store on a Redis or Valkey server.
//!
//! # Consistency
//! Linearizable as long as one server answers: every change is one script, which the server runs
//! whole before anything else. A replica that takes over may lack the last writes, so a
//! compare-and-swap here is no lock across such a change.
//!
//! Versions never come back, across deletes and losses of the server too: they are its time in
//! microseconds, or one more than the last.
//!
//! # Durability
//! As the server is configured: with `appendfsync always` a write that returned is on its disk, with
//! the usual `everysec` up to a second of writes may be lost with the server. Set
//! `maxmemory-policy noeviction`: an evicted record is gone without an event.
//!
//! # Limits
//! The length of a value as [`StoreLimits`] says; 1,024 watchers; a time to live of at most 100
//! years, in milliseconds; the server's memory. A page looks at 1,000 keys. A watcher gets the
//! values with the events, within the server's `client-output-buffer-limit pubsub`; one that is over
//! it is disconnected and told of a gap.
//!
//! # When the server fails
//! What is asked fails within a second where nothing was sent, and within five where no answer came;
//! such a write may have happened. Watchers are told of the gap when the server is back, and list
//! again.
//!
//! # Configuration
//! `redis://user:password@host:6379/database?prefix=micro`: the number of the database, and what the
//! names of all keys begin with.
//!
//! # Not supported
//! TLS, Redis Cluster, Sentinel, reads from replicas.
//!
//! # Tested against
//! Redis 7.0.15.

mod event;
mod scripts;

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use redis::Value;
use tokio::sync::{Notify, Semaphore};

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::{Error, Result, Retry};
use crate::core::future::BoxFuture;
use crate::core::limits::StoreLimits;
use crate::driver;
use crate::driver::redis::{Ear, Told, reply};
use crate::store::hub::WATCHERS_MAX;
use crate::store::query::PAGE_BYTES_MAX;
use crate::store::{
    Capabilities, Condition, ERROR_ID, Event, Feed, Key, Page, Query, Record, Space, Store,
    Version, Watch, Write, conflict,
};

/// Keys that one script looks at for a page: it holds up the server for some milliseconds at most.
const SCAN_MAX: usize = 1000;

/// The longest time to live, 100 years: sums of it and a date stay exact in a script.
const TTL_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The longest pause between two looks for records that are over, while somebody watches.
const SWEEP_PAUSE_MAX: Duration = Duration::from_secs(30);

/// The shortest such pause, and that after a failure.
const SWEEP_PAUSE_MIN: Duration = Duration::from_millis(5);
const SWEEP_PAUSE_FAILED: Duration = Duration::from_secs(1);

/// A store on a server; clones share it.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
}

struct Shared {
    redis: Arc<driver::Redis>,
    prefix: String,
    limits: StoreLimits,
    watchers: Arc<Semaphore>,
    closed: AtomicBool,
}

/// The names of what a space is made of.
struct Names {
    /// What the name of a record's key begins with.
    records: String,
    keys: String,
    ends: String,
    version: String,
    channel: String,
}

impl Redis {
    /// Makes a store; the names of its keys on the server begin with `prefix`.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use micro::core::limits::StoreLimits;
    /// use micro::core::shutdown::TaskTracker;
    /// use micro::driver::{Redis, Server};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let redis = Redis::open(&Server::new("127.0.0.1", 6379), &TaskTracker::new())?;
    /// let store = micro::store::Redis::new(Arc::new(redis), "shop", StoreLimits::default());
    /// # Ok::<(), micro::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn new(redis: Arc<driver::Redis>, prefix: impl Into<String>, limits: StoreLimits) -> Self {
        let watchers = Arc::new(Semaphore::new(WATCHERS_MAX));
        let (prefix, closed) = (prefix.into(), AtomicBool::new(false));
        Self { shared: Arc::new(Shared { redis, prefix, limits, watchers, closed }) }
    }
}

impl Shared {
    fn names(&self, space: &Space) -> Names {
        // Escaped, so that a colon parts and nothing else does.
        let base = format!(
            "{}:store:{}:{}",
            self.prefix,
            escaped(space.database()),
            escaped(space.table())
        );
        Names {
            records: format!("{base}:record:"),
            keys: format!("{base}:keys"),
            ends: format!("{base}:ends"),
            version: format!("{}:store:version", self.prefix),
            // Channels are of the whole server and not of a database.
            channel: format!("{base}:events:{}", self.redis.number()),
        }
    }

    fn check_open(&self) -> Result<()> {
        if !self.closed.load(SeqCst) {
            return Ok(());
        }
        Err(Error::unavailable(ERROR_ID, "the store is closed").with_retry(Retry::Safe))
    }

    async fn write(&self, space: &Space, write: Write) -> Result<Version> {
        self.check_open()?;
        let names = self.names(space);
        let record = format!("{}{}", names.records, write.key);
        let condition = match write.condition {
            Condition::Any => "any".to_owned(),
            Condition::Absent => "absent".to_owned(),
            Condition::Version(version) => version.to_string(),
        };
        let millis = |ttl: Duration| ttl.min(TTL_MAX).as_millis().max(1).to_string();
        let mut call = scripts::WRITE.call(&[&record, &names.keys, &names.ends, &names.version]);
        call.arg(&names.channel).arg(&names.records).arg(write.key.as_str()).arg(condition);
        call.arg(write.ttl.map(millis).unwrap_or_default()).arg(event::metadata(&write.metadata));
        call.arg(write.value.as_ref());
        match self.redis.run("write", &scripts::WRITE, &call).await? {
            Value::Nil => Err(conflict(&write.key, write.condition)),
            version => reply::number(version).and_then(read_version),
        }
    }

    async fn delete(&self, space: &Space, key: &Key, version: Option<Version>) -> Result<()> {
        self.check_open()?;
        let names = self.names(space);
        let record = format!("{}{key}", names.records);
        let mut call = scripts::DELETE.call(&[&record, &names.keys, &names.ends]);
        call.arg(&names.channel).arg(key.as_str());
        call.arg(version.map(|version| version.to_string()).unwrap_or_default());
        let done = self.redis.run("delete", &scripts::DELETE, &call).await?;
        match (reply::number(done)?, version) {
            (0, Some(version)) => Err(conflict(key, Condition::Version(version))),
            _ => Ok(()),
        }
    }

    async fn read(&self, space: &Space, key: &Key) -> Result<Option<Record>> {
        self.check_open()?;
        let record = format!("{}{key}", self.names(space).records);
        let call = scripts::READ.call(&[&record]);
        match self.redis.run("read", &scripts::READ, &call).await? {
            Value::Nil => Ok(None),
            found => {
                let [version, metadata, data, left] = reply::tuple(found)?;
                read_record(key.to_string(), [version, metadata, data, left]).map(Some)
            }
        }
    }

    async fn list(&self, space: &Space, query: &Query) -> Result<Page> {
        self.check_open()?;
        let names = self.names(space);
        let prefix = query.prefix.as_str();
        let first = match query.after.as_deref().filter(|after| *after >= prefix) {
            Some(after) => format!("({after}").into_bytes(),
            None if prefix.is_empty() => b"-".to_vec(),
            None => format!("[{prefix}").into_bytes(),
        };
        let last = if prefix.is_empty() {
            b"+".to_vec()
        } else {
            // No text has this byte: it follows everything that begins with the prefix.
            [b"(", prefix.as_bytes(), b"\xff"].concat()
        };
        let mut call = scripts::LIST.call(&[&names.keys, &names.ends]);
        call.arg(&names.channel).arg(&names.records).arg(first).arg(last).arg(&query.suffix);
        call.arg(query.page_records()).arg(PAGE_BYTES_MAX).arg(SCAN_MAX);
        call.arg(if query.keys_only { "1" } else { "0" });
        let page = self.redis.run("list", &scripts::LIST, &call).await?;
        let [next, records] = reply::tuple(page)?;
        let next = if next == Value::Nil { None } else { Some(reply::text(next)?) };
        let read = |record| {
            let [key, version, metadata, data, left] = reply::tuple(record)?;
            read_record(reply::text(key)?, [version, metadata, data, left])
        };
        let records = reply::list(records)?.into_iter().map(read);
        Ok(Page::new(records.collect::<Result<_>>()?, next))
    }

    async fn watch(self: &Arc<Self>, space: &Space, prefix: &str) -> Result<Watch> {
        self.check_open()?;
        let place = Arc::clone(&self.watchers).try_acquire_owned().map_err(|_full| {
            let detail = format!("the store has {WATCHERS_MAX} watchers already");
            Error::too_many_requests(ERROR_ID, detail)
        })?;
        let names = self.names(space);
        let (feed, watch) = Feed::channel();
        let ends = Arc::new(Ends::default());
        let (prefix, soon) = (prefix.to_owned(), Arc::clone(&ends));
        let ear: Ear = Arc::new(move |told| {
            let event = match told {
                Told::Gap => Some(Event::Resync),
                Told::Message(_, payload) => event::read(payload),
            };
            let Some(event) = event else { return };
            if let Event::Put(Record { expiry: Some(ttl), .. }) = &event {
                soon.note(*ttl);
            }
            if event.key().is_none_or(|key| key.starts_with(&prefix)) {
                // The watch ends by its own hand.
                let _watched = feed.send(event);
            }
        });
        let listening = self.redis.listen(&names.channel, false, ear).await?;
        let shared = Arc::clone(self);
        let sweeps = async move { shared.sweep(&names, &ends).await };
        Ok(watch.with_source((listening, place)).with_driver(sweeps))
    }

    /// Has the server tell of records that are over, for as long as it is polled.
    async fn sweep(&self, names: &Names, ends: &Ends) {
        // Progress: each turn waits for a pause.
        loop {
            let mut call = scripts::SWEEP.call(&[&names.keys, &names.ends]);
            call.arg(&names.channel).arg(&names.records);
            let next = self.redis.run("sweep", &scripts::SWEEP, &call).await;
            let pause = match next.and_then(reply::number) {
                Ok(millis) => u64::try_from(millis)
                    .map_or(SWEEP_PAUSE_MAX, Duration::from_millis)
                    .clamp(SWEEP_PAUSE_MIN, SWEEP_PAUSE_MAX),
                Err(_) => SWEEP_PAUSE_FAILED,
            };
            ends.wait(clock::after(clock::now(), pause)).await;
        }
    }
}

/// When the next record ends, as far as a watcher knows.
#[derive(Default)]
struct Ends {
    next: Mutex<Option<Instant>>,
    sooner: Notify,
}

impl Ends {
    /// Notes that a record ends.
    fn note(&self, ttl: Duration) {
        let end = clock::after(clock::now(), ttl);
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if next.is_none_or(|next| end < next) {
            *next = Some(end);
            self.sooner.notify_one();
        }
    }

    /// Waits until then, or until a record that was noted meanwhile ends.
    async fn wait(&self, until: Instant) {
        // Progress: each turn has an earlier end.
        loop {
            let noted = *self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let until = noted.map_or(until, |noted| until.min(noted + SWEEP_PAUSE_MIN));
            tokio::select! {
                () = clock::sleep_until(until) => break,
                () = self.sooner.notified() => {}
            }
        }
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Store for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durable: true,
            linearizable: true,
            ttl: true,
            cas: true,
            watch: true,
            watch_expiry: true,
            value_bytes_max: self.shared.limits.value_bytes_max,
        }
    }

    fn read<'a>(&'a self, space: &'a Space, key: &'a Key) -> BoxFuture<'a, Result<Option<Record>>> {
        Box::pin(self.shared.read(space, key))
    }

    fn write<'a>(&'a self, space: &'a Space, write: Write) -> BoxFuture<'a, Result<Version>> {
        Box::pin(async move {
            write.check(self.name(), &self.capabilities())?;
            self.shared.write(space, write).await
        })
    }

    fn delete<'a>(
        &'a self,
        space: &'a Space,
        key: &'a Key,
        version: Option<Version>,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.shared.delete(space, key, version))
    }

    fn list<'a>(&'a self, space: &'a Space, query: &'a Query) -> BoxFuture<'a, Result<Page>> {
        Box::pin(self.shared.list(space, query))
    }

    fn watch<'a>(&'a self, space: &'a Space, prefix: &'a str) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(self.shared.watch(space, prefix))
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        self.shared.closed.store(true, SeqCst);
        Box::pin(std::future::ready(Ok(())))
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("redis", &self.shared.redis).finish_non_exhaustive()
    }
}

fn read_record(key: String, [version, metadata, data, left]: [Value; 4]) -> Result<Record> {
    let version = reply::number(version).and_then(read_version)?;
    let metadata = event::facts(&reply::bytes(metadata)?);
    let metadata = metadata.ok_or_else(|| reply::odd("metadata in JSON"))?;
    let data: Bytes = reply::bytes(data)?;
    // Without an end it is -1.
    let left = u64::try_from(reply::number(left)?).ok().map(Duration::from_millis);
    Ok(Record::new(key, data, version).with_metadata(metadata).with_expiry(left))
}

fn read_version(number: i64) -> Result<Version> {
    u64::try_from(number).map(Version::new).map_err(|_negative| reply::odd("a version"))
}

/// Returns a name without colons.
fn escaped(name: &str) -> String {
    name.replace('%', "%25").replace(':', "%3A")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn spaces_have_names_of_their_own() {
        let server = driver::Server::new("127.0.0.1", 1);
        let tasks = crate::core::shutdown::TaskTracker::new();
        let redis = Arc::new(driver::Redis::open(&server, &tasks).unwrap());
        let store = Redis::new(redis, "micro", StoreLimits::default());
        let keys = |database, table| store.shared.names(&Space::new(database, table).unwrap()).keys;
        let all = [("a", "b:c"), ("a:b", "c"), ("a", "b%3Ac"), ("a%3Ab", "c"), ("a", "b")];
        let names: std::collections::HashSet<_> = all.map(|(d, t)| keys(d, t)).into();
        assert_eq!(names.len(), all.len(), "{names:?}");
        store.close().await.unwrap();
        let key = Key::new("k").unwrap();
        let refused = store.read(&Space::unbound(), &key).await.unwrap_err();
        assert_eq!((refused.code(), refused.retry()), (503, Retry::Safe));
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_is_noted_later_and_comes_sooner_is_not_slept_through() {
        let ends = Ends::default();
        let began = clock::now();
        let wait = ends.wait(began + Duration::from_secs(30));
        let note = async {
            clock::sleep(Duration::from_secs(1)).await;
            ends.note(Duration::from_secs(2));
        };
        tokio::join!(wait, note);
        assert_eq!(clock::now() - began, Duration::from_secs(3) + SWEEP_PAUSE_MIN);
    }
}
