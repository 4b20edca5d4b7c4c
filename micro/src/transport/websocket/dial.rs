//! The native transport inside of a WebSocket.

use std::sync::Arc;

use http::header::{CONNECTION, HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL};
use http::header::{SEC_WEBSOCKET_VERSION, UPGRADE};
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::error::Error as WireError;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;

use crate::core::clock;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{Connection, Dispatch};
use crate::core::future::BoxFuture;
use crate::core::net::{Address, Pipe, Stream};
use crate::transport::dialing::{Dialing, HTTP1};
#[cfg(feature = "tls")]
use crate::transport::tls::Roots;
use crate::transport::websocket::NATIVE;
use crate::transport::websocket::carry::carry;
use crate::transport::websocket::wire::{Counted, Wire, carrying};
use crate::transport::{Scope, Transport, native};

const ERROR_ID: &str = "micro.transport";

/// Dials the one port of a server by WebSocket, over TCP and Unix sockets, and calls through it by
/// the native protocol: many calls at a time, with all that they have over TCP.
///
/// Costs a copy and a wake-up more than TCP each way. What listens is the one port of a server.
#[derive(Clone, Debug, Default)]
pub struct WebSocket {
    dialing: Dialing,
}

impl WebSocket {
    /// Dials without TLS.
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls by TLS, over TCP, only nodes that authorities in a file vouch for.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn trusting(mut self, roots: Arc<Roots>) -> Self {
        self.dialing = Dialing::trusting(roots);
        self
    }
}

impl Transport for WebSocket {
    fn name(&self) -> &'static str {
        "ws"
    }

    fn has_listener(&self) -> bool {
        false
    }

    fn dial<'a>(
        &'a self,
        address: &'a Address,
        scope: &'a Scope,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>>> {
        Box::pin(async move {
            let timeout = scope.limits.connection.dial_timeout;
            let wire = match clock::timeout(timeout, connect(address, scope, &self.dialing)).await {
                Ok(connected) => connected?,
                Err(_) => return Err(undialed(address, &format!("no answer within {timeout:?}"))),
            };
            let (ours, theirs) = Pipe::pair();
            scope.tasks.spawn("websocket", carry(wire, ours));
            Ok(native::connect(Arc::new(theirs), address.to_string().into(), scope))
        })
    }

    fn listen<'a>(
        &'a self,
        _: &'a Address,
        _: Arc<dyn Dispatch>,
        _: &'a Scope,
    ) -> BoxFuture<'a, Result<Address>> {
        let detail = "a server accepts WebSockets on its one port, not through a transport";
        Box::pin(std::future::ready(Err(Error::unimplemented(ERROR_ID, detail))))
    }
}

/// Connects and shakes hands.
async fn connect(address: &Address, scope: &Scope, dialing: &Dialing) -> Result<Wire<Stream>> {
    let within = scope.limits.connection.dial_timeout;
    let stream = dialing
        .connect(address, within, HTTP1)
        .await
        .map_err(|e| undialed(address, &e.to_string()).with_source(e))?;
    let host = match address {
        Address::Tcp(host) => host.as_str(),
        // There is no name for what has a path.
        _ => "localhost",
    };
    let request = http::Request::get(format!("ws://{host}/"))
        .header(HOST, host)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, generate_key())
        .header(SEC_WEBSOCKET_PROTOCOL, NATIVE)
        .body(())
        .map_err(|e| undialed(address, &e.to_string()).with_source(e))?;
    let (stream, config) = (Counted::new(stream), carrying(&scope.limits));
    match client_async_with_config(request, stream, Some(config)).await {
        Ok((socket, _)) => Ok(Wire::dialed(socket)),
        Err(WireError::Http(response)) => {
            let status = response.status().as_u16();
            Err(undialed(address, &format!("it answered {status} and speaks no {NATIVE}")))
        }
        Err(e) => Err(undialed(address, &e.to_string()).with_source(e)),
    }
}

fn undialed(address: &Address, why: &str) -> Error {
    Error::unavailable(ERROR_ID, format!("cannot reach {address}: {why}")).with_retry(Retry::Safe)
}
