//! Registry in Consul, with records as go-micro keeps them there.
//!
//! A node is a service of the agent, whose check the heartbeats pass.
//!
//! # Consistency
//! Reads are Consul's default: the leader's, stale for moments while a leader changes. A watch waits
//! at the agent and sees each change in order, several at once as the last of them; after a gap it
//! goes on with the differences.
//!
//! # Durability
//! The agent keeps what is registered across its restart; a node that it has lost is there again
//! with the next heartbeat, or as soon as the connection is back.
//!
//! # Limits
//! 64 MiB of an answer, 1 MiB of a record, nodes of a service as
//! [`RegistryLimits::nodes_per_service_max`] says, 1,024 own nodes. A node that stops its heartbeats
//! is passed over after its time to live and removed by Consul after 65 s or more. Consul knows no
//! compare-and-swap of services: a twin that registers in the very moment in which its ghost is
//! removed goes with it until its next heartbeat.
//!
//! # When the server fails
//! Every operation is a 503 within 4 s; watches go on by themselves, and a
//! [`Cached`](crate::registry::Cached) reader with what it knows.
//!
//! # Configuration
//! `consul://:token@127.0.0.1:8500`: the agent of the machine, port 8500 by default. The password is
//! the token of Consul's access control. Further hosts are used when the first does not answer; a
//! node registered at two agents is found twice until the first one has removed it.
//!
//! # Not supported
//! TLS to the agent, datacenters other than the agent's, namespaces, services of others that have no
//! tag with a version.
//!
//! # Tested against
//! A stand-in that answers as Consul's description of its HTTP API says. No real Consul.

mod entry;
mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Method;

use crate::core::clock::{self, Instant};
use crate::core::error::{Error, Result};
use crate::core::future::BoxFuture;
use crate::core::limits::RegistryLimits;
use crate::core::shutdown::{TaskHandle, TaskTracker};
use crate::driver;
use crate::driver::escaped;
use crate::registry::check::{ERROR_ID, check, own_node};
use crate::registry::consul::entry::{Entry, Found, Service, Shape};
use crate::registry::record::Record;
use crate::registry::table::Table;
use crate::registry::{Capabilities, Registry, Watch};

/// How long a change takes to reach every reader: the answer to those that wait.
const PROPAGATION: Duration = Duration::from_secs(1);
/// Nodes that one process registers; more are a 429.
const OWN_MAX: usize = 1024;

/// A registry in Consul; clones share the connection.
#[derive(Clone)]
pub struct Consul {
    reader: Reader,
    own: Arc<Own>,
    /// Registers own nodes again when the agent is back, until the last clone is gone.
    _restorer: Arc<TaskHandle<()>>,
}

/// The nodes of this process: by id the body they were registered with, and their leases' end.
type Own = Mutex<BTreeMap<String, (String, Instant)>>;

/// Reads what others registered.
#[derive(Clone)]
pub(super) struct Reader {
    consul: Arc<driver::Consul>,
    limits: RegistryLimits,
}

impl Consul {
    /// Makes a registry on a connection, with a task of `tasks` that ends with its last clone.
    pub fn new(consul: Arc<driver::Consul>, limits: RegistryLimits, tasks: &TaskTracker) -> Self {
        let own = Arc::<Own>::default();
        let restore = restore(Arc::clone(&consul), Arc::clone(&own));
        let restorer = tasks.spawn("registry.consul", restore).abort_on_drop();
        let reader = Reader { consul, limits };
        Self { reader, own, _restorer: Arc::new(restorer) }
    }

    async fn register(&self, record: &Record, ttl: Duration) -> Result<()> {
        let node = check(record, ttl, &self.reader.limits)?;
        let body = entry::registration(record, node, ttl)?;
        let id = entry::id(&record.name, &node.id);
        let end = clock::after(clock::now(), ttl);
        {
            let own = lock(&self.own);
            if own.len() >= OWN_MAX && !own.contains_key(&id) {
                let detail = format!("a process registers {OWN_MAX} nodes in consul, not more");
                return Err(Error::too_many_requests(ERROR_ID, detail));
            }
        }
        let known = lock(&self.own).get(&id).is_some_and(|(known, _)| *known == body);
        if !known || !self.pass(&id).await? {
            // Forgotten first, so that a write that fails is not taken for done.
            lock(&self.own).remove(&id);
            enroll(&self.reader.consul, &body).await?;
        }
        lock(&self.own).insert(id, (body, end));
        Ok(())
    }

    /// Renews a node; `false` if the agent does not know it.
    async fn pass(&self, id: &str) -> Result<bool> {
        let path = format!("/v1/agent/check/pass/service:{}", escaped(id, ""));
        let answer = self.reader.consul.tell(&Method::PUT, &path, Bytes::new()).await?;
        match answer.status() {
            // Older agents say 500 where the check is not known: registering decides.
            404 | 500 => Ok(false),
            _ => answer.accepted().map(|_| true),
        }
    }

    async fn deregister(&self, record: &Record) -> Result<()> {
        let node = own_node(record)?;
        let id = entry::id(&record.name, &node.id);
        lock(&self.own).remove(&id);
        let path = format!("/v1/agent/service/{}", escaped(&id, ""));
        let known: Service = match self.reader.consul.ask(&Method::GET, &path, Bytes::new()).await {
            Ok(answer) => parsed(answer.body())?,
            Err(error) if error.code() == 404 => return Ok(()),
            Err(error) => return Err(error),
        };
        if !known.is_at(&node.address) {
            return Ok(());
        }
        let path = format!("/v1/agent/service/deregister/{}", escaped(&id, ""));
        match self.reader.consul.ask(&Method::PUT, &path, Bytes::new()).await {
            Err(error) if error.code() != 404 => Err(error),
            _ => Ok(()),
        }
    }

    async fn watch(&self, service: Option<&str>) -> Result<Watch> {
        let (reader, table) = (self.reader.clone(), Arc::new(Table::default()));
        let Some(service) = service else {
            let mut all = watch::All::default();
            all.step(&reader, &table).await?;
            let events = table.watch(None);
            return Ok(Watch::driven(events, (), watch::all(reader, table, all)));
        };
        let (records, index) = reader.service(service, 0).await?;
        table.replace(&records);
        let events = table.watch(None);
        let driver = watch::one(reader, service.to_owned(), table, index);
        Ok(Watch::driven(events, (), driver))
    }
}

impl Reader {
    /// Returns the records of a service once they are later than `index`, and from where on.
    async fn service(&self, service: &str, index: u64) -> Result<(Vec<Record>, u64)> {
        let path = format!("/v1/health/service/{}", escaped(service, ""));
        let answer = self.consul.wait(&path, index).await?.accepted()?;
        let next = answer.resume(index);
        let mut entries: Vec<Entry> = parsed(answer.body())?;
        let nodes_max = self.limits.nodes_per_service_max;
        if entries.len() > nodes_max {
            tracing::warn!(service, nodes_max, "further nodes are left out");
            entries.truncate(nodes_max);
        }
        Ok((Record::merge(entries.iter().filter_map(Entry::record)), next))
    }

    /// Returns how all services are, once anything is later than `index`, and from where on.
    async fn shapes(&self, index: u64) -> Result<(BTreeMap<String, Shape>, u64)> {
        let answer = self.consul.wait("/v1/health/state/any", index).await?.accepted()?;
        let next = answer.resume(index);
        let checks: Vec<Found> = parsed(answer.body())?;
        let shapes = entry::shapes(&checks).into_iter();
        let served = shapes.filter(|(_, shape)| entry::is_served(shape));
        Ok((served.map(|(name, shape)| (name.to_owned(), shape)).collect(), next))
    }
}

/// Registers what is new or was lost.
async fn enroll(consul: &driver::Consul, body: &str) -> Result<()> {
    let body = Bytes::copy_from_slice(body.as_bytes());
    consul.ask(&Method::PUT, "/v1/agent/service/register", body).await.map(drop)
}

/// Registers the own nodes again whenever the agent is back, forever.
async fn restore(consul: Arc<driver::Consul>, own: Arc<Own>) {
    let mut returns = consul.returns();
    while returns.changed().await.is_ok() {
        let now = clock::now();
        let bodies: Vec<_> = lock(&own)
            .iter()
            .filter(|(_, (_, end))| *end > now)
            .map(|(id, (body, _))| (id.clone(), body.clone()))
            .collect();
        for (id, body) in bodies {
            if let Err(error) = enroll(&consul, &body).await {
                // The next heartbeat of its lease does it.
                tracing::debug!(id, %error, "node not registered again yet");
            } else if !lock(&own).contains_key(&id) {
                // It was deregistered meanwhile.
                let path = format!("/v1/agent/service/deregister/{}", escaped(&id, ""));
                consul.ask(&Method::PUT, &path, Bytes::new()).await.ok();
            }
        }
    }
}

fn lock(own: &Own) -> MutexGuard<'_, BTreeMap<String, (String, Instant)>> {
    own.lock().unwrap_or_else(PoisonError::into_inner)
}

fn parsed<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| {
        let detail = format!("an answer of consul is not what it should be: {error}");
        Error::internal(ERROR_ID, detail).with_source(error)
    })
}

impl Registry for Consul {
    fn name(&self) -> &'static str {
        "consul"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { ttl: true, watch: true, register: true, propagation: PROPAGATION }
    }

    fn register<'a>(&'a self, record: &'a Record, ttl: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.register(record, ttl))
    }

    fn deregister<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.deregister(record))
    }

    fn lookup<'a>(&'a self, service: &'a str) -> BoxFuture<'a, Result<Option<Vec<Record>>>> {
        Box::pin(async move {
            let (records, _) = self.reader.service(service, 0).await?;
            Ok(if records.is_empty() { None } else { Some(records) })
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(async { Ok(self.reader.shapes(0).await?.0.into_keys().collect()) })
    }

    fn watch<'a>(&'a self, service: Option<&'a str>) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(self.watch(service))
    }
}

impl fmt::Debug for Consul {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consul").field("at", &self.reader.consul).finish_non_exhaustive()
    }
}
