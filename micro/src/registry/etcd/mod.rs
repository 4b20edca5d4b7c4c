//! Registry on etcd, in the records of go-micro: one key for each node, kept by a lease.
//!
//! # Consistency
//! A lookup is answered by the member that is asked, by what it knows (serializable), as long as it
//! knows a leader: it may be behind by what that member has not heard. A watch begins with a state
//! that is linearizable and tells every revision whole and in order; after a break it goes on with the
//! next revision. Clients read through [`Cached`](crate::registry::Cached), which goes by the watch:
//! no late answer takes it back, and `View::stale_for` tells how old a state is.
//!
//! # Durability
//! A record lives as long as its lease is renewed, whatever becomes of the server meanwhile; one
//! that loses its data gets the records back as soon as it answers.
//!
//! # Limits
//! A lease is whole seconds, rounded up, and at least what the servers allow: 2 s as they come.
//! A record has at most 1 MiB, within the 1.5 MiB of etcd's requests; `/` in names is written as
//! `-`, so a node whose service or id differs from another's in that alone is a 409. Nodes of a
//! service and services beyond [`RegistryLimits`] are not found. A watcher that takes no event for
//! 5 s is ended.
//!
//! # When the server fails
//! Registrations and lookups fail within 3 s with a 503 and are repeated by those who need them; what
//! was registered is looked after within half a second when a member is back.
//! Watches stay open and silent, and go on when a member is back. Nodes that vanish within 10 s
//! after that, whose leases ended while nobody could renew them, are kept back for as long; those
//! that are not back by then are told as a whole state, so that a
//! [`Cached`](crate::registry::Cached) registry doubts the loss of many.
//!
//! # Configuration
//! `etcd://user:password@host:2379,host2/namespace`: members are tried in turn; the namespace, if
//! there is one, stands before `/micro/registry/`. [`Etcd::within`] in code.
//!
//! # Not supported
//! TLS to the server.
//!
//! # Tested against
//! etcd 3.4.23, one member.

mod follow;
mod held;
mod place;

use std::collections::BTreeSet;
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
use crate::registry::etcd::follow::Follower;
use crate::registry::etcd::held::Holder;
use crate::registry::etcd::place::{Place, decode};
use crate::registry::record::Record;

/// How long a change takes to reach every watcher: a round of the members and a message, and some
/// more for one that is busy.
const PROPAGATION: Duration = Duration::from_secs(1);

/// A registry on etcd.
///
/// ```
/// use micro::core::limits::RegistryLimits;
/// use micro::core::shutdown::TaskTracker;
/// use micro::driver::{self, Server};
/// use micro::registry;
/// use std::sync::Arc;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let server = Server::new("127.0.0.1", driver::Etcd::PORT);
/// let etcd = Arc::new(driver::Etcd::open(&server, &TaskTracker::new())?);
/// let registry = registry::Etcd::new(etcd, RegistryLimits::default()).within("staging");
/// # let _ = registry;
/// # Ok::<(), micro::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct Etcd {
    etcd: Arc<driver::Etcd>,
    place: Place,
    limits: RegistryLimits,
    holder: Arc<Holder>,
    _restorer: TaskHandle,
}

impl Etcd {
    /// Makes a registry over a connection; asks nothing yet. Must be called inside a tokio runtime.
    pub fn new(etcd: Arc<driver::Etcd>, limits: RegistryLimits) -> Self {
        let (place, holder) = (Place::within(""), Arc::<Holder>::default());
        let restore = Holder::restore(Arc::downgrade(&holder), Arc::clone(&etcd));
        let restorer = etcd.tasks().spawn("registry.etcd.restore", restore).abort_on_drop();
        Self { etcd, place, limits, holder, _restorer: restorer }
    }

    /// Keeps the records in a namespace of its own; empty for none.
    #[must_use]
    pub fn within(mut self, namespace: &str) -> Self {
        self.place = Place::within(namespace);
        self
    }

    async fn records(&self, service: &str) -> Result<Option<Vec<Record>>> {
        let (found, _) = self.etcd.whole(&self.place.service(service), true).await?;
        let records = found.iter().filter_map(|kv| decode(&kv.value));
        let own = records.filter(|record| record.name == service);
        let records = Record::merge(own.take(self.limits.nodes_per_service_max));
        Ok(Some(records).filter(|records| !records.is_empty()))
    }

    async fn names(&self) -> Result<Vec<String>> {
        let (found, _) = self.etcd.whole(&self.place.all(), true).await?;
        let names = found.iter().filter_map(|kv| decode(&kv.value)).map(|record| record.name);
        let names: BTreeSet<String> = names.collect();
        Ok(names.into_iter().take(self.limits.services_max).collect())
    }
}

impl Registry for Etcd {
    fn name(&self) -> &'static str {
        "etcd"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { ttl: true, watch: true, register: true, propagation: PROPAGATION }
    }

    fn register<'a>(&'a self, record: &'a Record, ttl: Duration) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let node = crate::registry::check::check(record, ttl, &self.limits)?;
            let key = self.place.node(&record.name, &node.id);
            self.holder.keep(&self.etcd, key, (record, node), ttl).await
        })
    }

    fn deregister<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let node = crate::registry::check::own_node(record)?;
            let key = self.place.node(&record.name, &node.id);
            self.holder.release(&self.etcd, key, (record, node)).await
        })
    }

    fn lookup<'a>(&'a self, service: &'a str) -> BoxFuture<'a, Result<Option<Vec<Record>>>> {
        Box::pin(self.records(service))
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(self.names())
    }

    fn watch<'a>(&'a self, service: Option<&'a str>) -> BoxFuture<'a, Result<Watch>> {
        Box::pin(async move {
            let span = service.map_or_else(|| self.place.all(), |name| self.place.service(name));
            Follower::start(Arc::clone(&self.etcd), span, service).await
        })
    }
}
