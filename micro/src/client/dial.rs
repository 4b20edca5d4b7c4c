//! One dial of one node, on behalf of all who wait for it.

use std::sync::Arc;

use tokio::sync::watch;

use crate::client::Inner;
use crate::client::peer::{Outcome, Peer};
use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::Connection;
use crate::core::net::Address;
use crate::transport::{Scope, Transport};

/// Starts the task that dials; it then stays with the connection, to forget it when it closes.
pub(super) fn start(client: &Inner, duty: Duty) {
    let (transport, scope) = (Arc::clone(&client.transport), client.scope.clone());
    client.scope.tasks.spawn("client connection", async move {
        let dialed = dial(&*transport, duty.peer.address(), &scope).await;
        let peer = Arc::downgrade(&duty.peer);
        // The peer lives as long as somebody calls it: the task must not hold it.
        let Ok(connection) = duty.end(dialed) else { return };
        connection.closed().await;
        drop(connection);
        if let Some(peer) = peer.upgrade() {
            peer.sweep();
        }
    });
}

/// Dials within the limit, whatever the transport makes of it.
async fn dial(
    transport: &dyn Transport,
    address: &Address,
    scope: &Scope,
) -> Result<Arc<dyn Connection>> {
    let limit = scope.limits.connection.dial_timeout;
    clock::timeout(limit, transport.dial(address, scope)).await.unwrap_or_else(|_| {
        let detail = format!("cannot reach {address}: no answer within {limit:?}");
        Err(Error::unavailable("micro.client", detail).with_retry(Retry::Safe))
    })
}

/// The duty to tell those who wait how the dial ended, also when its task is cut.
pub(super) struct Duty {
    peer: Arc<Peer>,
    sender: watch::Sender<Outcome>,
    over: bool,
}

impl Duty {
    pub(super) fn new(peer: Arc<Peer>, sender: watch::Sender<Outcome>) -> Self {
        Self { peer, sender, over: false }
    }

    fn end(mut self, dialed: Result<Arc<dyn Connection>>) -> Result<Arc<dyn Connection>> {
        self.over = true;
        let told = self.peer.settle(dialed);
        self.sender.send_replace(Some(told.clone()));
        told
    }
}

impl Drop for Duty {
    fn drop(&mut self) {
        if !self.over {
            let given_up = self.peer.give_up();
            self.sender.send_replace(Some(Err(given_up)));
        }
    }
}
