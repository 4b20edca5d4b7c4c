//! Handshakes with those who call.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use rustls::{Connection, ServerConnection};

use crate::core::net::{Socket, Stream, Wrapped};
use crate::core::proven::Proven;
use crate::transport::tls::identity::Identity;
use crate::transport::tls::socket::Sealed;

/// Takes up TLS on an accepted stream, of which `prefix` was read already; returns the stream
/// inside of it and whom its peer proves to be.
///
/// Waits for a place among the handshakes that run; the caller bounds its time.
///
/// # Errors
/// What the peer did wrong, or what the operating system says.
pub async fn accept(
    stream: Stream,
    prefix: BytesMut,
    identity: &Identity,
) -> io::Result<(Stream, Proven)> {
    let closed = |_closed| io::Error::from(io::ErrorKind::NotConnected);
    let _place = identity.handshakes.acquire().await.map_err(closed)?;
    let (remote, stranger) = (stream.remote(), stream.stranger());
    let session = ServerConnection::new(Arc::clone(&identity.server)).map_err(io::Error::other)?;
    let sealed = Sealed::new(stream.into_socket(), Connection::Server(session), prefix);
    sealed.handshake().await?;
    let proven = sealed.outcome(|chain, _| identity.trust().caller(chain, &remote));
    let socket: Arc<dyn Socket> = Arc::new(sealed);
    Ok((Stream::Wrapped(Wrapped::new(socket, remote, stranger)), proven))
}
