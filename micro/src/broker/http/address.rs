//! Where peers reach the subscriptions of this process.

use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::core::error::Result;
use crate::core::exchange::Dispatch;
use crate::core::net::Address;
use crate::transport::Scope;
use crate::transport::Transport;

/// An address, and whether HTTP is spoken at it.
#[derive(Clone, Debug)]
pub(super) struct Reached {
    pub(super) address: String,
    pub(super) is_http: bool,
}

/// The address of the process: that of its port, or of a listener of the broker's own.
pub(super) struct Reach {
    transport: Arc<dyn Transport>,
    reached: OnceCell<Reached>,
}

impl Reach {
    pub(super) fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport, reached: OnceCell::new() }
    }

    /// Sets the address of the port; the first word counts, subscriptions may stand on it.
    pub(super) fn set(&self, address: &str, is_http: bool) {
        let reached = Reached { address: address.to_owned(), is_http };
        if self.reached.set(reached).is_err() {
            tracing::warn!(address, "the broker is reached elsewhere already");
        }
    }

    pub(super) fn get(&self) -> Option<&Reached> {
        self.reached.get()
    }

    /// Listens where the transport can, unless the address is known.
    pub(super) async fn listen(&self, door: Arc<dyn Dispatch>, scope: &Scope) -> Result<Reached> {
        let listen = async || {
            let wanted = match self.transport.name() {
                "memory" => Address::Memory(format!("broker-{:032x}", fastrand::u128(..))),
                _ => Address::Tcp("127.0.0.1:0".to_owned()),
            };
            let bound = self.transport.listen(&wanted, door, scope).await?;
            Ok(Reached { address: bound.to_string(), is_http: false })
        };
        self.reached.get_or_try_init(listen).await.cloned()
    }
}
