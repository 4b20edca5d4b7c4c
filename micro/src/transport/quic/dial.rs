//! The dialing side of QUIC.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use quinn::{Connection as Quinn, Endpoint, EndpointConfig, RecvStream, SendStream};

use crate::core::clock;
use crate::core::error::{BoxError, Error, Result, Retry};
use crate::core::exchange::Connection;
use crate::core::net::{Address, Pipe, resolve};
use crate::transport::Scope;
use crate::transport::native;
use crate::transport::quic::carry::carry;
use crate::transport::quic::tasks::Owned;
use crate::transport::quic::{ERROR_ID, config};
use crate::transport::tls::{Roots, host_of};

/// Dials a server that an authority vouches for, on a socket of its own.
pub(super) async fn dial(
    roots: &Roots,
    address: &Address,
    scope: &Scope,
) -> Result<Arc<dyn Connection>> {
    let timeout = scope.limits.connection.dial_timeout;
    let undialed = |why: &str| {
        Error::unavailable(ERROR_ID, format!("cannot reach {address} by QUIC: {why}"))
            .with_retry(Retry::Safe)
    };
    let Address::Tcp(host) = address else {
        return Err(undialed("QUIC is spoken to `host:port`"));
    };
    let config = config::client(roots, &scope.limits).await?;
    let connecting = async {
        let mut failed: BoxError = "the name has no address".into();
        for at in resolve(host).await? {
            match connect(at, host_of(host), config.clone(), scope).await {
                Ok(connected) => return Ok(connected),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    };
    match clock::timeout(timeout, connecting).await {
        Ok(Ok((endpoint, connection, streams))) => {
            let (ours, theirs) = Pipe::pair();
            let limits = Arc::clone(&scope.limits);
            scope.tasks.spawn("quic connection", async move {
                carry(theirs, connection, streams, &limits.connection).await;
                // The endpoint outlives its connection, which says its last word through it.
                drop(endpoint);
            });
            Ok(native::connect(Arc::new(ours), address.to_string().into(), scope))
        }
        Ok(Err(error)) => Err(undialed(&error.to_string()).with_source(error)),
        Err(_) => Err(undialed(&format!("no answer within {timeout:?}"))),
    }
}

type Connected = (Endpoint, Quinn, (SendStream, RecvStream));

async fn connect(
    at: SocketAddr,
    host: &str,
    config: quinn::ClientConfig,
    scope: &Scope,
) -> std::result::Result<Connected, BoxError> {
    let any: SocketAddr = match at {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let runtime = Arc::new(Owned(scope.tasks.clone()));
    let socket = UdpSocket::bind(any)?;
    let endpoint = Endpoint::new(EndpointConfig::default(), None, socket, runtime)?;
    let connection = endpoint.connect_with(config, at, host)?.await?;
    let streams = connection.open_bi().await?;
    Ok((endpoint, connection, streams))
}
