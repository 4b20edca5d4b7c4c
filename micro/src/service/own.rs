//! The way of a process to its own node, which needs no network.

use std::sync::{Arc, OnceLock};

use crate::client::Builder;
use crate::core::error::Result;
use crate::core::exchange::{Connection, Dispatch};
use crate::core::future::BoxFuture;
use crate::core::net::Address;
use crate::server::{Loopback, Server};
use crate::service::backends::Backends;
use crate::service::record::Place;
use crate::service::settings::Settings;
use crate::transport::{Scope, Transport, native};

/// Reaches the node of this process in memory, and every other by the transport of the process.
///
/// The node is known by its address: one that the process has bound leads to it and to nobody else,
/// whoever names it. What is asked there passes the frames, the limits and the policy of the port
/// as a call from this machine does.
#[derive(Clone, Debug)]
pub(crate) struct OwnNode {
    others: Arc<dyn Transport>,
    /// Where the process serves, once it does.
    own: Arc<OnceLock<(Address, Loopback)>>,
}

impl OwnNode {
    pub(crate) fn over(others: &Arc<dyn Transport>) -> Self {
        Self { others: Arc::clone(others), own: Arc::default() }
    }

    /// Has a client reach nodes so.
    pub(crate) fn known_to(&self, client: Builder) -> Builder {
        client.transport(Arc::new(self.clone()))
    }

    /// Says where the process serves.
    ///
    /// An address that is advertised in place of the bound one may lead elsewhere. A transport that
    /// the program brought, or chose, carries every call.
    pub(crate) fn serves(
        &self,
        place: &Place,
        (backends, settings): (&Backends, &Settings),
        server: &Server,
    ) {
        let is_bound = settings.server_advertise.is_none() && backends.dials_plainly();
        if let Some(address) = place.address.parse::<Address>().ok().filter(|_| is_bound) {
            // A process says so once.
            let _first = self.own.set((address, server.loopback())).is_ok();
        }
    }
}

impl Transport for OwnNode {
    fn name(&self) -> &'static str {
        self.others.name()
    }

    fn has_listener(&self) -> bool {
        self.others.has_listener()
    }

    fn own_address(&self) -> Option<Address> {
        self.others.own_address()
    }

    fn dial<'a>(
        &'a self,
        address: &'a Address,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>>> {
        match self.own.get().filter(|(own, _)| own == address) {
            Some((_, own)) => Box::pin(async move {
                let pipe = own.connect()?;
                Ok(native::connect(Arc::new(pipe), address.to_string().into(), scope))
            }),
            None => self.others.dial(address, scope),
        }
    }

    fn listen<'a>(
        &'a self,
        address: &'a Address,
        dispatch: Arc<dyn Dispatch>,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Address>> {
        self.others.listen(address, dispatch, scope)
    }
}
