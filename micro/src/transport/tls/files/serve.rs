//! A server's certificate in files, followed while it runs.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::sync::Semaphore;

use crate::core::account::Account;
use crate::core::clock;
use crate::core::error::{Error, Result};
use crate::core::proven::{Certified, Proven, Revoked};
use crate::core::shutdown::Shutdown;
use crate::transport::tls::files::pem::Text;
use crate::transport::tls::files::{INTERVAL, ServerPaths};
use crate::transport::tls::peer::{Plain, plain, validity};
use crate::transport::tls::{config, unusable};

/// A certificate in files, with which a server speaks TLS.
///
/// New handshakes show what the files hold at the moment; connections that there are go on.
pub struct Files {
    paths: ServerPaths,
    present: ArcSwap<Present>,
    /// What the files held when they were read last, good or not.
    seen: Mutex<String>,
    handshakes: Semaphore,
    reloads: AtomicU64,
    failures: AtomicU64,
}

/// What is shown at the moment.
pub(in crate::transport::tls) struct Present {
    config: Arc<ServerConfig>,
    until: Duration,
    revoked: Arc<Revoked>,
}

impl Files {
    /// Reads the files; blocks for as long as the disk takes.
    ///
    /// At most `handshakes_max` handshakes run at a time; further ones wait, within the time that a
    /// handshake has.
    ///
    /// # Errors
    /// 412 that names the file which is not there, not readable, over, or does not fit the others.
    pub fn open(paths: ServerPaths, handshakes_max: usize) -> Result<Self> {
        let texts = Texts::read(&paths)?;
        let present = texts.load()?;
        Ok(Self {
            present: ArcSwap::from_pointee(present),
            seen: Mutex::new(texts.mark()),
            paths,
            handshakes: Semaphore::new(handshakes_max.max(1)),
            reloads: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        })
    }

    /// Reads the files again, and shows what they hold if that is good; returns whether it changed.
    ///
    /// Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// As [`Files::open`]; what is shown stays.
    pub fn reload(&self) -> Result<bool> {
        let (mark, loaded) = match Texts::read(&self.paths) {
            Ok(texts) => (texts.mark(), texts.load()),
            Err(error) => (error.to_string(), Err(error)),
        };
        {
            // No code of others runs under the lock, so a poisoned one holds sound data.
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == mark {
                return Ok(false);
            }
            *seen = mark;
        }
        match loaded {
            Ok(present) => {
                self.present.store(Arc::new(present));
                self.reloads.fetch_add(1, Ordering::Relaxed);
                Ok(true)
            }
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// Reads the files again and again until the lifecycle closes.
    pub async fn follow(self: Arc<Self>, shutdown: Shutdown) {
        // Progress: each turn waits for the interval.
        loop {
            tokio::select! {
                () = clock::sleep(INTERVAL) => {}
                () = shutdown.closed() => return,
            }
            let files = Arc::clone(&self);
            let reading = tokio::task::spawn_blocking(move || files.reload());
            match reading.await {
                Ok(Ok(true)) => {
                    tracing::info!(certificate = ?self.paths.certificate, "took up another certificate")
                }
                Ok(Ok(false)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "goes on with the earlier certificate"),
                Err(error) => tracing::warn!(%error, "the files of the certificate were not read"),
            }
        }
    }

    /// Returns how often another certificate was taken up.
    pub fn reloads(&self) -> u64 {
        self.reloads.load(Ordering::Relaxed)
    }

    /// Returns how often the files changed to what is no good.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Returns when the certificate is over that is shown, since 1970.
    pub fn until(&self) -> Duration {
        self.present.load().until
    }

    pub(in crate::transport::tls) fn present(&self) -> (Arc<ServerConfig>, Arc<Present>) {
        let present = self.present.load_full();
        (Arc::clone(&present.config), present)
    }

    /// Returns what is shown at the moment.
    #[cfg(feature = "quic")]
    pub(in crate::transport) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.present.load().config)
    }

    pub(in crate::transport::tls) fn handshakes(&self) -> &Semaphore {
        &self.handshakes
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl Present {
    /// Returns whom the chain of a caller proves it to be, which the handshake has judged good.
    pub(in crate::transport::tls) fn caller(&self, chain: Option<&[CertificateDer<'_>]>) -> Proven {
        let Some(leaf) = chain.and_then(<[_]>::first) else { return Proven::Nobody };
        match plain(leaf) {
            Ok(Plain { name, issuer, times }) => {
                let mut account = Account::service(name.clone(), []);
                account.issuer = issuer;
                let certified = Certified::new(account, name, times, Arc::clone(&self.revoked));
                Proven::Certified(Arc::new(certified))
            }
            Err(reason) => {
                tracing::info!(reason, "refused the certificate of a caller");
                Proven::Refused
            }
        }
    }
}

/// What the files of a server hold.
struct Texts<'a> {
    certificate: Text<'a>,
    key: Text<'a>,
    client_ca: Option<Text<'a>>,
}

impl<'a> Texts<'a> {
    fn read(paths: &'a ServerPaths) -> Result<Self> {
        Ok(Self {
            certificate: Text::read(&paths.certificate)?,
            key: Text::read(&paths.key)?,
            client_ca: paths.client_ca.as_deref().map(Text::read).transpose()?,
        })
    }

    fn mark(&self) -> String {
        let all = [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()];
        all.into_iter().flatten().map(Text::mark).collect()
    }

    fn load(&self) -> Result<Present> {
        let provider = config::provider();
        let shown = self.certificate.certified(&self.key, &provider)?;
        let verifier: Arc<dyn ClientCertVerifier> = match &self.client_ca {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(ca) => {
                let builder =
                    WebPkiClientVerifier::builder_with_provider(ca.roots()?, Arc::clone(&provider));
                builder.build().map_err(|error| unusable(&error.to_string()))?
            }
        };
        let until = until(&shown)?;
        let config = config::serving(verifier, Arc::new(SingleCertAndKey::from(shown)), &provider)?;
        Ok(Present { config, until, revoked: Arc::default() })
    }
}

fn until(shown: &CertifiedKey) -> Result<Duration> {
    let leaf = shown.end_entity_cert().map_err(|error| unusable(&error.to_string()))?;
    let (_, until) = validity(leaf).map_err(unusable)?;
    Ok::<_, Error>(until)
}
