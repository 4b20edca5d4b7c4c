//! Who serves what, and where: registration with leases, lookup, listing and watching.
//!
//! Records have go-micro's JSON shape, so that services of both worlds share a registry. A record
//! handed to [`Registry::register`] holds exactly one node, the caller's own.

mod cache;
mod check;
#[cfg(feature = "consul")]
mod consul;
#[cfg(feature = "dns")]
mod dns;
#[cfg(feature = "etcd")]
mod etcd;
mod file;
#[cfg(feature = "gossip")]
mod gossip;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod lease;
mod local;
#[cfg(feature = "mdns")]
mod mdns;
mod memory;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "nats")]
mod nats_broadcast;
mod pace;
#[cfg(any(feature = "consul", feature = "mdns"))]
mod packed;
mod record;
#[cfg(feature = "redis")]
mod redis;
mod table;
#[cfg(feature = "zookeeper")]
mod zookeeper;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::core::error::Result;
use crate::core::future::BoxFuture;

pub use self::cache::{Cached, Loaded, View};
pub use self::check::{ADDRESS_BYTES_MAX, NAME_BYTES_MAX, RECORD_BYTES_MAX, check, own_node};
#[cfg(feature = "consul")]
pub use self::consul::Consul;
#[cfg(feature = "dns")]
pub use self::dns::{Dns, DnsConfig};
#[cfg(feature = "etcd")]
pub use self::etcd::Etcd;
pub use self::file::StaticFile;
#[cfg(feature = "gossip")]
pub use self::gossip::{Gossip, GossipConfig};
#[cfg(feature = "kubernetes")]
pub use self::kubernetes::{Kubernetes, KubernetesConfig};
pub use self::lease::Lease;
pub use self::local::Local;
#[cfg(feature = "mdns")]
pub use self::mdns::{Mdns, MdnsConfig};
pub use self::memory::Memory;
#[cfg(feature = "nats")]
pub use self::nats::Nats;
#[cfg(feature = "nats")]
pub use self::nats_broadcast::NatsBroadcast;
pub use self::record::{Endpoint, Instance, Node, Record, Snapshot, Value};
#[cfg(feature = "redis")]
pub use self::redis::Redis;
#[cfg(feature = "zookeeper")]
pub use self::zookeeper::ZooKeeper;

/// A backend that keeps the records of services.
///
/// Every method may be repeated. A method that fails with `Retry::Unknown` may have taken effect;
/// repeating it is always right, because each states a fact rather than a change.
pub trait Registry: fmt::Debug + Send + Sync + 'static {
    /// Returns the short name of the backend, such as `local`.
    fn name(&self) -> &'static str;

    /// Returns what the backend can do.
    fn capabilities(&self) -> Capabilities;

    /// Creates or renews the lease of the record's single node.
    ///
    /// The node disappears from lookups when it is not renewed within `ttl`. A record that
    /// [`check`] refuses is a 400 or 413, a full registry a 429; a backend that cannot register is
    /// a 501. A node with the same id is replaced.
    fn register<'a>(&'a self, record: &'a Record, ttl: Duration) -> BoxFuture<'a, Result<()>>;

    /// Removes the record's single node; an absent node is not an error.
    ///
    /// A node with the same id at another address belongs to a twin started since: it stays.
    fn deregister<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<()>>;

    /// Returns the records of a service, or `None` if nothing serves it.
    ///
    /// Nodes of one version with the same endpoints and metadata share a record, as by
    /// [`Record::merge`].
    fn lookup<'a>(&'a self, service: &'a str) -> BoxFuture<'a, Result<Option<Vec<Record>>>>;

    /// Returns the sorted names of all services.
    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>>;

    /// Watches one service, or all of them.
    ///
    /// The first event is always [`Event::Reset`] with the state at the start, so that nothing
    /// falls between a lookup and the watch. A watch reports whole batches in order.
    fn watch<'a>(&'a self, service: Option<&'a str>) -> BoxFuture<'a, Result<Watch>>;
}

/// What a registry backend can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Nodes that are not renewed disappear.
    pub ttl: bool,
    /// [`Registry::watch`] works; otherwise it returns `Unsupported` (501).
    pub watch: bool,
    /// [`Registry::register`] works; a static file has it not.
    pub register: bool,
    /// How long a change takes to reach every reader: the time a draining node keeps serving.
    pub propagation: Duration,
}

/// A change seen by a watcher.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A node appeared or changed; the record holds just that node.
    Update(Record),
    /// A node went away.
    Remove {
        /// The name of the service.
        service: String,
        /// The id of the node.
        node: String,
    },
    /// The whole state of what is watched: at the start, and after a gap.
    Reset(Vec<Record>),
}

/// A stream of changes in order, without loss between two [`Event::Reset`]s.
///
/// Dropping it ends the watch. `None` means that the backend ended it, or that the reader was too
/// slow; watch again.
pub struct Watch {
    events: mpsc::Receiver<Event>,
    /// Work that the watch does while someone waits for its events; `None` once it is done.
    driver: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Whatever keeps the source alive; dropped with the watch.
    _source: Box<dyn std::any::Any + Send>,
}

impl Watch {
    /// Makes a watch that reads from `events` and drops `source` when it is dropped.
    pub fn new(events: mpsc::Receiver<Event>, source: impl std::any::Any + Send) -> Self {
        Self { events, driver: None, _source: Box::new(source) }
    }

    /// Makes a watch that also runs `driver` while it waits, so that no task is needed.
    pub fn driven(
        events: mpsc::Receiver<Event>,
        source: impl std::any::Any + Send,
        driver: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        Self { events, driver: Some(Box::pin(driver)), _source: Box::new(source) }
    }

    /// Takes the next change if it has arrived.
    pub fn try_next(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// Waits for the next change; cancel safe.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| {
            if let Some(driver) = &mut self.driver
                && driver.as_mut().poll(cx).is_ready()
            {
                self.driver = None;
            }
            self.events.poll_recv(cx)
        })
        .await
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
