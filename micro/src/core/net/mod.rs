//! Byte streams between processes, and inside one: the only place that names the network.

mod address;
mod dial;
mod pipe;
mod prefixed;
mod unix;
mod wrapped;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::{TcpListener, TcpStream, UnixStream};

pub use self::address::Address;
pub use self::pipe::Pipe;
pub use self::prefixed::Prefixed;
pub use self::unix::UnixSocket;
pub use self::wrapped::Wrapped;

/// A non-blocking byte stream that a reader and a writer share.
///
/// Only one task at a time polls each direction.
pub trait Socket: fmt::Debug + Send + Sync {
    /// Polls until [`Socket::try_read`] may make progress.
    fn poll_read_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Appends what has arrived to the spare capacity of `buffer`; `Ok(0)` is the end.
    ///
    /// # Errors
    /// `WouldBlock` when nothing has arrived; any other error ends the stream.
    fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize>;

    /// Polls until [`Socket::try_write`] may make progress.
    fn poll_write_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Writes a first part of `bytes` and returns its length.
    ///
    /// # Errors
    /// `WouldBlock` when the peer or the kernel is slow: the same bytes come first in the next
    /// try. Any other error ends the stream.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Ends the writing direction; the peer reads what was written, then the end.
    ///
    /// # Errors
    /// When the stream is closed already.
    fn shutdown(&self) -> io::Result<()>;

    /// Has the peer see a break in the place of an end once the socket is dropped, even one that
    /// reads nothing; what is still under way to it is lost. Does nothing unless the kind of the
    /// socket knows how.
    fn sever(&self) {}

    /// Returns whether the peer is known to be gone for good, found without reading. `false` if the
    /// kind of the socket cannot tell.
    fn is_severed(&self) -> bool {
        false
    }
}

impl Socket for TcpStream {
    fn poll_read_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_read_ready(self, task)
    }
    fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        read_once(buffer, |read| self.try_io(Interest::READABLE, read), |b| self.try_read_buf(b))
    }
    fn poll_write_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_write_ready(self, task)
    }
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        Self::try_write(self, bytes)
    }
    fn shutdown(&self) -> io::Result<()> {
        socket2::SockRef::from(self).shutdown(std::net::Shutdown::Write)
    }
    fn sever(&self) {
        // The peer of a socket that refuses it sees the end once it has read all.
        let _set = self.set_zero_linger();
    }
    fn is_severed(&self) -> bool {
        is_over(self.ready(Interest::WRITABLE))
    }
}

impl Socket for UnixStream {
    fn poll_read_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_read_ready(self, task)
    }
    fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        read_once(buffer, |read| self.try_io(Interest::READABLE, read), |b| self.try_read_buf(b))
    }
    fn poll_write_ready(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_write_ready(self, task)
    }
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        Self::try_write(self, bytes)
    }
    fn shutdown(&self) -> io::Result<()> {
        socket2::SockRef::from(self).shutdown(std::net::Shutdown::Write)
    }
    fn is_severed(&self) -> bool {
        is_over(self.ready(Interest::WRITABLE))
    }
}

/// Returns whether neither direction of a socket is left, as far as its events have said.
fn is_over(ready: impl Future<Output = io::Result<Ready>>) -> bool {
    let mut task = Context::from_waker(Waker::noop());
    match pin!(ready).poll(&mut task) {
        Poll::Ready(Ok(ready)) => ready.is_write_closed(),
        Poll::Ready(Err(_)) => true,
        Poll::Pending => false,
    }
}

/// Reads once and takes the socket for empty when it gave less than there was room for.
///
/// So says `epoll(7)` of edge-triggered sockets, and tokio's own readers do the same: it saves the
/// system call that would find nothing. `ready` clears the readiness it saw before the read if that
/// would block, so what arrives in between is not missed.
fn read_once(
    buffer: &mut BytesMut,
    ready: impl FnOnce(&mut dyn FnMut() -> io::Result<()>) -> io::Result<()>,
    read: impl Fn(&mut BytesMut) -> io::Result<usize>,
) -> io::Result<usize> {
    let room = buffer.capacity() - buffer.len();
    let mut count = None;
    let ended = ready(&mut || {
        let length = read(buffer)?;
        count = Some(length);
        let emptied = cfg!(target_os = "linux") && (1..room).contains(&length);
        if emptied { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    match count {
        Some(length) => Ok(length),
        None => ended.map(|()| 0),
    }
}

/// Addresses of one name that are taken; the resolver has sorted them.
#[cfg(feature = "quic")]
const ADDRESSES_MAX: usize = 16;

/// Returns the addresses of `host:port`, at most sixteen of them.
///
/// # Errors
/// What the resolver says.
#[cfg(feature = "quic")]
pub(crate) async fn resolve(host: &str) -> io::Result<Vec<std::net::SocketAddr>> {
    Ok(tokio::net::lookup_host(host).await?.take(ADDRESSES_MAX).collect())
}

/// A connected byte stream of any kind, not yet shared.
#[derive(Debug)]
#[non_exhaustive]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
    /// Within the process.
    Pipe(Pipe),
    /// Over a socket that changes what another carries.
    Wrapped(Wrapped),
}

impl Stream {
    /// Connects; every address of a name has its turn before `within` is over, and the first that
    /// answers is taken. The caller ends what takes longer.
    ///
    /// # Errors
    /// What the operating system says of the first address.
    pub async fn connect(address: &Address, within: Duration) -> io::Result<Self> {
        match address {
            Address::Tcp(host) => {
                let stream = dial::tcp(host, within).await?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
            Address::Unix(path) => Ok(Self::Unix(UnixStream::connect(path).await?)),
            Address::Memory(name) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("memory:{name} is reached through the memory transport that listens on it"),
            )),
            Address::Scheme { .. } => Err(schemed(address)),
        }
    }

    /// Shares the stream between a reader and a writer.
    pub fn into_socket(self) -> Arc<dyn Socket> {
        match self {
            Self::Tcp(stream) => Arc::new(stream),
            Self::Unix(stream) => Arc::new(stream),
            Self::Pipe(stream) => Arc::new(stream),
            Self::Wrapped(stream) => stream.into_socket(),
        }
    }

    /// Returns where the peer is, for logs and [`crate::core::context::Context::remote`].
    pub fn remote(&self) -> Arc<str> {
        match self {
            Self::Tcp(stream) => {
                stream.peer_addr().map_or_else(|_| "tcp".into(), |a| a.to_string().into())
            }
            Self::Unix(_) => "unix".into(),
            Self::Pipe(_) => "memory".into(),
            Self::Wrapped(stream) => Arc::clone(stream.remote()),
        }
    }

    /// Returns the address of a peer on another host; `None` for one on this host.
    pub fn stranger(&self) -> Option<IpAddr> {
        let stream = match self {
            Self::Tcp(stream) => stream,
            Self::Wrapped(stream) => return stream.stranger(),
            Self::Unix(_) | Self::Pipe(_) => return None,
        };
        let ip = stream.peer_addr().ok()?.ip().to_canonical();
        let own = stream.local_addr().is_ok_and(|own| own.ip().to_canonical() == ip);
        (!own && !ip.is_loopback()).then_some(ip)
    }

    /// Has the peer see a break in the place of an end once the stream is dropped, even one that
    /// reads nothing; what is still under way to it is lost.
    pub fn sever(&self) {
        self.socket().sever();
    }

    /// Returns whether the peer is known to be gone for good, found without reading.
    pub fn is_severed(&self) -> bool {
        self.socket().is_severed()
    }

    fn socket(&self) -> &dyn Socket {
        match self {
            Self::Tcp(stream) => stream,
            Self::Unix(stream) => stream,
            Self::Pipe(stream) => stream,
            Self::Wrapped(stream) => stream.socket(),
        }
    }

    /// Waits for the first bytes and appends them to `buffer`; `Ok(0)` is the end.
    ///
    /// # Errors
    /// What the operating system says.
    pub async fn read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        let socket = self.socket();
        // Progress: readiness is cleared by each read that would block.
        loop {
            std::future::poll_fn(|task| socket.poll_read_ready(task)).await?;
            match socket.try_read(buffer) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(task, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(task, buffer),
            Self::Pipe(stream) => Pin::new(stream).poll_read(task, buffer),
            Self::Wrapped(stream) => Pin::new(stream).poll_read(task, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(task, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(task, bytes),
            Self::Pipe(stream) => Pin::new(stream).poll_write(task, bytes),
            Self::Wrapped(stream) => Pin::new(stream).poll_write(task, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(task),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(task),
            Self::Pipe(stream) => Pin::new(stream).poll_shutdown(task),
            Self::Wrapped(stream) => Pin::new(stream).poll_shutdown(task),
        }
    }
}

/// A bound address on which peers connect.
#[derive(Debug)]
#[non_exhaustive]
pub enum Listener {
    /// Over TCP.
    Tcp(TcpListener),
    /// Over a Unix socket.
    Unix(UnixSocket),
}

impl Listener {
    /// Binds an address; port 0 takes a free one.
    ///
    /// # Errors
    /// What the operating system says, for example that the address is in use.
    pub async fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(host) => Ok(Self::Tcp(TcpListener::bind(host.as_str()).await?)),
            Address::Unix(path) => Ok(Self::Unix(UnixSocket::bind(path).await?)),
            Address::Memory(name) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("memory:{name} needs the memory transport"),
            )),
            Address::Scheme { .. } => Err(schemed(address)),
        }
    }

    /// Returns the bound address, with the port the system chose.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => Ok(Address::Tcp(listener.local_addr()?.to_string())),
            Self::Unix(socket) => Ok(Address::Unix(socket.path().to_owned())),
        }
    }

    /// Waits for a peer; cancel safe.
    ///
    /// # Errors
    /// What the operating system says; the listener stays usable.
    pub async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Self::Unix(socket) => Ok(Stream::Unix(socket.accept().await?)),
        }
    }
}

/// Makes the error of an address that names a transport.
fn schemed(address: &Address) -> io::Error {
    let detail = format!("{address} needs the transport that its scheme names");
    io::Error::new(io::ErrorKind::Unsupported, detail)
}

#[cfg(test)]
mod tests;
