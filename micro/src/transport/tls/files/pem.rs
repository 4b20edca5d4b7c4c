//! Reads PEM files, and says which one is at fault.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::core::clock;
use crate::core::error::{Error, Result};
use crate::core::secret::Secret;
use crate::transport::tls::peer::validity;
use crate::transport::tls::verify::BACKDATED;
use crate::transport::tls::{ERROR_ID, fingerprint};

/// Bytes of one file: 1 MiB, several times what an operating system trusts.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;

/// The bytes of one file.
#[derive(Clone, Debug)]
pub(super) struct Text<'a> {
    path: &'a Path,
    bytes: Secret<Vec<u8>>,
}

impl<'a> Text<'a> {
    /// Reads a file; blocks for as long as the disk takes.
    ///
    /// # Errors
    /// 412 that names the file.
    pub(super) fn read(path: &'a Path) -> Result<Self> {
        let mut bytes = Vec::new();
        // One byte past the limit tells a file that is too long from one that just fits.
        let limit = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
        let read = std::fs::File::open(path).and_then(|f| f.take(limit).read_to_end(&mut bytes));
        read.map_err(|error| fault(path, &format!("cannot be read: {error}")).with_source(error))?;
        if bytes.len() > FILE_BYTES_MAX {
            return Err(fault(path, &format!("is longer than {FILE_BYTES_MAX} bytes")));
        }
        Ok(Self { path, bytes: Secret::new(bytes) })
    }

    /// Tells one content from another without keeping it.
    pub(super) fn mark(&self) -> String {
        fingerprint(self.bytes.expose())
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>> {
        let all: std::result::Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(self.bytes.expose()).collect();
        let all = all.map_err(|error| fault(self.path, &format!("is no PEM: {error}")))?;
        if all.is_empty() {
            return Err(fault(self.path, "has no certificate in it"));
        }
        Ok(all)
    }

    /// Reads authorities.
    pub(super) fn roots(&self) -> Result<Arc<RootCertStore>> {
        let mut roots = RootCertStore::empty();
        for der in self.certificates()? {
            let broken = |error| fault(self.path, &format!("has an unusable certificate: {error}"));
            roots.add(der).map_err(broken)?;
        }
        Ok(Arc::new(roots))
    }

    /// Reads a certificate that is good at the moment, with the key in another file.
    pub(super) fn certified(
        &self,
        key: &Text<'_>,
        provider: &CryptoProvider,
    ) -> Result<Arc<CertifiedKey>> {
        let chain = self.certificates()?;
        let leaf = chain.first().map(AsRef::as_ref).unwrap_or_default();
        let (from, until) = validity(leaf).map_err(|what| fault(self.path, what))?;
        let now = clock::unix_now();
        if now >= until {
            return Err(fault(self.path, "has a certificate that is over"));
        }
        if now + BACKDATED < from {
            return Err(fault(self.path, "has a certificate that is not good yet"));
        }
        let private = PrivateKeyDer::from_pem_slice(key.bytes.expose())
            .map_err(|_error| fault(key.path, "has no private key in PEM in it"))?;
        let unfit = |error: rustls::Error| {
            let own = self.path.display();
            fault(key.path, &format!("has no usable key of the certificate in {own}: {error}"))
        };
        let certified = CertifiedKey::from_der(chain, private, provider).map_err(unfit)?;
        Ok(Arc::new(certified))
    }
}

/// Makes the error of a file.
fn fault(path: &Path, what: &str) -> Error {
    let path = path.display().to_string();
    Error::precondition_failed(ERROR_ID, format!("`{}` {what}", path.escape_debug()))
}
