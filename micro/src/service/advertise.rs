//! Where peers reach a process that listens on every interface.

use std::net::{IpAddr, SocketAddr};

use crate::core::net::Address;

/// Returns the address that peers dial: one bound to every interface is reached by its own.
pub(crate) fn advertised(address: &Address) -> String {
    let text = address.to_string();
    let Ok(bound) = text.parse::<SocketAddr>() else { return text };
    if !bound.ip().is_unspecified() {
        return text;
    }
    match outward(bound) {
        Some(ip) => SocketAddr::new(ip, bound.port()).to_string(),
        None => {
            tracing::warn!(%address, "no way out of this host: set server_advertise");
            text
        }
    }
}

/// Finds the address with which this host reaches others; sends nothing.
fn outward(bound: SocketAddr) -> Option<IpAddr> {
    // Documentation addresses: the system only looks up a route to them.
    let (from, to) = match bound.ip() {
        IpAddr::V4(_) => ("0.0.0.0:0", "192.0.2.1:9"),
        IpAddr::V6(_) => ("[::]:0", "[2001:db8::1]:9"),
    };
    let socket = std::net::UdpSocket::bind(from).ok()?;
    socket.connect(to).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// Returns the interface on which a process is reachable from other hosts, if it is one that
/// multicast DNS speaks on.
#[cfg(feature = "mdns")]
pub(crate) fn interface(address: &Address) -> Option<IpAddr> {
    let bound = address.to_string().parse::<SocketAddr>().ok()?;
    let ip = if bound.ip().is_unspecified() { outward(bound)? } else { bound.ip() };
    (ip.is_ipv4() && !ip.is_loopback()).then_some(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_of_every_interface_is_replaced() {
        for text in ["127.0.0.1:80", "10.0.0.1:80", "shop.internal:80", "unix:/run/a"] {
            assert_eq!(advertised(&text.parse().unwrap()), text);
        }
        let all = advertised(&"0.0.0.0:80".parse().unwrap());
        assert!(all.ends_with(":80"), "{all}");
    }
}
