//! Registry in a bucket of keys and values on NATS.
//!
//! A node is under `<service>.<id>`, its value go-micro's JSON of the service with that one node.
//! Letters and digits of the names stand for themselves, other bytes for `-`, `=`, `_` or `z` and
//! two digits in hexadecimal.
//!
//! # Consistency
//! A lookup sees every registration that returned before it; in a cluster it may be answered by a
//! copy that lags. A watch tells the changes of a node in order, and the whole state again after a
//! gap.
//!
//! # Durability
//! That of the stream of the bucket, in files on the server. A node ends with its time to live
//! whether the server was up or not.
//!
//! # Limits
//! Times to live are rounded up to whole seconds. A watch or lookup of one service holds as many
//! nodes as [`RegistryLimits`] says, one of all services as many as that for each service; where
//! there are more it is a 429. Registering counts nothing.
//!
//! Each heartbeat is a write, which the server passes to whoever watches the service; readers drop
//! what changes nothing.
//!
//! # When the server fails
//! Writes and lookups fail with a 503 within 2 s, or within 5 s if the server was asked already. A
//! watch waits, begins again when the server is back, and tells the whole state.
//!
//! # Configuration
//! `nats://user:password@host:4222,host/bucket?replicas=3`: the bucket is `micro-registry` unless
//! named, and is made with as many replicas, by default 1.
//!
//! # Not supported
//! TLS to the server. Servers before 2.11, which have no times to live of single keys.
//!
//! # Tested against
//! NATS 2.15.1.

mod watch;

use std::sync::Arc;
use std::time::Duration;

use crate::core::error::{Error, Result};
use crate::core::future::BoxFuture;
use crate::core::limits::RegistryLimits;
use crate::driver::{self, Begin, Bucket, Entry, Follower, Outcome, Put, decode, encode};
use crate::registry::check::{ERROR_ID, RECORD_BYTES_MAX, check, own_node};
use crate::registry::record::Record;
use crate::registry::{Capabilities, Registry, Watch};

/// The bucket of registries that name none.
const BUCKET: &str = "micro-registry";

/// How long a change takes to reach whoever watches, on a server that is not overloaded.
const PROPAGATION: Duration = Duration::from_millis(500);

/// Tries to remove a node that is written at the same time.
const REMOVE_TRIES_MAX: usize = 8;

/// A registry on NATS; clones share it.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use micro::Service;
/// use micro::core::shutdown::TaskTracker;
/// use micro::driver::{self, Server};
/// use micro::registry;
///
/// # async fn example() -> micro::Result<()> {
/// let server = Server::new("10.0.0.1", 4222);
/// let nats = Arc::new(driver::Nats::open(&server, &TaskTracker::new())?);
/// let service = Service::new("shop").registry(registry::Nats::new(nats)?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Nats {
    bucket: Arc<Bucket>,
    limits: RegistryLimits,
}

impl Nats {
    /// Keeps nodes in the bucket `micro-registry`, one copy, with the usual limits; does no I/O.
    ///
    /// # Errors
    /// As [`Self::in_bucket`].
    pub fn new(nats: Arc<driver::Nats>) -> Result<Self> {
        Self::in_bucket(nats, BUCKET, 1, RegistryLimits::DEFAULT)
    }

    /// Keeps nodes in a bucket, of which there are so many copies where it is made.
    ///
    /// # Errors
    /// 412 when the bucket has characters other than letters, digits, `-` and `_`, or the copies
    /// are not 1 to 5.
    pub fn in_bucket(
        nats: Arc<driver::Nats>,
        bucket: &str,
        replicas: usize,
        limits: RegistryLimits,
    ) -> Result<Self> {
        let bucket = if bucket.is_empty() { BUCKET } else { bucket };
        Ok(Self { bucket: Arc::new(Bucket::made(nats, bucket, replicas)?), limits })
    }

    /// Reads everything under a pattern.
    async fn state(&self, service: Option<&str>, begin: Begin) -> Result<Vec<Entry>> {
        let (pattern, most) = self.asked(service);
        let mut follower = Follower::begin(&self.bucket, &pattern, begin).await?;
        let state = follower.state(most).await;
        follower.end().await;
        state
    }

    /// Returns the pattern of the keys of a service, or of all, and how many there may be.
    fn asked(&self, service: Option<&str>) -> (String, usize) {
        let nodes = self.limits.nodes_per_service_max;
        match service {
            Some(service) => (format!("{}.*", encode(service)), nodes),
            None => ("*.*".to_owned(), nodes.saturating_mul(self.limits.services_max)),
        }
    }
}

impl Registry for Nats {
    fn name(&self) -> &'static str {
        "nats"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { ttl: true, watch: true, register: true, propagation: PROPAGATION }
    }

    fn register<'a>(&'a self, record: &'a Record, ttl: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let node = check(record, ttl, &self.limits)?;
            let value = serde_json::to_vec(record).map_err(|error| {
                let detail = format!("the record of {} cannot be written as JSON", node.id);
                Error::bad_request(ERROR_ID, detail).with_source(error)
            })?;
            if value.len() > RECORD_BYTES_MAX {
                let (id, bytes) = (&node.id, value.len());
                let detail =
                    format!("the record of {id} has {bytes} bytes, at most {RECORD_BYTES_MAX}");
                return Err(Error::too_large(ERROR_ID, detail));
            }
            let key = key(&record.name, &node.id);
            let (value, note, expected) = (value.into(), None, None);
            let put = Put { key: &key, value, note, life: Some(ttl), expected };
            self.bucket.write(put).await.map(drop)
        })
    }

    fn deregister<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let node = own_node(record)?;
            let key = key(&record.name, &node.id);
            for _ in 0..REMOVE_TRIES_MAX {
                let Some(entry) = self.bucket.read(&key).await? else { return Ok(()) };
                // Another address means that a twin has taken the id since: it stays.
                let is_own =
                    |known: &Record| known.nodes.iter().all(|known| known.address == node.address);
                if entry.value.is_none() || read(&entry).is_some_and(|known| !is_own(&known)) {
                    return Ok(());
                }
                match self.bucket.remove(&key, Some(entry.revision)).await? {
                    Outcome::Written(_) => return Ok(()),
                    // A heartbeat, or a twin: look again.
                    Outcome::Outdated => {}
                }
            }
            let detail = format!("node {} is written again and again, it stays", node.id);
            Err(Error::aborted(ERROR_ID, detail))
        })
    }

    fn lookup<'a>(&'a self, service: &'a str) -> BoxFuture<'a, Result<Option<Vec<Record>>>> {
        Box::pin(async move {
            let state = self.state(Some(service), Begin::State).await?;
            let records = Record::merge(state.iter().filter_map(read));
            Ok((!records.is_empty()).then_some(records))
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(async move {
            let state = self.state(None, Begin::Keys).await?;
            let services = state.iter().filter_map(|entry| names(&entry.key));
            let mut services: Vec<_> = services.map(|(service, _)| service).collect();
            services.sort();
            services.dedup();
            Ok(services)
        })
    }

    fn watch<'a>(&'a self, service: Option<&'a str>) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(async move {
            let (pattern, most) = self.asked(service);
            watch::watch(&self.bucket, pattern, most).await
        })
    }
}

fn key(service: &str, node: &str) -> String {
    format!("{}.{}", encode(service), encode(node))
}

/// Reads the names of a service and a node; `None` if somebody else wrote the key.
fn names(key: &str) -> Option<(String, String)> {
    let (service, node) = key.split_once('.')?;
    Some((decode(service)?, decode(node)?))
}

/// Reads the record under a key; `None` if it is none, or one of another node.
fn read(entry: &Entry) -> Option<Record> {
    let value = entry.value.as_ref().filter(|value| value.len() <= RECORD_BYTES_MAX)?;
    let (service, node) = names(&entry.key)?;
    let record: Record = serde_json::from_slice(value).ok()?;
    let is_of_key = record.name == service && matches!(&*record.nodes, [own] if own.id == node);
    if !is_of_key {
        tracing::debug!(key = entry.key, "a record is not that of its key");
    }
    is_of_key.then_some(record)
}
