//! What is said in the group of multicast DNS on loopback, as any program there hears it.

use std::net::{Ipv4Addr, SocketAddrV4};

use hickory_proto::op::Message;
use hickory_proto::rr::{RData, Record};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

/// The group and the port that all speakers share.
const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 251), 5353);

/// Bytes of the longest packet.
const PACKET_BYTES_MAX: usize = 9_000;

/// A listener that says nothing itself.
pub(crate) struct Capture(UdpSocket);

impl Capture {
    /// Hears everything from now on.
    pub(crate) fn start() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).unwrap();
        socket.set_reuse_address(true).unwrap();
        #[cfg(not(target_os = "linux"))]
        socket.set_reuse_port(true).unwrap();
        socket.bind(&GROUP.into()).unwrap();
        socket.join_multicast_v4(GROUP.ip(), &Ipv4Addr::LOCALHOST).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self(UdpSocket::from_std(socket.into()).unwrap())
    }

    /// Waits for a packet that tells of a service at a port, and returns all that it holds.
    pub(crate) async fn told(&self, service: &str, port: u16) -> Vec<Record> {
        let mut buffer = vec![0; PACKET_BYTES_MAX];
        let below = format!(".{service}.");
        let is_it = |record: &Record| match &record.data {
            RData::SRV(server) => server.port == port && record.name.to_utf8().contains(&below),
            _ => false,
        };
        loop {
            let bytes = self.0.recv(&mut buffer).await.unwrap();
            // Others may speak here, too.
            let Ok(message) = Message::from_vec(&buffer[..bytes]) else { continue };
            let all: Vec<Record> = message.answers.into_iter().chain(message.additionals).collect();
            if all.iter().any(is_it) {
                return all;
            }
        }
    }
}
