//! Dials servers whose certificates authorities in a file have signed.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection};

use crate::core::clock;
use crate::core::clock::Instant;
use crate::core::error::{Error, Result, Retry};
use crate::core::exchange::{Connection as Dialed, Dispatch};
use crate::core::future::BoxFuture;
use crate::core::net::{Address, Socket, Stream, Wrapped};
use crate::transport::tls::files::pem::Text;
use crate::transport::tls::files::{ClientPaths, INTERVAL};
use crate::transport::tls::socket::Sealed;
use crate::transport::tls::{ERROR_ID, NATIVE_PROTOCOL, config};
use crate::transport::{Scope, Transport, native};

/// Trust in the authorities of a file; as a [`Transport`], the native one inside of TLS over TCP.
///
/// The certificate of a server has to be of such an authority and to name the host that is dialed.
/// No TCP address is dialed without TLS. Unix sockets are, since they do not leave the machine.
pub struct Roots {
    paths: ClientPaths,
    state: Mutex<State>,
}

struct State {
    config: Arc<ClientConfig>,
    mark: String,
    read_at: Instant,
}

impl Roots {
    /// Reads the files; blocks for as long as the disk takes.
    ///
    /// # Errors
    /// 412 that names the file which is not there, not readable, over, or does not fit the others.
    pub fn open(paths: ClientPaths) -> Result<Self> {
        let (mark, config) = load(&paths)?;
        let state = State { config: Arc::new(config), mark, read_at: clock::now() };
        Ok(Self { paths, state: Mutex::new(state) })
    }

    /// Takes up TLS on a stream to `host`, agreeing on one of `protocols`, such as `h2`, if any are
    /// given. The caller bounds the time.
    ///
    /// # Errors
    /// Why the server is not trusted, or what the operating system says.
    pub async fn secure(
        &self,
        stream: Stream,
        host: &str,
        protocols: &[&[u8]],
    ) -> io::Result<Stream> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let mut config = ClientConfig::clone(&*self.present().await);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let (remote, stranger) = (stream.remote(), stream.stranger());
        let session = Connection::Client(session);
        let sealed = Sealed::new(stream.into_socket(), session, BytesMut::new());
        sealed.handshake().await?;
        let socket: Arc<dyn Socket> = Arc::new(sealed);
        Ok(Stream::Wrapped(Wrapped::new(socket, remote, stranger)))
    }

    /// Returns what to dial with where the native protocol is spoken inside.
    #[cfg(feature = "quic")]
    pub(in crate::transport) async fn native_config(&self) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&*self.present().await);
        config.alpn_protocols = vec![NATIVE_PROTOCOL.to_vec()];
        Arc::new(config)
    }

    /// Returns what to dial with, after reading the files again where that is due.
    async fn present(&self) -> Arc<ClientConfig> {
        let (config, seen) = {
            let mut state = self.lock();
            let now = clock::now();
            if now < clock::after(state.read_at, INTERVAL) {
                return Arc::clone(&state.config);
            }
            state.read_at = now;
            (Arc::clone(&state.config), state.mark.clone())
        };
        let paths = self.paths.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || load(&paths)).await else {
            return config;
        };
        match read {
            Ok((mark, _)) if mark == seen => config,
            Ok((mark, changed)) => {
                let mut state = self.lock();
                (state.config, state.mark) = (Arc::new(changed), mark);
                Arc::clone(&state.config)
            }
            Err(error) => {
                tracing::warn!(%error, "goes on with the earlier authorities");
                config
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // No code of others runs under the lock, so a poisoned one holds sound data.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn load(paths: &ClientPaths) -> Result<(String, ClientConfig)> {
    let provider = config::provider();
    let ca = Text::read(&paths.ca)?;
    let (mut mark, roots) = (ca.mark(), ca.roots()?);
    let own = match &paths.own {
        None => None,
        Some((certificate, key)) => {
            let (certificate, key) = (Text::read(certificate)?, Text::read(key)?);
            mark += &(certificate.mark() + &key.mark());
            Some(certificate.certified(&key, &provider)?)
        }
    };
    Ok((mark, config::rooted(roots, own, &provider)?))
}

impl Transport for Roots {
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
            let timeout = scope.limits.connection.dial_timeout;
            let connecting = async {
                let stream = Stream::connect(address, timeout).await?;
                match address {
                    Address::Tcp(at) => self.secure(stream, host_of(at), &[NATIVE_PROTOCOL]).await,
                    _ => Ok(stream),
                }
            };
            let undialed = |why: String| {
                Error::unavailable(ERROR_ID, format!("cannot reach {address} by TLS: {why}"))
                    .with_retry(Retry::Safe)
            };
            match clock::timeout(timeout, connecting).await {
                Ok(Ok(stream)) => {
                    Ok(native::connect(stream.into_socket(), address.to_string().into(), scope))
                }
                Ok(Err(e)) => Err(undialed(e.to_string()).with_source(e)),
                Err(_) => Err(undialed(format!("no answer within {timeout:?}"))),
            }
        })
    }

    fn listen<'a>(
        &'a self,
        _: &'a Address,
        _: Arc<dyn Dispatch>,
        _: &'a Scope,
    ) -> BoxFuture<'a, Result<Address>> {
        let detail = "a server listens for TLS on its one port, not through a transport";
        Box::pin(std::future::ready(Err(Error::unimplemented(ERROR_ID, detail))))
    }
}

/// Returns the host of an address, as certificates name it.
pub(in crate::transport) fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roots").field("paths", &self.paths).finish_non_exhaustive()
    }
}
