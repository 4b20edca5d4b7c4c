//! Whether a certificate is of the authority, and of whom.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, PeerIncompatible, RootCertStore,
    SignatureScheme,
};

use crate::core::account::Account;
use crate::core::clock;
use crate::core::error::Result;
use crate::core::proven::{Certified, Proven, Revoked};
use crate::transport::tls::identity::fingerprint;
use crate::transport::tls::name::Name;
use crate::transport::tls::peer::{Facts, facts};
use crate::transport::tls::unusable;

type Verdict<T> = std::result::Result<T, rustls::Error>;

/// How far back the beginning of a certificate is set, for clocks that differ.
pub const BACKDATED: Duration = Duration::from_secs(30);

/// Knows the members of one namespace.
#[derive(Debug)]
pub(super) struct Trust {
    roots: RootCertStore,
    callers: Arc<dyn ClientCertVerifier>,
    provider: Arc<CryptoProvider>,
    /// The name of any member.
    near: Name,
    revoked: Arc<Revoked>,
}

impl Trust {
    pub(super) fn new(
        root: &[u8],
        near: Name,
        revoked: Arc<Revoked>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        let broken = |_error| unusable("the certificate of the authority is unreadable");
        roots.add(CertificateDer::from(root.to_vec())).map_err(broken)?;
        let builder = WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots.clone()),
            Arc::clone(&provider),
        );
        let broken = |_error| unusable("the certificate of the authority is unusable");
        let callers = builder.build().map_err(broken)?;
        Ok(Self { roots, callers, provider, near, revoked })
    }

    /// Returns whom the chain of a caller proves it to be.
    pub(super) fn caller(&self, chain: Option<&[CertificateDer<'_>]>, remote: &str) -> Proven {
        let Some((leaf, others)) = chain.and_then(<[_]>::split_first) else {
            return Proven::Nobody;
        };
        let checked = self.callers.verify_client_cert(leaf, others, now());
        let checked = checked.map_err(|error| error.to_string());
        match checked.and_then(|_| self.member(leaf).map_err(str::to_owned)) {
            Ok(facts) => Proven::Certified(Arc::new(self.certified(facts))),
            Err(reason) => {
                tracing::info!(reason, remote, "refused the certificate of a caller");
                Proven::Refused
            }
        }
    }

    /// Reads the facts of a certificate that the authority has signed.
    fn member(&self, leaf: &[u8]) -> std::result::Result<Facts, &'static str> {
        let facts = facts(leaf)?;
        if !self.near.is_near(&facts.name) {
            return Err("the certificate is of another domain or namespace");
        }
        Ok(facts)
    }

    fn certified(&self, facts: Facts) -> Certified {
        let Facts { name, scopes, not_before, not_after } = facts;
        let mut account = Account::service(name.to_string(), scopes);
        account.issuer = name.issuer();
        let times = (not_before + BACKDATED, not_after);
        Certified::new(account, name.service, times, Arc::clone(&self.revoked))
    }

    /// Reads a certificate of this process.
    pub(super) fn own(&self, leaf: &[u8]) -> Result<Certified> {
        let der = CertificateDer::from(leaf);
        let checked = self.callers.verify_client_cert(&der, &[], now());
        checked.map_err(|error| unusable(&format!("the certificate is not good: {error}")))?;
        self.member(leaf).map(|facts| self.certified(facts)).map_err(unusable)
    }

    /// Makes what is said of a certificate that nobody looked at.
    #[cfg(test)]
    pub(super) fn nobody(&self) -> Certified {
        let times = (Duration::ZERO, Duration::MAX);
        Certified::new(Account::default(), "", times, Arc::clone(&self.revoked))
    }

    /// Returns what the chain of a node says that was taken for one.
    pub(super) fn node(
        &self,
        chain: Option<&[CertificateDer<'_>]>,
    ) -> std::result::Result<Certified, &'static str> {
        let leaf = chain.and_then(<[_]>::first).ok_or("the node has shown no certificate")?;
        self.member(leaf).map(|facts| self.certified(facts))
    }

    fn server(&self, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Verdict<()> {
        chain(leaf, others, &self.roots, &self.provider)?;
        let facts = self.member(leaf).map_err(unfit)?;
        let certified = self.certified(facts);
        certified.account().map(drop).map_err(|_void| unfit("the certificate does not stand"))
    }
}

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(clock::unix_now())
}

fn chain(
    leaf: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
    roots: &RootCertStore,
    provider: &CryptoProvider,
) -> Verdict<()> {
    let parsed = ParsedCertificate::try_from(leaf)?;
    let algorithms = provider.signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&parsed, roots, others, now(), algorithms)
}

/// Refuses with the one alert that stands for every reason.
fn unfit(reason: &str) -> rustls::Error {
    tracing::info!(reason, "refused the certificate of a node");
    CertificateError::ApplicationVerificationFailure.into()
}

fn signed(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    provider: &CryptoProvider,
) -> Verdict<HandshakeSignatureValid> {
    let algorithms = &provider.signature_verification_algorithms;
    verify_tls13_signature(message, certificate, signature, algorithms)
}

/// Nothing older than TLS 1.3 is spoken, so this is never asked.
fn outdated() -> rustls::Error {
    PeerIncompatible::Tls12NotOfferedOrEnabled.into()
}

/// Takes a server for what it is when its certificate is of the authority and of the namespace.
#[derive(Debug)]
pub(super) struct Servers(pub(super) Arc<Trust>);

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Verdict<ServerCertVerified> {
        let checked = self.0.server(leaf, others);
        checked.map(|()| ServerCertVerified::assertion()).map_err(|error| match error {
            rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure) => {
                error
            }
            other => unfit(&other.to_string()),
        })
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Verdict<HandshakeSignatureValid> {
        Err(outdated())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Verdict<HandshakeSignatureValid> {
        signed(message, certificate, signature, &self.0.provider)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Has callers prove that they hold the key of what they show, and lets [`Trust::caller`] judge it
/// after the handshake, so that every bad certificate meets the same refusal.
#[derive(Debug)]
pub(super) struct Callers(pub(super) Arc<Trust>);

impl ClientCertVerifier for Callers {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Verdict<ClientCertVerified> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Verdict<HandshakeSignatureValid> {
        Err(outdated())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Verdict<HandshakeSignatureValid> {
        signed(message, certificate, signature, &self.0.provider)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Takes a server for the authority when the certificate that it was signed with has a known hash.
pub(super) struct Pin {
    pub(super) hash: String,
    pub(super) provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pin").field("hash", &self.hash).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Verdict<ServerCertVerified> {
        let root = others.iter().find(|other| fingerprint(other) == self.hash);
        let root = root.ok_or_else(|| unfit("the node is not of the authority of the token"))?;
        let mut roots = RootCertStore::empty();
        roots.add(root.clone())?;
        chain(leaf, &[], &roots, &self.provider)?;
        let facts = facts(leaf).map_err(unfit)?;
        // Any member could ask for the tokens of others.
        if facts.name.service != super::identity::AUTHORITY {
            return Err(unfit("the node is a member and not the authority"));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Verdict<HandshakeSignatureValid> {
        Err(outdated())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Verdict<HandshakeSignatureValid> {
        signed(message, certificate, signature, &self.provider)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
