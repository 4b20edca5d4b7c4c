//! The certificate of a process, exchanged while it runs.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use aws_lc_rs::digest;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ServerConfig, SignatureScheme};
use tokio::sync::{Semaphore, watch};

use crate::core::error::Result;
use crate::core::proven::{Certified, Revoked};
use crate::core::secret::Secret;
use crate::transport::tls::config;
use crate::transport::tls::name::Name;
use crate::transport::tls::unusable;
use crate::transport::tls::verify::Trust;
use crate::transport::tls::vouched::may_serve;

/// The service name of an authority, which no member gets.
pub(super) const AUTHORITY: &str = "authority";

/// Returns the SHA-256 hash of a certificate as 64 hexadecimal digits.
pub fn fingerprint(der: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, der);
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Who a process is to its peers, and whom it takes for a peer.
///
/// Made once for a process. It has no certificate until [`Identity::install`]; handshakes fail
/// until then.
pub struct Identity {
    name: Name,
    root: Vec<u8>,
    trust: Arc<Trust>,
    revoked: Arc<Revoked>,
    shown: Arc<Shown>,
    /// Counts the certificates that were shown.
    changes: watch::Sender<u64>,
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
    /// Handshakes that run at a time.
    pub(super) handshakes: Arc<Semaphore>,
}

impl Identity {
    /// The service name of an authority, which no member gets.
    pub const AUTHORITY: &str = AUTHORITY;

    /// Begins an identity below the certificate of an authority; nobody is revoked yet.
    ///
    /// At most `handshakes_max` handshakes of callers run at a time; further ones wait, within the
    /// time that a handshake has.
    ///
    /// # Errors
    /// 412 when the certificate is unusable.
    pub fn new(name: Name, root: &[u8], handshakes_max: usize) -> Result<Self> {
        let provider = config::provider();
        let revoked = Arc::<Revoked>::default();
        let trust = Trust::new(root, name.clone(), Arc::clone(&revoked), Arc::clone(&provider))?;
        let (trust, shown) = (Arc::new(trust), Arc::<Shown>::default());
        Ok(Self {
            client: config::client(&trust, &shown, &provider)?,
            server: config::server(&trust, &shown, &provider)?,
            handshakes: Arc::new(Semaphore::new(handshakes_max.max(1))),
            name,
            root: root.to_vec(),
            trust,
            revoked,
            shown,
            changes: watch::Sender::new(0),
        })
    }

    /// Shows a certificate from the next handshake on, with its key in PKCS #8.
    ///
    /// Connections that were dialed before take no more calls and close after their last one: their
    /// peers know the earlier certificate, which ends.
    ///
    /// # Errors
    /// 412 when it is not good: not of the authority, over, of another name, or the key of another.
    pub fn install(&self, certificate: &[u8], key: &Secret<Vec<u8>>) -> Result<()> {
        let facts = self.trust.own(certificate)?;
        if facts.account().is_ok_and(|account| account.id != self.name.to_string()) {
            return Err(unusable("the certificate is of another name"));
        }
        let chain = [certificate, &self.root].map(|der| CertificateDer::from(der.to_vec()));
        let key = PrivateKeyDer::try_from(key.expose().clone())
            .map_err(|_error| unusable("the key of the certificate is unreadable"))?;
        let provider = config::provider();
        let shown = CertifiedKey::from_der(chain.to_vec(), key, &provider)
            .map_err(|_error| unusable("the certificate and its key do not fit"))?;
        self.shown.0.store(Some(Arc::new((Arc::new(shown), facts))));
        // After the certificate: who is told dials by it.
        self.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Returns who the process is.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Returns the certificate of the authority.
    pub fn root(&self) -> &[u8] {
        &self.root
    }

    /// Returns whose certificates are void; members replace it by what the authority says.
    pub fn revoked(&self) -> &Arc<Revoked> {
        &self.revoked
    }

    /// Follows the certificates that are shown from here on.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Reads what the certificate shown at the moment says, if there is one.
    pub fn shown<T>(&self, read: impl FnOnce(&Certified) -> T) -> Option<T> {
        self.shown.0.load().as_ref().map(|shown| read(&shown.1))
    }

    /// Returns whether the certificate shown at the moment lets the process serve a service.
    pub fn may_serve(&self, service: &str) -> bool {
        let shown = self.shown(|shown| {
            shown.account().is_ok_and(|account| may_serve(shown.name(), &account.scopes, service))
        });
        shown.unwrap_or_default()
    }

    /// Shows a certificate that need not be good.
    #[cfg(test)]
    pub(crate) fn show(&self, certificate: &[u8], key: &Secret<Vec<u8>>) {
        let chain = vec![CertificateDer::from(certificate.to_vec())];
        let der = PrivateKeyDer::try_from(key.expose().clone()).unwrap();
        let shown = CertifiedKey::from_der(chain, der, &config::provider()).unwrap();
        let facts = self.trust.nobody();
        self.shown.0.store(Some(Arc::new((Arc::new(shown), facts))));
    }

    pub(super) fn trust(&self) -> &Trust {
        &self.trust
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What is shown in handshakes.
#[derive(Default)]
pub(super) struct Shown(ArcSwapOption<(Arc<CertifiedKey>, Certified)>);

impl Shown {
    fn key(&self) -> Option<Arc<CertifiedKey>> {
        self.0.load().as_ref().map(|shown| Arc::clone(&shown.0))
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.key()
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.key()
    }

    fn has_certs(&self) -> bool {
        self.0.load().is_some()
    }
}
