//! Registry on a Redis or Valkey server, in go-micro's JSON records.
//!
//! # Consistency
//! A lookup sees every registration that returned before it, as long as one server answers. A
//! watcher is told by publish and subscribe, in order, and reads the whole state where it may have
//! missed something.
//!
//! # Durability
//! As the server is configured. A server that lost its memory has the record of each living node
//! again as soon as the node is connected.
//!
//! # Limits
//! Services and nodes as [`RegistryLimits`] says; more are a 429. Changes that wait for one watcher:
//! 1,024; one that is further behind gets the whole state. A lease is of whole milliseconds, and at
//! most a year.
//!
//! # When the server fails
//! What is asked fails within five seconds, and within ten where a deregistration waits for a node
//! that is put back; [`Lease`](super::Lease) repeats it and
//! [`Cached`](super::Cached) serves what it knows. Leases pass by the server's clock: those that
//! ended while it was away are over when it is back. Watchers get the whole state then.
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

mod follow;
mod name;
mod own;
mod scripts;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redis::Value;
use tokio::sync::mpsc;

use crate::core::error::{Error, Result, Retry};
use crate::core::future::BoxFuture;
use crate::core::limits::RegistryLimits;
use crate::core::shutdown::TaskHandle;
use crate::driver;
use crate::driver::redis::{Script, reply};
use crate::registry::check::{ERROR_ID, RECORD_BYTES_MAX, check, own_node};
use crate::registry::record::Record;
use crate::registry::redis::name::{escaped, plain};
use crate::registry::redis::own::Own;
use crate::registry::{Capabilities, Event, Registry, Watch};

/// How long a change takes to reach every reader: it is published at once, a reader may be slow.
const PROPAGATION: Duration = Duration::from_secs(1);

/// The longest lease: a year.
const TTL_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Events that wait for the reader of a watch; further changes are heard and wait apart.
const EVENTS_MAX: usize = 16;

/// A registry on a server; clones share it.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
}

struct Shared {
    redis: Arc<driver::Redis>,
    limits: RegistryLimits,
    /// What the names of all keys begin with.
    prefix: String,
    /// What the names of all channels begin with.
    channels: String,
    own: Own,
    /// Restores what is registered, from the first registration on.
    restoring: OnceLock<TaskHandle>,
}

/// What becomes of a node that is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// It is replaced.
    Nothing,
    /// It stays: it may be a twin's.
    WhatIsThere,
}

impl Redis {
    /// Makes a registry; the names of its keys on the server begin with `prefix`.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use micro::core::limits::RegistryLimits;
    /// use micro::core::shutdown::TaskTracker;
    /// use micro::driver::{Redis, Server};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let redis = Arc::new(Redis::open(&Server::new("127.0.0.1", 6379), &TaskTracker::new())?);
    /// let registry = micro::registry::Redis::new(redis, "micro", RegistryLimits::default());
    /// # Ok::<(), micro::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn new(redis: Arc<driver::Redis>, prefix: impl AsRef<str>, limits: RegistryLimits) -> Self {
        let prefix = prefix.as_ref();
        // Channels are of the whole server and not of a database.
        let channels = format!("{}:registry:events:{}:", escaped(prefix), redis.number());
        let prefix = format!("{prefix}:registry:");
        let (own, restoring) = (Own::default(), OnceLock::new());
        Self { shared: Arc::new(Shared { redis, limits, prefix, channels, own, restoring }) }
    }
}

impl Shared {
    async fn ask(&self, what: &str, script: &Script, arguments: &[&[u8]]) -> Result<Value> {
        let mut call = script.call(&[]);
        call.arg(&self.prefix).arg(&self.channels).arg(arguments);
        self.redis.run(what, script, &call).await
    }

    async fn register(self: &Arc<Self>, record: &Record, ttl: Duration) -> Result<()> {
        check(record, ttl, &self.limits)?;
        self.restoring.get_or_init(|| {
            let restoring = own::restore(Arc::downgrade(self), self.redis.made());
            self.redis.tasks().spawn("registry.redis", restoring).abort_on_drop()
        });
        let outcome = self.put(record, ttl, Keep::Nothing).await;
        // What may have happened has to last as what did.
        if !outcome.as_ref().is_err_and(|error| error.retry() != Retry::Unknown) {
            self.own.note(record, ttl);
        }
        outcome
    }

    async fn put(&self, record: &Record, ttl: Duration, keep: Keep) -> Result<()> {
        let node = own_node(record)?;
        let json = serde_json::to_vec(record)
            .map_err(|error| Error::bad_request(ERROR_ID, error.to_string()).with_source(error))?;
        if json.len() > RECORD_BYTES_MAX {
            let detail = format!("the record of {} has {} bytes", record.name, json.len());
            return Err(Error::too_large(ERROR_ID, detail));
        }
        let (service, id) = (escaped(&record.name), escaped(&node.id));
        let millis = ttl.min(TTL_MAX).as_millis().max(1).to_string();
        let limits = &self.limits;
        let (nodes, services) =
            (limits.nodes_per_service_max.to_string(), limits.services_max.to_string());
        let arguments: [&[u8]; 7] = [
            service.as_bytes(),
            id.as_bytes(),
            &json,
            millis.as_bytes(),
            nodes.as_bytes(),
            services.as_bytes(),
            if keep == Keep::WhatIsThere { b"1" } else { b"0" },
        ];
        match self.ask("register", &scripts::REGISTER, &arguments).await.and_then(reply::number)? {
            0 => {
                let detail = format!("no room for node {} of {}", node.id, record.name);
                Err(Error::too_many_requests(ERROR_ID, detail).with_retry(Retry::Safe))
            }
            _ => Ok(()),
        }
    }

    async fn deregister(&self, record: &Record) -> Result<()> {
        let node = own_node(record)?;
        self.own.forget(record);
        let _turn = self.own.turn().await;
        let (service, id) = (escaped(&record.name), escaped(&node.id));
        let arguments = [service.as_bytes(), id.as_bytes(), node.address.as_bytes()];
        self.ask("deregister", &scripts::DEREGISTER, &arguments).await.map(drop)
    }

    /// Reads the records of a service, or of all, and the number of the last event before.
    async fn state(&self, service: Option<&str>) -> Result<(i64, Vec<Record>)> {
        let service = service.map(escaped);
        let arguments: Vec<&[u8]> = service.iter().map(String::as_bytes).collect();
        let answer = self.ask("lookup", &scripts::STATE, &arguments).await?;
        let [revision, records] = reply::tuple(answer)?;
        let mut read = Vec::new();
        for json in reply::list(records)? {
            let json = reply::bytes(json)?;
            if json.len() > RECORD_BYTES_MAX {
                continue;
            }
            match serde_json::from_slice(&json) {
                Ok(record) => read.push(record),
                Err(error) => tracing::warn!(%error, "a record on the server cannot be read"),
            }
        }
        Ok((reply::number(revision)?, read))
    }

    async fn list(&self) -> Result<Vec<String>> {
        let names = self.ask("list", &scripts::SERVICES, &[]).await?;
        let name = |name| plain(&reply::text(name)?).ok_or_else(|| reply::odd("names"));
        let mut names = reply::list(names)?.into_iter().map(name).collect::<Result<Vec<_>>>()?;
        names.sort_unstable();
        Ok(names)
    }

    async fn watch(self: &Arc<Self>, service: Option<&str>) -> Result<Watch> {
        let (ear, heard) = follow::ear();
        let name = service.map_or_else(|| "*".to_owned(), escaped);
        let channel = format!("{}{name}", self.channels);
        let listening = self.redis.listen(&channel, service.is_none(), ear).await?;
        let (revision, records) = self.state(service).await?;
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        // The channel is empty: there is room.
        let _sent = sender.try_send(Event::Reset(Record::merge(records))).is_ok();
        let service = service.map(str::to_owned);
        let driver = follow::follow(Arc::clone(self), service, heard, sender, revision);
        Ok(Watch::driven(events, listening, driver))
    }
}

impl Registry for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { ttl: true, watch: true, register: true, propagation: PROPAGATION }
    }

    fn register<'a>(&'a self, record: &'a Record, ttl: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.shared.register(record, ttl))
    }

    fn deregister<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.shared.deregister(record))
    }

    fn lookup<'a>(&'a self, service: &'a str) -> BoxFuture<'a, Result<Option<Vec<Record>>>> {
        Box::pin(async move {
            let records = Record::merge(self.shared.state(Some(service)).await?.1);
            Ok(if records.is_empty() { None } else { Some(records) })
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(self.shared.list())
    }

    fn watch<'a>(&'a self, service: Option<&'a str>) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(self.shared.watch(service))
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("redis", &self.shared.redis).finish_non_exhaustive()
    }
}
