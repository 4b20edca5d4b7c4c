//! The native transport inside of TLS.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection};
use tokio::sync::watch;

use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{Connection as Dialed, Dispatch};
use crate::core::future::BoxFuture;
use crate::core::net::{Address, Stream};
use crate::transport::tls::identity::Identity;
use crate::transport::tls::socket::Sealed;
use crate::transport::tls::verify::Pin;
use crate::transport::tls::vouched::Vouched;
use crate::transport::tls::{ERROR_ID, config};
use crate::transport::{Scope, Transport, native};

/// Dials members of one namespace by mutual TLS, over TCP and Unix sockets.
///
/// A node that does not prove to be a member is not called, and none is called without TLS. What
/// listens is the one port of a server, which tells TLS by itself.
#[derive(Clone, Debug)]
pub struct Tls {
    identity: Arc<Identity>,
}

impl Tls {
    /// Dials as a process.
    pub fn new(identity: Arc<Identity>) -> Self {
        Self { identity }
    }
}

impl Transport for Tls {
    fn name(&self) -> &'static str {
        "native"
    }

    fn has_listener(&self) -> bool {
        false
    }

    fn dial<'a>(
        &'a self,
        address: &'a Address,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Arc<dyn Dialed>>> {
        Box::pin(async move {
            let changes = self.identity.changes();
            let sealed = dial(&self.identity.client, address, scope).await?;
            let certified = sealed.outcome(|chain, _| self.identity.trust().node(chain));
            let certified = certified.map_err(|why| undialed(address, why))?;
            let left = certified.until().saturating_sub(clock::unix_now());
            let inner = native::connect(Arc::new(sealed), address.to_string().into(), scope);
            let dialed: Arc<dyn Dialed> =
                Arc::new(Vouched::new(inner, address.to_string(), certified));
            let replacing = replace((changes, left / 10 * 9), Arc::clone(&dialed));
            scope.tasks.spawn("identity of a connection", replacing);
            Ok(dialed)
        })
    }

    fn listen<'a>(
        &'a self,
        _: &'a Address,
        _: Arc<dyn Dispatch>,
        _: &'a Scope,
    ) -> BoxFuture<'a, Result<Address>> {
        not_served()
    }
}

/// Dials an authority of which only the hash is known, as nobody.
#[derive(Clone, Debug)]
pub struct Pinned {
    client: Arc<ClientConfig>,
}

impl Pinned {
    /// Dials nodes that were signed with the certificate of this [`fingerprint`] and are the
    /// authority.
    ///
    /// [`fingerprint`]: crate::transport::tls::fingerprint
    ///
    /// # Errors
    /// 412 when this build has no TLS 1.3.
    pub fn new(hash: impl Into<String>) -> Result<Self> {
        let provider = config::provider();
        let pin = Pin { hash: hash.into(), provider: Arc::clone(&provider) };
        Ok(Self { client: config::nameless(Arc::new(pin), &provider)? })
    }
}

impl Transport for Pinned {
    fn name(&self) -> &'static str {
        "native"
    }

    fn has_listener(&self) -> bool {
        false
    }

    fn dial<'a>(
        &'a self,
        address: &'a Address,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Arc<dyn Dialed>>> {
        Box::pin(async move {
            let sealed = dial(&self.client, address, scope).await?;
            Ok(native::connect(Arc::new(sealed), address.to_string().into(), scope))
        })
    }

    fn listen<'a>(
        &'a self,
        _: &'a Address,
        _: Arc<dyn Dispatch>,
        _: &'a Scope,
    ) -> BoxFuture<'a, Result<Address>> {
        not_served()
    }
}

/// Drains a connection when the certificate by which it was dialed has a successor, and when that
/// of the node is about to end.
async fn replace((mut changes, left): (watch::Receiver<u64>, Duration), dialed: Arc<dyn Dialed>) {
    tokio::select! {
        _changed_or_gone = changes.changed() => dialed.drain(),
        () = clock::sleep(left) => dialed.drain(),
        () = dialed.closed() => {}
    }
}

fn not_served<'a>() -> BoxFuture<'a, Result<Address>> {
    let detail = "a server listens for TLS on its one port, not through a transport";
    Box::pin(std::future::ready(Err(Error::unimplemented(ERROR_ID, detail))))
}

fn undialed(address: &Address, why: &str) -> Error {
    Error::unavailable(ERROR_ID, format!("cannot reach {address}: {why}")).with_retry(Retry::Safe)
}

/// Completes a handshake within the time to dial.
fn dial<'a>(
    config: &'a Arc<ClientConfig>,
    address: &'a Address,
    scope: &'a Scope,
) -> BoxFuture<'a, Result<Sealed>> {
    Box::pin(async move {
        let timeout = scope.limits.connection.dial_timeout;
        let connecting = async {
            let stream = Stream::connect(address, timeout).await?;
            // No name is sent, and none is looked at: certificates name services, not hosts.
            let nameless = ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
            let session = ClientConnection::new(Arc::clone(config), nameless)
                .map_err(std::io::Error::other)?;
            let session = Connection::Client(session);
            let sealed = Sealed::new(stream.into_socket(), session, BytesMut::new());
            sealed.handshake().await?;
            Ok::<_, std::io::Error>(sealed)
        };
        match clock::timeout(timeout, connecting).await {
            Ok(Ok(sealed)) => Ok(sealed),
            Ok(Err(e)) => Err(undialed(address, &e.to_string()).with_source(e)),
            Err(_) => Err(undialed(address, &format!("no answer within {timeout:?}"))),
        }
    })
}
