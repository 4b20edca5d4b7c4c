//! The native transport within one process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;

use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{Connection, Dispatch};
use crate::core::future::BoxFuture;
use crate::core::net::{Address, Pipe, Stream};
use crate::transport::native::{connect, serve};
use crate::transport::{Scope, Transport};

/// Dials and listens on `memory:name`; clones share their listeners.
///
/// Calls pass through the same frames and codecs as between processes.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    listeners: Arc<Mutex<Listeners>>,
}

#[derive(Debug, Default)]
struct Listeners {
    by_name: HashMap<String, (Arc<dyn Dispatch>, Scope)>,
    named: u64,
}

impl Memory {
    /// Makes a transport that shares nothing with others.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Listeners> {
        // No code of others runs under the lock, so a poisoned one holds sound data.
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reach(&self, address: &Address) -> Result<(Arc<dyn Dispatch>, Scope)> {
        let Address::Memory(name) = address else {
            return Err(unreachable(address, "the memory transport reaches `memory:` only"));
        };
        match self.lock().by_name.get(name) {
            Some((_, scope)) if scope.shutdown.is_draining() => {
                Err(unreachable(address, "its listener has stopped"))
            }
            Some(found) => Ok(found.clone()),
            None => Err(unreachable(address, "nobody listens there")),
        }
    }
}

impl Transport for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn own_address(&self) -> Option<Address> {
        Some(Address::Memory(format!("{:032x}", fastrand::u128(..))))
    }

    fn dial<'a>(
        &'a self,
        address: &'a Address,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>>> {
        Box::pin(async move {
            let (dispatch, serving) = self.reach(address)?;
            let (ours, theirs) = Pipe::pair();
            let tasks = serving.tasks.clone();
            tasks.spawn("memory connection", async move {
                serve(Stream::Pipe(theirs), BytesMut::new(), dispatch, &serving).await;
            });
            Ok(connect(Arc::new(ours), address.to_string().into(), scope))
        })
    }

    fn listen<'a>(
        &'a self,
        address: &'a Address,
        dispatch: Arc<dyn Dispatch>,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Address>> {
        Box::pin(async move {
            let Address::Memory(name) = address else {
                return Err(unreachable(address, "the memory transport listens on `memory:` only"));
            };
            let mut listeners = self.lock();
            listeners.by_name.retain(|_, listener| !listener.1.shutdown.is_draining());
            listeners.named += 1;
            let name = if name.is_empty() { format!("{}", listeners.named) } else { name.clone() };
            if listeners.by_name.contains_key(&name) {
                let detail = format!("memory:{name} has a listener already");
                return Err(Error::conflict("micro.transport", detail));
            }
            listeners.by_name.insert(name.clone(), (dispatch, scope.clone()));
            Ok(Address::Memory(name))
        })
    }
}

fn unreachable(address: &Address, why: &str) -> Error {
    Error::unavailable("micro.transport", format!("cannot reach {address}: {why}"))
        .with_retry(Retry::Safe)
}
