//! Makes a client of its parts.

use std::sync::{Arc, Mutex};

use tower_layer::Layer;
use tower_service::Service;

use crate::broker::Broker;
use crate::client::pool::Pool;
use crate::client::targets::Targets;
use crate::client::{Client, Inner, Next, Publisher, Reply, Request};
use crate::codec::{Codecs, Format};
use crate::core::budget::Budget;
use crate::core::error::Error;
use crate::core::limits::Limits;
use crate::core::metadata::Metadata;
use crate::core::net::Address;
use crate::core::shutdown::{Shutdown, TaskTracker};
use crate::debug::Monitor;
use crate::registry::{Cached, Memory, Registry};
use crate::selector::{Near, OutlierLimits, P2c, Selector};
use crate::transport::{Native, Scope, Transport};

/// The parts of a [`Client`]; what is not given takes a default that needs no outside server.
#[derive(Debug, Default)]
pub struct Builder {
    registry: Option<Arc<dyn Registry>>,
    cached: Option<Cached>,
    transport: Option<Arc<dyn Transport>>,
    selector: Option<Arc<dyn Selector>>,
    codecs: Codecs,
    format: Format,
    scope: Scope,
    budget: Option<Budget>,
    outliers: OutlierLimits,
    near: Near,
    pub(super) headers: Metadata,
    fixed: Option<Address>,
    connections: usize,
    broker: Option<Arc<dyn Broker>>,
    layers: Option<Next>,
    monitor: Option<Monitor>,
}

impl Builder {
    /// Finds nodes in a registry; the default is an empty one in memory.
    #[must_use]
    pub fn registry(mut self, registry: Arc<dyn Registry>) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Finds nodes through a cache that others share, whatever [`Builder::registry`] says.
    #[must_use]
    pub fn cached_registry(mut self, registry: Cached) -> Self {
        self.cached = Some(registry);
        self
    }

    /// Reaches nodes over a transport; the default is native TCP and Unix sockets.
    #[must_use]
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Publishes through a broker; without one, publishing is a 412.
    #[must_use]
    pub fn broker(mut self, broker: Arc<dyn Broker>) -> Self {
        self.broker = Some(broker);
        self
    }

    /// Chooses nodes by a policy; the default is [`P2c`].
    #[must_use]
    pub fn selector(mut self, selector: Arc<dyn Selector>) -> Self {
        self.selector = Some(selector);
        self
    }

    /// Knows these codecs beside the built-in ones.
    #[must_use]
    pub fn codecs(mut self, codecs: Codecs) -> Self {
        self.codecs = codecs;
        self
    }

    /// Sends messages and events in a format; the default is MessagePack, see [`Client::in_format`].
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Works within limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.scope.limits = Arc::new(limits);
        self
    }

    /// Gives the client's tasks an owner.
    #[must_use]
    pub fn tasks(mut self, tasks: TaskTracker) -> Self {
        self.scope.tasks = tasks;
        self
    }

    /// Follows a lifecycle; when it closes, connections end.
    #[must_use]
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.scope.shutdown = shutdown;
        self
    }

    /// Records the tries of calls that are made within a trace.
    #[must_use]
    pub fn monitor(mut self, monitor: Monitor) -> Self {
        self.monitor = Some(monitor);
        self
    }

    /// Takes the retries and hedges of all calls from one budget; without it each service called
    /// has one of its own, as the limits say.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Ejects failing nodes by rules other than the default ones.
    #[must_use]
    pub fn outliers(mut self, limits: OutlierLimits) -> Self {
        self.outliers = limits;
        self
    }

    /// Keeps to other nodes than by default: to those of a zone, or to more or fewer of many.
    ///
    /// ```
    /// use micro::client::Client;
    /// use micro::selector::Near;
    ///
    /// let client = Client::builder().near(Near::default().with_zone("eu-1")).build();
    /// # drop(client);
    /// ```
    #[must_use]
    pub fn near(mut self, near: Near) -> Self {
        self.near = near;
        self
    }

    /// Sends every call to one address, past discovery.
    #[must_use]
    pub fn address(mut self, address: Address) -> Self {
        self.fixed = Some(address);
        self
    }

    /// Adds a layer around every call; the layer added last is outermost.
    ///
    /// It wraps the call as a whole, with its discovery and its retries, up to the response or the
    /// beginning of a stream of responses. The deadline of the call holds for all layers together.
    ///
    /// ```
    /// use std::task::{Context, Poll};
    ///
    /// use micro::client::{Client, Next, Request};
    /// use tower_layer::layer_fn;
    /// use tower_service::Service;
    ///
    /// /// Says who calls.
    /// #[derive(Clone)]
    /// struct Signed(Next);
    ///
    /// impl Service<Request> for Signed {
    ///     type Response = <Next as Service<Request>>::Response;
    ///     type Error = micro::Error;
    ///     type Future = <Next as Service<Request>>::Future;
    ///
    ///     fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<micro::Result<()>> {
    ///         self.0.poll_ready(task)
    ///     }
    ///
    ///     fn call(&mut self, mut request: Request) -> Self::Future {
    ///         match request.insert_header("authorization", "Bearer of-the-shop") {
    ///             Ok(()) => self.0.call(request),
    ///             Err(error) => Box::pin(std::future::ready(Err(error))),
    ///         }
    ///     }
    /// }
    ///
    /// let client = Client::builder().layer(&layer_fn(Signed)).build();
    /// # drop(client);
    /// ```
    #[must_use]
    pub fn layer<L>(mut self, layer: &L) -> Self
    where
        L: Layer<Next>,
        L::Service: Service<Request, Response = Reply, Error = Error, Future: Send>,
        L::Service: Clone + Send + Sync + 'static,
    {
        self.layers = Some(Next::wrap(self.layers.take(), layer));
        self
    }

    /// Spreads the calls to a node over this many connections; the default, one, is best unless
    /// one core cannot keep up with a connection.
    #[must_use]
    pub fn connections(mut self, count: usize) -> Self {
        self.connections = count;
        self
    }

    /// Makes the client; no I/O happens before the first call.
    pub fn build(self) -> Client {
        let registry = self.cached.unwrap_or_else(|| {
            let registry = self.registry.unwrap_or_else(|| Arc::new(Memory::new()));
            Cached::new(registry, self.scope.tasks.clone())
        });
        let idle = self.scope.limits.connection.client_idle_timeout;
        let pool = Pool::new(self.connections.max(1), idle);
        let publisher = self
            .broker
            .map(|broker| Publisher::in_format(broker, self.format.clone(), self.codecs.clone()));
        Client {
            inner: Arc::new(Inner {
                registry,
                transport: self.transport.unwrap_or_else(|| Arc::new(Native)),
                selector: self.selector.unwrap_or_else(|| Arc::new(P2c::new())),
                codecs: self.codecs,
                scope: self.scope,
                budget: self.budget.map(Arc::new),
                outliers: self.outliers,
                near: self.near,
                headers: self.headers,
                fixed: self.fixed.map(|address| pool.peer(&address)),
                pool,
                publisher,
                layers: self.layers,
                monitor: self.monitor,
                targets: Mutex::new(Targets::new(idle)),
            }),
            format: self.format,
        }
    }
}
