//! Where a process listens: on the one port, by its transport, or both.

use crate::core::error::Result;
use crate::core::net::Address;
use crate::server::Server;
use crate::service::backends::Backends;
use crate::service::settings::Settings;
use crate::transport::Transport;

/// Where a process listens unless it is told.
const ADDRESS: &str = "127.0.0.1:0";

/// Where a process is reached.
pub(crate) struct Bound {
    /// What peers dial.
    pub(crate) address: Address,
    /// The port that serves HTTP, where peers dial something else.
    pub(crate) port: Option<Address>,
}

/// Tells whether what a transport dials is served on the one port.
pub(crate) fn is_on_the_port(transport: &dyn Transport) -> bool {
    transport.name() == "native" || !transport.has_listener()
}

/// Serves on the one port, or through the transport where that has a listener of its own.
///
/// A transport that has no ports, such as that of a bus, leaves one that is named to HTTP.
pub(crate) async fn listen(
    server: &Server,
    backends: &Backends,
    settings: &Settings,
) -> Result<Bound> {
    let given: Option<Address> = settings.server_address.as_deref().map(str::parse).transpose()?;
    let usual = || ADDRESS.parse();
    let transport = backends.transport.as_ref();
    if is_on_the_port(transport) {
        let address = server.listen(&given.map_or_else(usual, Ok)?).await?;
        return Ok(Bound { address, port: None });
    }
    let own = transport.own_address();
    let (address, port) = match (given, own) {
        (Some(port @ (Address::Tcp(_) | Address::Unix(_))), Some(own @ Address::Scheme { .. })) => {
            (own, Some(port))
        }
        (Some(given), _) => (given, None),
        (None, Some(own)) => (own, None),
        (None, None) => (usual()?, None),
    };
    let port = match port {
        Some(port) => Some(server.listen(&port).await?),
        None => None,
    };
    let scope = backends.scope();
    let address = transport.listen(&address, server.router(), &scope).await?;
    Ok(Bound { address, port })
}
