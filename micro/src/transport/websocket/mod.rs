//! WebSocket (RFC 6455): messages over the byte stream of an HTTP connection.
//!
//! [`WebSocket`] is a transport that carries the native protocol, framed as `WIRE.md` specifies, in
//! binary messages of the subprotocol `micro.native`. The bytes of all messages in a row are what a
//! TCP connection would carry: where one message ends and the next begins means nothing. It passes
//! through proxies that know HTTP only, and the server accepts it on its one port.

#[cfg(feature = "server")]
mod beat;
mod carry;
mod dial;
mod wire;

#[cfg(feature = "server")]
pub(crate) use self::beat::{Beat, Pulse};
#[cfg(feature = "server")]
pub(crate) use self::carry::carry;
pub use self::dial::WebSocket;
#[cfg(feature = "server")]
pub(crate) use self::wire::{Ended, Incoming, Message, Outgoing, Wire, accept_key, code};

/// The subprotocol in which binary messages carry the native protocol.
pub(crate) const NATIVE: &str = "micro.native";
