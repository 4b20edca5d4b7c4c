//! Handshakes with those who call.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use rustls::pki_types::CertificateDer;
use rustls::{Connection, ServerConfig, ServerConnection};
use tokio::sync::Semaphore;

use crate::core::net::{Socket, Stream, Wrapped};
use crate::core::proven::Proven;
use crate::transport::tls::files::Files;
use crate::transport::tls::identity::Identity;
use crate::transport::tls::socket::Sealed;
use crate::transport::tls::{HTTP1, HTTP2, NATIVE_PROTOCOL};

/// Who a server is in handshakes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Server {
    /// A member of a namespace; whoever calls may do so without TLS, too, as nobody.
    Member(Arc<Identity>),
    /// The owner of a certificate in files; nothing is served without TLS over TCP.
    Files(Arc<Files>),
}

/// The protocol that both ends agreed on in a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "as many as there are on the one port")]
pub enum Agreed {
    /// None: the first bytes tell.
    Nothing,
    /// This crate's own.
    Native,
    /// HTTP/2.
    Http2,
    /// HTTP/1.1.
    Http1,
}

/// A connection after its handshake.
#[derive(Debug)]
#[non_exhaustive]
pub struct Taken {
    /// What is inside of TLS.
    pub stream: Stream,
    /// Whom the peer proves to be.
    pub proven: Proven,
    /// What is spoken inside.
    pub agreed: Agreed,
}

impl Server {
    /// Takes up TLS on an accepted stream, of which `prefix` was read already.
    ///
    /// Waits for a place among the handshakes that run; the caller bounds its time.
    ///
    /// # Errors
    /// What the peer did wrong, or what the operating system says.
    pub async fn accept(&self, stream: Stream, prefix: BytesMut) -> io::Result<Taken> {
        match self {
            Self::Member(identity) => accept(stream, prefix, identity).await,
            Self::Files(files) => {
                let (config, shown) = files.present();
                let carried = (stream, prefix);
                take_up(carried, config, files.handshakes(), |chain, _| shown.caller(chain)).await
            }
        }
    }

    /// Tells whether nothing is served on a stream without TLS.
    pub fn is_required(&self, stream: &Stream) -> bool {
        matches!((self, stream), (Self::Files(_), Stream::Tcp(_)))
    }
}

/// Takes up TLS as a member of a namespace; see [`Server::accept`].
///
/// # Errors
/// What the peer did wrong, or what the operating system says.
pub async fn accept(stream: Stream, prefix: BytesMut, identity: &Identity) -> io::Result<Taken> {
    let judge =
        |chain: Option<&[CertificateDer<'_>]>, remote: &str| identity.trust().caller(chain, remote);
    let config = Arc::clone(&identity.server);
    take_up((stream, prefix), config, &identity.handshakes, judge).await
}

async fn take_up(
    (stream, prefix): (Stream, BytesMut),
    config: Arc<ServerConfig>,
    places: &Semaphore,
    judge: impl FnOnce(Option<&[CertificateDer<'_>]>, &str) -> Proven,
) -> io::Result<Taken> {
    let closed = |_closed| io::Error::from(io::ErrorKind::NotConnected);
    let _place = places.acquire().await.map_err(closed)?;
    let (remote, stranger) = (stream.remote(), stream.stranger());
    let session = ServerConnection::new(config).map_err(io::Error::other)?;
    let sealed = Sealed::new(stream.into_socket(), Connection::Server(session), prefix);
    sealed.handshake().await?;
    let (proven, agreed) =
        sealed.outcome(|chain, protocol| (judge(chain, &remote), Agreed::of(protocol)));
    let socket: Arc<dyn Socket> = Arc::new(sealed);
    let stream = Stream::Wrapped(Wrapped::new(socket, remote, stranger));
    Ok(Taken { stream, proven, agreed })
}

impl Agreed {
    fn of(protocol: Option<&[u8]>) -> Self {
        match protocol {
            Some(NATIVE_PROTOCOL) => Self::Native,
            Some(HTTP2) => Self::Http2,
            Some(HTTP1) => Self::Http1,
            _ => Self::Nothing,
        }
    }
}
