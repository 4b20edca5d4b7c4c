//! Calling services: discovery, balancing, deadlines, retries, streams.
//!
//! A [`Client`] is a cheap handle; generated clients hold one. A plain call to a node with an open
//! connection runs without waiting up to the moment it is queued for writing, and without a box;
//! whatever else may be needed (dialing, retries, hedging, layers) is in `client::drive`.
//!
//! [`Builder::layer`] wraps every call in tower layers.

mod attempt;
mod bearer;
mod builder;
mod call;
mod drive;
mod endpoint;
mod hedge;
mod layer;
mod options;
mod peer;
mod plan;
mod pool;
mod publish;
mod stub;
mod target;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::codec::{Codecs, Format};
use crate::core::budget::Budget;
use crate::core::clock;
use crate::core::descriptor::CallKind;
use crate::core::exchange::Route;
use crate::core::net::Address;
use crate::registry::Cached;
use crate::selector::Selector;
use crate::transport::{Scope, Transport};

pub use self::bearer::{Bearer, Bearing};
pub use self::builder::Builder;
pub use self::call::{Call, ContractError};
pub use self::endpoint::Endpoint;
pub use self::layer::{Next, Reply, Request};
pub use self::options::Filter;
pub use self::publish::Publisher;
pub use self::stub::Stub;

use self::pool::Pool;
use self::target::Target;

/// A handle that makes calls; clones share connections, views of the registry and load figures.
///
/// Connections are kept by node and shared by all services on it.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Cached,
    transport: Arc<dyn Transport>,
    selector: Arc<dyn Selector>,
    codecs: Codecs,
    format: Format,
    scope: Scope,
    budget: Budget,
    pool: Pool,
    publisher: Option<Publisher>,
    layers: Option<Next>,
    /// Where every call goes, past discovery.
    fixed: Option<Address>,
    /// One for each service called; services are named in code, so there are few.
    targets: Mutex<HashMap<String, Arc<Target>>>,
}

impl Client {
    /// Begins a client that is made of given parts.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Returns the codecs that the client knows.
    pub fn codecs(&self) -> &Codecs {
        &self.inner.codecs
    }

    /// Returns the registry as the client sees it.
    pub fn registry(&self) -> &Cached {
        &self.inner.registry
    }

    /// Names an endpoint to call; make it once, not for each call.
    pub fn endpoint(&self, service: &str, name: &str, kind: CallKind) -> Arc<Endpoint> {
        Arc::new(Endpoint {
            client: self.clone(),
            route: Route::new(service, name, kind),
            target: self.target(service),
            idempotent: false,
            timeout: None,
        })
    }

    /// Finds, or begins to follow, the nodes of a service.
    fn target(&self, service: &str) -> Arc<Target> {
        let mut targets = self.inner.targets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(target) = targets.get(service) {
            return Arc::clone(target);
        }
        let target = Arc::new(Target::new(self.inner.registry.view(service)));
        targets.insert(service.to_owned(), Arc::clone(&target));
        target
    }

    /// Says goodbye to all nodes: running calls finish, new ones fail.
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
    fn deadline(&self, now: Instant, timeout: Option<std::time::Duration>) -> Instant {
        let limits = &self.scope.limits.call;
        clock::after(now, timeout.unwrap_or(limits.default_timeout).min(limits.timeout_max))
    }
}
