//! The listening side of QUIC.

use std::net::UdpSocket;
use std::sync::Arc;

use bytes::BytesMut;
use quinn::{Endpoint, EndpointConfig, Incoming, VarInt};

use crate::core::clock;
use crate::core::error::{Error, Result};
use crate::core::exchange::Dispatch;
use crate::core::net::{Address, Pipe, resolve};
use crate::transport::Scope;
use crate::transport::native::{Guest, Guests, serve_socket};
use crate::transport::quic::carry::carry;
use crate::transport::quic::tasks::Owned;
use crate::transport::quic::{ERROR_ID, config};
use crate::transport::tls::Files;

/// Binds an address and serves on it until the lifecycle of the scope ends.
pub(super) async fn listen(
    files: &Arc<Files>,
    address: &Address,
    dispatch: Arc<dyn Dispatch>,
    scope: &Scope,
) -> Result<Address> {
    let unbound = |why: &dyn std::fmt::Display| {
        Error::unavailable(ERROR_ID, format!("cannot listen on {address} by QUIC: {why}"))
    };
    let Address::Tcp(host) = address else {
        return Err(unbound(&"QUIC is spoken on `host:port`"));
    };
    let addresses = resolve(host).await.map_err(|error| unbound(&error).with_source(error))?;
    let socket = UdpSocket::bind(addresses.as_slice());
    let socket = socket.map_err(|error| unbound(&error).with_source(error))?;
    let server = config::server(files, &scope.limits)?;
    let runtime = Arc::new(Owned(scope.tasks.clone()));
    let server = Some(quinn::ServerConfig::clone(&server));
    let endpoint = Endpoint::new(EndpointConfig::default(), server, socket, runtime)
        .map_err(|error| unbound(&error).with_source(error))?;
    let bound = endpoint.local_addr().map_err(|error| unbound(&error).with_source(error))?;
    let host = Host { files: Arc::clone(files), dispatch, scope: scope.clone() };
    let following = Arc::clone(files).follow(scope.shutdown.clone());
    scope.tasks.spawn("certificate", following);
    scope.tasks.spawn("quic listener", accept(endpoint, host));
    Ok(Address::Tcp(bound.to_string()))
}

/// What each connection needs.
#[derive(Clone)]
struct Host {
    files: Arc<Files>,
    dispatch: Arc<dyn Dispatch>,
    scope: Scope,
}

/// Accepts until the lifecycle drains, so that peers dial another node; no fault of one peer ends
/// the loop.
async fn accept(endpoint: Endpoint, host: Host) {
    let guests = Arc::new(Guests::default());
    let shutdown = host.scope.shutdown.clone();
    // Progress: each turn takes a peer or ends.
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            () = shutdown.draining() => break,
        };
        let Some(incoming) = incoming else { break };
        let ip = incoming.remote_address().ip().to_canonical();
        let stranger = Some(ip).filter(|ip| !ip.is_loopback());
        match guests.admit(stranger, &host.scope.limits.connection) {
            // Whoever is elsewhere proves first that it is where it says.
            Some(_) if stranger.is_some() && !incoming.remote_address_validated() => {
                let _impossible = incoming.retry();
            }
            Some(guest) => {
                host.scope.tasks.spawn("quic guest", serve(incoming, guest, host.clone()));
            }
            None => incoming.refuse(),
        }
    }
    endpoint.set_server_config(None);
    shutdown.closed().await;
    endpoint.close(VarInt::from_u32(0), b"");
}

/// Serves one connection to its end.
async fn serve(incoming: Incoming, guest: Guest, host: Host) {
    let _guest = guest;
    let limits = Arc::clone(&host.scope.limits);
    let remote: Arc<str> = incoming.remote_address().to_string().into();
    let greeting = async {
        let config = config::server(&host.files, &limits).ok()?;
        let connection = incoming.accept_with(config).ok()?.await.ok()?;
        let streams = connection.accept_bi().await.ok()?;
        Some((connection, streams))
    };
    // A peer that says nothing, or something else, is not worth a log line.
    let greeted = clock::timeout(limits.connection.handshake_timeout, greeting).await;
    let Ok(Some((connection, streams))) = greeted else { return };
    let (ours, theirs) = Pipe::pair();
    let session = serve_socket(Arc::new(ours), remote, BytesMut::new(), host.dispatch, &host.scope);
    tokio::join!(session, carry(theirs, connection, streams, &limits.connection));
}
