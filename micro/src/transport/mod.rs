//! How calls travel between processes.
//!
//! The unit is the exchange, not the byte or the message: a transport dials [`Connection`]s on
//! which calls start, and serves the calls of others by handing them to a [`Dispatch`].

#[cfg(any(feature = "grpc", feature = "http", feature = "mucp", feature = "ws"))]
mod dialing;
#[cfg(feature = "grpc")]
mod grpc;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "mucp")]
pub mod mucp;
pub mod native;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "quic")]
pub mod quic;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
mod schemes;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(any(feature = "nats", feature = "rabbitmq", test))]
mod tunnel;
#[cfg(feature = "ws")]
pub mod websocket;

use std::fmt;
use std::sync::Arc;

use crate::core::error::Result;
use crate::core::exchange::{Connection, Dispatch};
use crate::core::future::BoxFuture;
use crate::core::limits::Limits;
use crate::core::net::Address;
use crate::core::shutdown::{Shutdown, TaskTracker};

#[cfg(feature = "grpc")]
pub use self::grpc::Grpc;
#[cfg(feature = "http")]
pub use self::http::Http;
#[cfg(feature = "mucp")]
pub use self::mucp::Mucp;
pub use self::native::{Memory, Native};
#[cfg(feature = "nats")]
pub use self::nats::Nats;
#[cfg(feature = "quic")]
pub use self::quic::Quic;
#[cfg(feature = "rabbitmq")]
pub use self::rabbitmq::RabbitMq;
pub use self::schemes::Schemes;
#[cfg(feature = "ws")]
pub use self::websocket::WebSocket;

/// A way to reach the nodes of services.
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Returns the short name, which nodes state as their `transport` in the registry.
    fn name(&self) -> &'static str;

    /// Returns whether the transport listens by itself.
    ///
    /// One that dials what the one port of a server speaks does not, and [`Transport::listen`] is a
    /// 501 there.
    fn has_listener(&self) -> bool {
        true
    }

    /// Makes an address up to listen on where none is given; `None` where the transport listens on
    /// ports.
    fn own_address(&self) -> Option<Address> {
        None
    }

    /// Connects to a node.
    ///
    /// # Errors
    /// `Retry::Safe`, since nothing was sent; bounded by the dial timeout of the limits.
    fn dial<'a>(
        &'a self,
        address: &'a Address,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>>>;

    /// Binds an address and serves calls until the scope's lifecycle ends.
    ///
    /// Returns the address as peers dial it, with the port the system chose.
    ///
    /// # Errors
    /// When the address cannot be bound.
    fn listen<'a>(
        &'a self,
        address: &'a Address,
        dispatch: Arc<dyn Dispatch>,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Address>>;
}

/// What a transport works within: limits, the owner of its tasks, the lifecycle it follows.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Scope {
    /// What a peer may use.
    pub limits: Arc<Limits>,
    /// Owns every task of the transport.
    pub tasks: TaskTracker,
    /// When draining begins, no more peers are accepted and connections say goaway; when it closes,
    /// they end.
    pub shutdown: Shutdown,
}

impl Scope {
    /// Makes a scope of its parts.
    pub fn new(limits: Arc<Limits>, tasks: TaskTracker, shutdown: Shutdown) -> Self {
        Self { limits, tasks, shutdown }
    }
}
