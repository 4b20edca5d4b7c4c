//! How TLS is spoken: version 1.3, without resumption, by one provider of cryptography.

use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::core::error::Result;
use crate::transport::tls::identity::Shown;
use crate::transport::tls::verify::{Callers, Servers, Trust};
use crate::transport::tls::{HTTP1, HTTP2, NATIVE_PROTOCOL, unusable};

/// Returns the provider, handed over wherever one is needed: none is installed for the process.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

pub(super) fn client(
    trust: &Arc<Trust>,
    shown: &Arc<Shown>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<ClientConfig>> {
    let config = dialing(Arc::new(Servers(Arc::clone(trust))), provider)?;
    let shown: Arc<dyn ResolvesClientCert> = Arc::<Shown>::clone(shown);
    Ok(finished(config.with_client_cert_resolver(shown)))
}

/// Makes what dials servers by the names of their hosts, which an authority of `roots` has signed.
///
/// What is spoken inside is said for each connection.
pub(super) fn rooted(
    roots: Arc<RootCertStore>,
    own: Option<Arc<CertifiedKey>>,
    provider: &Arc<CryptoProvider>,
) -> Result<ClientConfig> {
    let config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(|_error| unusable("the provider of cryptography has no TLS 1.3"))?
        .with_root_certificates(roots);
    let mut config = match own {
        Some(key) => config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))),
        None => config.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Makes what dials without a certificate of its own.
pub(super) fn nameless(
    verifier: Arc<dyn ServerCertVerifier>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<ClientConfig>> {
    Ok(finished(dialing(verifier, provider)?.with_no_client_auth()))
}

type Dialing = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn dialing(
    verifier: Arc<dyn ServerCertVerifier>,
    provider: &Arc<CryptoProvider>,
) -> Result<Dialing> {
    Ok(ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(|_error| unusable("the provider of cryptography has no TLS 1.3"))?
        .dangerous()
        .with_custom_certificate_verifier(verifier))
}

fn finished(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    config.alpn_protocols = vec![NATIVE_PROTOCOL.to_vec()];
    Arc::new(config)
}

pub(super) fn server(
    trust: &Arc<Trust>,
    shown: &Arc<Shown>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<ServerConfig>> {
    let shown: Arc<dyn ResolvesServerCert> = Arc::<Shown>::clone(shown);
    serving(Arc::new(Callers(Arc::clone(trust))), shown, provider)
}

/// Makes what serves with a certificate and asks callers for theirs as `verifier` says.
pub(super) fn serving(
    verifier: Arc<dyn ClientCertVerifier>,
    shown: Arc<dyn ResolvesServerCert>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<ServerConfig>> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(|_error| unusable("the provider of cryptography has no TLS 1.3"))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(shown);
    // A session that is taken up again would prove what was true when it began.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = [NATIVE_PROTOCOL, HTTP2, HTTP1].map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}
