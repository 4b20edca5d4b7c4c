//! Certificates and keys that others keep in files, as authorities on the internet and operators
//! hand them out: PEM, the certificate with those between it and its authority.
//!
//! * [`Files`] serves with a certificate, and asks callers for theirs where it knows of whom.
//! * [`Roots`] dials servers whose certificates authorities in a file have signed.
//!
//! Both read their files again while the process runs; a change that is no good changes nothing.

mod dial;
mod pem;
mod serve;
#[cfg(test)]
pub(crate) mod tests;

use std::path::PathBuf;
use std::time::Duration;

pub use self::dial::Roots;
#[cfg(any(
    feature = "grpc",
    feature = "http",
    feature = "mucp",
    feature = "quic",
    feature = "ws"
))]
pub(in crate::transport) use self::dial::host_of;
pub use self::pem::FILE_BYTES_MAX;
pub use self::serve::Files;

/// How often files are read again: 5 s. They are small, and whoever replaces a certificate does so
/// long before its end.
pub const INTERVAL: Duration = Duration::from_secs(5);

/// Where a server's certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerPaths {
    /// The certificate, then those between it and its authority.
    pub certificate: PathBuf,
    /// Its key, unencrypted: PKCS #8, PKCS #1 or SEC1.
    pub key: PathBuf,
    /// The authorities of clients, if they are to show certificates.
    pub client_ca: Option<PathBuf>,
}

impl ServerPaths {
    /// Names the files of a server that asks clients for nothing.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { certificate: certificate.into(), key: key.into(), client_ca: None }
    }

    /// Has clients show a certificate of an authority in this file; who shows none is refused.
    #[must_use]
    pub fn with_client_ca(mut self, path: impl Into<PathBuf>) -> Self {
        self.client_ca = Some(path.into());
        self
    }
}

/// Where a client finds whom it trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientPaths {
    /// The authorities of servers.
    pub ca: PathBuf,
    /// The client's own certificate and its key, for servers that ask for one.
    pub own: Option<(PathBuf, PathBuf)>,
}

impl ClientPaths {
    /// Names the file of the authorities.
    pub fn new(ca: impl Into<PathBuf>) -> Self {
        Self { ca: ca.into(), own: None }
    }

    /// Shows a certificate, kept with its key in these files, to servers that ask for one.
    #[must_use]
    pub fn with_certificate(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.own = Some((certificate.into(), key.into()));
        self
    }
}
