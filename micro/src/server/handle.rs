//! The handle of a running server.

use std::fmt;
use std::sync::Arc;

use crate::core::clock::Instant;
use crate::core::descriptor::ServiceDescriptor;
use crate::core::error::{Error, Result};
use crate::core::net::{Address, Listener};
use crate::server::builder::Builder;
use crate::server::listen::{Port, accept};
use crate::server::loopback::Loopback;
use crate::server::roster::Order;
use crate::server::router::Router;

/// Serves mounted services on any number of addresses; clones share it.
///
/// Dropping it changes nothing: what it started belongs to the owner of tasks and follows the
/// lifecycle given to its builder.
#[derive(Clone)]
pub struct Server {
    pub(super) port: Arc<Port>,
    services: Arc<[&'static ServiceDescriptor]>,
}

impl Server {
    /// Starts to put a server together.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(super) fn new(port: Arc<Port>, services: Vec<&'static ServiceDescriptor>) -> Self {
        Self { port, services: services.into() }
    }

    /// Lists what is mounted.
    pub fn services(&self) -> &[&'static ServiceDescriptor] {
        &self.services
    }

    /// Returns the router, for transports that bring calls by other ways than a port.
    pub fn router(&self) -> Arc<Router> {
        Arc::clone(&self.port.router)
    }

    /// Binds an address and serves every protocol on it until the lifecycle closes.
    ///
    /// Returns the bound address, with the port that the system chose for port 0.
    ///
    /// # Errors
    /// 503 with the reason of the operating system, such as that the address is in use.
    pub async fn listen(&self, address: &Address) -> Result<Address> {
        let failed = |error: std::io::Error| {
            let detail = format!("cannot listen on {address}: {error}");
            Error::unavailable("micro.server", detail).with_source(error)
        };
        let listener = Listener::bind(address).await.map_err(failed)?;
        let bound = listener.address().map_err(failed)?;
        if !bound.is_local() && !self.port.router.rule.shows_all() {
            tracing::info!(
                address = %bound,
                "callers on other hosts reach only public endpoints unless they authenticate",
            );
        }
        let name = address.clone();
        self.port.scope.tasks.spawn("accept", accept(Arc::clone(&self.port), listener, name));
        Ok(bound)
    }

    /// Returns the way in of the process itself, which needs no listener.
    pub(crate) fn loopback(&self) -> Loopback {
        Loopback::to(&self.port)
    }

    /// Returns how many calls run, connections that were upgraded to another protocol included.
    pub fn in_flight(&self) -> usize {
        self.port.router.gate.len() + self.port.roster.upgraded()
    }

    /// Returns how many connections there are.
    pub fn connections(&self) -> usize {
        self.port.roster.len()
    }

    /// Waits until no call runs or until `deadline`; returns how many do. Cancel safe.
    pub async fn idle(&self, deadline: Instant) -> usize {
        self.port.router.gate.idle(deadline).await
    }

    /// Takes no more work, safe to retry elsewhere, and waits for what runs until `deadline`.
    ///
    /// Connections say goodbye, calls and then connections end. Returns how many calls still run at
    /// the deadline; moving the lifecycle to closed cuts them. Call it once the registry has had
    /// the time to spread that this node drains.
    ///
    /// Until the lifecycle closes, listeners go on to answer `/healthz` and `/readyz`, the latter
    /// by 503, and to refuse calls.
    pub async fn drain(&self, deadline: Instant) -> usize {
        let port = &self.port;
        port.scope.shutdown.drain();
        port.router.gate.close();
        port.roster.tell(Order::Drain);
        port.router.gate.idle(deadline).await;
        port.roster.empty(deadline).await;
        self.in_flight()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("router", &self.port.router)
            .field("in_flight", &self.in_flight())
            .field("connections", &self.connections())
            .finish()
    }
}
