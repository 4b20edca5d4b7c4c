//! TLS: mutual, with an authority of one's own, or by certificates in files.
//!
//! # By certificates in files
//!
//! [`Files`] is a certificate that others have signed and keep in a file: the server then speaks
//! nothing but TLS over TCP. [`Roots`] dials such servers by the names of their hosts.
//!
//! # Mutual TLS
//!
//! Who a process is, and connections on which both ends know it of each other.
//!
//! An [`Identity`] holds the certificate of a process, which may be exchanged at any time: new
//! handshakes show the new one. Certificates name a service as SPIFFE does, by one URI
//! ([`Name`]), and are signed by one authority; the system's authorities mean nothing here.
//!
//! Only TLS 1.3 is spoken, and no session is resumed, so that every handshake proves anew.
//!
//! * Who dials ([`Tls`]) takes a server only for a member of its own domain and namespace, and
//!   never falls back to a connection without TLS. It calls there what the certificate lets its
//!   holder serve: the service that it names, and those of its scopes `serve:NAME`.
//! * Who serves ([`accept`]) takes connections without a certificate too: their calls are those of
//!   nobody. A certificate that is shown has to be good: the calls of one that is not are refused
//!   all alike, and only the log says why.

mod config;
mod dial;
pub(crate) mod files;
mod handshake;
mod identity;
mod name;
mod peer;
mod socket;
mod verify;
mod vouched;

#[cfg(test)]
pub(crate) mod tests;

use crate::core::error::Error;

pub use self::dial::{Pinned, Tls};
#[cfg(any(
    feature = "grpc",
    feature = "http",
    feature = "mucp",
    feature = "quic",
    feature = "ws"
))]
pub(super) use self::files::host_of;
pub use self::files::{ClientPaths, FILE_BYTES_MAX, Files, INTERVAL, Roots, ServerPaths};
pub use self::handshake::{Agreed, Server, Taken, accept};
pub use self::identity::{Identity, fingerprint};
pub use self::name::{NAME_BYTES_MAX, Name};
pub use self::peer::{SCOPES_OID, scopes_value};
pub use self::verify::BACKDATED;
pub use self::vouched::SERVE_SCOPE;

/// The id of the errors of this part.
const ERROR_ID: &str = "micro.tls";

/// What a native connection calls itself when it agrees on a protocol.
const NATIVE_PROTOCOL: &[u8] = b"micro/1";

/// What HTTP/2 and HTTP/1.1 call themselves there.
const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

fn unusable(what: &str) -> Error {
    Error::precondition_failed(ERROR_ID, what)
}
