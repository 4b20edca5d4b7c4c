//! Multicast sockets, each tied to interfaces, so that nothing leaves by another.

use std::io;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;

use socket2::Domain;
use socket2::Protocol;
use socket2::Socket;
use socket2::Type;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

use crate::core::error::Error;
use crate::registry::check::ERROR_ID;
use crate::registry::mdns::packet::PACKET_BYTES_MAX;

/// The group that all speakers of multicast DNS join.
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
/// The port of multicast DNS.
pub(super) const PORT: u16 = 5353;

/// Where packets may go and come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    /// The address of the interface; unspecified leaves the choice to the system.
    pub(super) interface: Ipv4Addr,
    /// The port of the group: [`PORT`] outside of tests.
    pub(super) port: u16,
}

/// Sends questions and announcements by one interface and receives what is sent back.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    socket: Arc<UdpSocket>,
    pub(super) scope: Scope,
}

impl Sender {
    /// Opens a socket on a port of its own. Must be called inside a tokio runtime.
    pub(super) fn open(scope: Scope) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_multicast_if_v4(&scope.interface)?;
        socket.set_multicast_loop_v4(true)?;
        // Zero keeps packets on the machine whatever the routes; the group itself is never routed.
        socket.set_multicast_ttl_v4(if scope.interface.is_loopback() { 0 } else { 255 })?;
        bind(&socket, SocketAddrV4::new(scope.interface, 0))?;
        Ok(Self { socket: into_tokio(socket)?, scope })
    }

    /// Sends a packet to everyone in the group.
    pub(super) async fn send(&self, packet: &[u8]) -> io::Result<()> {
        self.socket.send_to(packet, (GROUP, self.scope.port)).await.map(drop)
    }

    /// Takes the next packet if one has arrived.
    pub(super) fn poll_receive(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut Vec<u8>,
    ) -> Poll<SocketAddr> {
        poll_receive(&self.socket, cx, buffer)
    }
}

/// Receives what is sent to the group.
#[derive(Debug)]
pub(super) struct Listener {
    socket: Arc<UdpSocket>,
}

impl Listener {
    /// Opens a socket on the group's port, which all speakers on a machine share.
    pub(super) fn open(port: u16) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        #[cfg(all(unix, not(target_os = "linux")))]
        socket.set_reuse_port(true)?;
        // Only what this socket joined, not what any process of the machine did.
        #[cfg(target_os = "linux")]
        socket.set_multicast_all_v4(false)?;
        // Bound to the group itself, packets to this host's own addresses do not get here.
        let address = if cfg!(unix) { GROUP } else { Ipv4Addr::UNSPECIFIED };
        bind(&socket, SocketAddrV4::new(address, port))?;
        Ok(Self { socket: into_tokio(socket)? })
    }

    /// Receives what is sent to the group by an interface as well.
    pub(super) fn join(&self, interface: Ipv4Addr) -> io::Result<()> {
        self.socket.join_multicast_v4(GROUP, interface)
    }

    /// Sends an answer to whoever asked.
    pub(super) async fn send(&self, packet: &[u8], to: SocketAddr) -> io::Result<()> {
        self.socket.send_to(packet, to).await.map(drop)
    }

    /// Takes the next packet if one has arrived.
    pub(super) fn poll_receive(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut Vec<u8>,
    ) -> Poll<SocketAddr> {
        poll_receive(&self.socket, cx, buffer)
    }
}

/// Says that multicast does not work and what does instead.
pub(super) fn unavailable(what: &str, error: io::Error) -> Error {
    let detail = format!(
        "multicast DNS does not work here: cannot {what}: {error}; choose another registry with \
         MICRO_REGISTRY"
    );
    Error::unavailable(ERROR_ID, detail).with_source(error)
}

/// Returns whether an address is that of this machine and no other.
pub(super) fn is_loopback(address: SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback(),
    }
}

fn poll_receive(
    socket: &UdpSocket,
    cx: &mut Context<'_>,
    buffer: &mut Vec<u8>,
) -> Poll<SocketAddr> {
    // One byte more than allowed, so that a longer packet shows and is not read in part.
    buffer.resize(PACKET_BYTES_MAX.saturating_add(1), 0);
    let mut read = ReadBuf::new(buffer);
    loop {
        read.clear();
        match socket.poll_recv_from(cx, &mut read) {
            Poll::Ready(Ok(from)) => {
                let bytes = read.filled().len();
                buffer.truncate(bytes);
                return Poll::Ready(from);
            }
            // An error of an earlier send, such as a port that is closed by now. Each is reported
            // once, so this ends.
            Poll::Ready(Err(error)) => tracing::trace!(%error, "multicast receive"),
            Poll::Pending => return Poll::Pending,
        }
    }
}

fn bind(socket: &Socket, address: SocketAddrV4) -> io::Result<()> {
    socket.bind(&SocketAddr::V4(address).into())
}

fn into_tokio(socket: Socket) -> io::Result<Arc<UdpSocket>> {
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into()).map(Arc::new)
}
