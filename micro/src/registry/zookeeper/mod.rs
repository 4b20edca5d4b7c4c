//! Registry on ZooKeeper: one ephemeral node for each record, with go-micro's JSON.
//!
//! # Consistency
//! A member answers by what it knows, which may lag the leader for moments. A watch tells the
//! changes of each node in order, several at once as the last of them; after a break it reads
//! everything and tells what differs.
//!
//! # Durability
//! A record lives as long as the session of its process and is renewed within its time to live.
//! Sessions survive the restart of the servers. Where one has ended its records are written again
//! as soon as there is another.
//!
//! # Limits
//! A process that dies takes its records along after the timeout of its session, 10 s, whatever
//! their time to live is. A record has at most 1,000,000 bytes, as servers take it. Nodes of a
//! service and services beyond [`RegistryLimits`] are not found. A watcher that takes no event for
//! 5 s is ended. ZooKeeper deletes by the version of a node alone: a twin that registers in the
//! very moment in which its ghost is removed goes with it until its next heartbeat.
//!
//! # When the server fails
//! Registrations and lookups fail within 3 s with a 503. Watches stay open and silent, and go on
//! when a member is back. Nodes that vanish within 10 s after that are kept back for as long; those
//! that are not back by then are told as a whole state, so that a
//! [`Cached`](crate::registry::Cached) registry doubts the loss of many.
//!
//! # Configuration
//! `zookeeper://user:password@host:2181,host2/namespace`: members are tried in turn; the namespace,
//! if there is one, stands before `/micro/registry`. The user is one of the scheme `digest`.
//! [`ZooKeeper::within`] in code.
//!
//! # Not supported
//! TLS to the server. Access control of what is written: anyone may change it. The paths of
//! go-micro's plugin.
//!
//! # Tested against
//! ZooKeeper 3.8.0, one member.

mod follow;
mod held;
mod place;
mod read;

use std::sync::Arc;
use std::time::Duration;

use crate::core::error::Result;
use crate::core::future::BoxFuture;
use crate::core::limits::RegistryLimits;
use crate::core::shutdown::TaskHandle;
use crate::driver;
use crate::registry::Capabilities;
use crate::registry::Registry;
use crate::registry::Watch;
use crate::registry::check::{check, own_node};
use crate::registry::record::Record;
use crate::registry::zookeeper::follow::Follower;
use crate::registry::zookeeper::held::Holder;
use crate::registry::zookeeper::place::Place;

/// How long a change takes to reach every watcher: a round of the members, a message and a read.
const PROPAGATION: Duration = Duration::from_secs(1);

/// A registry on ZooKeeper.
///
/// ```
/// use micro::core::limits::RegistryLimits;
/// use micro::core::shutdown::TaskTracker;
/// use micro::driver::{self, Server};
/// use micro::registry;
/// use std::sync::Arc;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let server = Server::new("127.0.0.1", driver::ZooKeeper::PORT);
/// let zookeeper = Arc::new(driver::ZooKeeper::open(&server, &TaskTracker::new())?);
/// let registry = registry::ZooKeeper::new(zookeeper, RegistryLimits::default());
/// # let _ = registry;
/// # Ok::<(), micro::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct ZooKeeper {
    zookeeper: Arc<driver::ZooKeeper>,
    place: Place,
    limits: RegistryLimits,
    holder: Arc<Holder>,
    _tasks: [TaskHandle; 2],
}

impl ZooKeeper {
    /// Makes a registry over a connection; asks nothing yet. Must be called inside a tokio runtime.
    pub fn new(zookeeper: Arc<driver::ZooKeeper>, limits: RegistryLimits) -> Self {
        let (place, holder) = (Place::within(""), Arc::<Holder>::default());
        let restore = Holder::restore(Arc::downgrade(&holder), Arc::clone(&zookeeper));
        let reap = Holder::reap(Arc::downgrade(&holder), Arc::clone(&zookeeper));
        let tasks = [
            zookeeper.tasks().spawn("registry.zookeeper.restore", restore).abort_on_drop(),
            zookeeper.tasks().spawn("registry.zookeeper.reap", reap).abort_on_drop(),
        ];
        Self { zookeeper, place, limits, holder, _tasks: tasks }
    }

    /// Keeps the records in a namespace of its own; empty for none.
    #[must_use]
    pub fn within(mut self, namespace: &str) -> Self {
        self.place = Place::within(namespace);
        self
    }
}

impl Registry for ZooKeeper {
    fn name(&self) -> &'static str {
        "zookeeper"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { ttl: true, watch: true, register: true, propagation: PROPAGATION }
    }

    fn register<'a>(&'a self, record: &'a Record, ttl: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let node = check(record, ttl, &self.limits)?;
            let path = self.place.node(&record.name, &node.id);
            self.holder.keep(&self.zookeeper, path, record, ttl).await
        })
    }

    fn deregister<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let node = own_node(record)?;
            let path = self.place.node(&record.name, &node.id);
            self.holder.release(&self.zookeeper, path, (record, node)).await
        })
    }

    fn lookup<'a>(&'a self, service: &'a str) -> BoxFuture<'a, Result<Option<Vec<Record>>>> {
        Box::pin(async move {
            let found = read::service(&self.zookeeper, &self.place.service(service)).await?;
            let found = found.into_values().take(self.limits.nodes_per_service_max);
            Ok(Some(Record::merge(found)).filter(|records| !records.is_empty()))
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(async move {
            let mut names = read::services(&self.zookeeper, &self.place).await?;
            names.truncate(self.limits.services_max);
            Ok(names)
        })
    }

    fn watch<'a>(&'a self, service: Option<&'a str>) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(Follower::start(Arc::clone(&self.zookeeper), self.place.clone(), service))
    }
}
