//! Calling services: discovery, balancing, deadlines, retries, streams.
//!
//! A [`Client`] is a cheap handle; generated clients hold one. A plain call to a node with an open
//! connection runs without waiting up to the moment it is queued for writing, and without a box;
//! whatever else may be needed (dialing, retries, hedging, layers) is in `client::drive`.
//!
//! [`Builder::layer`] wraps every call in tower layers.

mod attempt;
mod bearer;
mod bounded;
mod builder;
mod call;
mod credentials;
mod dial;
mod drive;
mod dynamic;
mod endpoint;
mod failure;
mod hedge;
mod layer;
mod lent;
mod options;
mod peer;
mod plan;
mod pool;
mod publish;
mod recent;
mod room;
mod stub;
mod target;
mod targets;
#[cfg(test)]
mod tests;
mod turn;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::codec::{Codecs, Format};
use crate::core::budget::Budget;
use crate::core::clock;
use crate::core::descriptor::CallKind;
use crate::core::exchange::Route;
use crate::core::metadata::Metadata;
use crate::debug::Monitor;
use crate::registry::Cached;
use crate::selector::{Near, OutlierLimits, Selector};
use crate::transport::{Scope, Transport};

pub use self::bearer::{Bearer, Bearing};
pub use self::builder::Builder;
pub use self::call::{Call, ContractError};
pub(crate) use self::credentials::insert_bearer;
pub use self::layer::{Next, Reply, Request};
pub use self::options::Filter;
pub use self::publish::Publisher;
pub use self::stub::Stub;

use self::endpoint::Endpoint;
use self::peer::Peer;
use self::pool::Pool;
use self::target::Target;
use self::targets::Targets;

/// A handle that makes calls; clones share connections, views of the registry and load figures.
///
/// Connections are kept by node and shared by all services on it.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    format: Format,
}

struct Inner {
    registry: Cached,
    transport: Arc<dyn Transport>,
    selector: Arc<dyn Selector>,
    codecs: Codecs,
    scope: Scope,
    /// The budget that all services share, if one was given.
    budget: Option<Arc<Budget>>,
    outliers: OutlierLimits,
    near: Near,
    /// What every call carries, credentials above all.
    headers: Metadata,
    pool: Pool,
    publisher: Option<Publisher>,
    layers: Option<Next>,
    /// Records the tries of calls that are traced.
    monitor: Option<Monitor>,
    /// Where every call goes, past discovery.
    fixed: Option<Arc<Peer>>,
    targets: Mutex<Targets>,
}

impl Client {
    /// Begins a client that is made of given parts.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Makes a handle to the same client whose calls travel in another format, for services that do
    /// not speak the client's own; events keep it.
    ///
    /// ```
    /// use micro::client::Client;
    /// use micro::codec::Format;
    ///
    /// let client = Client::builder().build();
    /// let to_web_services = client.in_format(Format::Json);
    /// # drop(to_web_services);
    /// ```
    #[must_use]
    pub fn in_format(&self, format: Format) -> Self {
        Self { inner: Arc::clone(&self.inner), format }
    }

    /// Returns the format in which requests and responses travel.
    pub fn format(&self) -> &Format {
        &self.format
    }

    /// Returns the codecs that the client knows.
    pub fn codecs(&self) -> &Codecs {
        &self.inner.codecs
    }

    /// Returns the registry as the client sees it.
    pub fn registry(&self) -> &Cached {
        &self.inner.registry
    }

    /// Names an endpoint of a generated client.
    fn endpoint(&self, service: &'static str, name: &'static str, kind: CallKind) -> Endpoint {
        self.routed(service, |targets| targets.named(service, name, kind))
    }

    /// Names an endpoint for one call by names from run time.
    fn dynamic(&self, service: &str, name: &str, kind: CallKind) -> Endpoint {
        self.routed(service, |targets| targets.dynamic(service, name, kind))
    }

    fn routed(&self, service: &str, route: impl FnOnce(&mut Targets) -> Arc<Route>) -> Endpoint {
        let mut targets = self.inner.targets();
        let target = targets.find(service, || self.inner.target(service));
        let fallen = targets.keep(&target, clock::now());
        let route = route(&mut targets);
        drop(targets);
        // The last owner of a target ends its watch, which is not for this lock.
        drop(fallen);
        Endpoint { client: self.clone(), route, target, idempotent: false, timeout: None }
    }

    /// Says goodbye to all nodes: calls in flight finish, whatever starts later is a 503 that is
    /// safe to repeat elsewhere. The client stays drained.
    pub fn drain(&self) {
        self.inner.pool.drain();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("transport", &self.inner.transport.name())
            .field("selector", &self.inner.selector.name())
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn targets(&self) -> MutexGuard<'_, Targets> {
        // Every critical section leaves the maps whole, so a poisoned lock is still sound.
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to follow the nodes of a service.
    fn target(&self, service: &str) -> Target {
        let limits = &self.scope.limits.retry;
        let own = || Arc::new(Budget::from_limits(clock::now(), limits));
        let budget = self.budget.clone().unwrap_or_else(own);
        Target::new(self.registry.view(service), budget, (self.outliers, self.near.clone()))
    }

    fn deadline(&self, now: Instant, timeout: Option<std::time::Duration>) -> Instant {
        let limits = &self.scope.limits.call;
        clock::after(now, timeout.unwrap_or(limits.default_timeout).min(limits.timeout_max))
    }
}
